from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "webapp.keys"
    verbose_name = "API keys"
    default_auto_field = "django.db.models.BigAutoField"
