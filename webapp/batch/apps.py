from django.apps import AppConfig


class BatchConfig(AppConfig):
    name = "webapp.batch"
    verbose_name = "Batches"
    default_auto_field = "django.db.models.BigAutoField"
