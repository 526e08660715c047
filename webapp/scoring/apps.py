from django.apps import AppConfig


class ScoringConfig(AppConfig):
    name = "webapp.scoring"
    default_auto_field = "django.db.models.BigAutoField"
