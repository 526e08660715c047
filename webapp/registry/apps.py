from django.apps import AppConfig

from webapp.registry.guards import GUARDS


class RegistryConfig(AppConfig):
    name = "webapp.registry"
    verbose_name = "Models"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        GUARDS.put_back_after_migrations(self)
