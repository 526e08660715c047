from django.apps import AppConfig


class SiteConfig(AppConfig):
    """The site itself: its checks and template tags."""

    name = "webapp"
    verbose_name = "Scorepod"

    def ready(self) -> None:
        from webapp import checks  # noqa: F401, PLC0415  # registers them, once all apps are loaded
