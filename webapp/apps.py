from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.contrib.staticfiles.apps import StaticFilesConfig


class SiteConfig(AppConfig):
    """The site itself: its checks, its template tags, and what it tells Prometheus of all apps."""

    name = "webapp"
    verbose_name = "Scorepod"

    def ready(self) -> None:
        from webapp import checks, standing  # noqa: F401, PLC0415  # registers them, once all apps are loaded


class Administration(AdminConfig):
    """Django's admin with our site."""

    default_site = "webapp.admin_site.AdminSite"


class NeededStaticFiles(StaticFilesConfig):
    """Collects only what our pages use: hashing and compressing the rest takes longer than the site takes to start."""

    ignore_patterns = [
        *StaticFilesConfig.ignore_patterns,
        "rest_framework",  # pages that the API does not have
        "ext",  # of htmx
        "django_htmx/htm*-4*",
        "*/i18n/[!e]*",  # the admin speaks English
        "*/xregexp.js",
        "*/jquery.js",
        "*/select2.full.js",
        "LICENSE*",
        "README*",
    ]
