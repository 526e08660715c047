from django.apps import AppConfig


class FaqConfig(AppConfig):
    name = "webapp.faq"
    verbose_name = "FAQ"
    default_auto_field = "django.db.models.BigAutoField"
