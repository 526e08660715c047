from django.apps import AppConfig

from webapp.audit.guards import GUARDS


class AuditConfig(AppConfig):
    name = "webapp.audit"
    verbose_name = "Security log"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        GUARDS.put_back_after_migrations(self)
