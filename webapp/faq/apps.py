from django.apps import AppConfig

from webapp.faq.guards import GUARDS


class FaqConfig(AppConfig):
    name = "webapp.faq"
    verbose_name = "FAQ"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from webapp.faq import marks, queries  # noqa: PLC0415  # once all apps are loaded
        from webapp.registry import discretion  # noqa: PLC0415

        GUARDS.put_back_after_migrations(self)
        marks.listen()
        discretion.hide(queries.hidden_models)
