from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate

from webapp.registry import guards


class RegistryConfig(AppConfig):
    name = "webapp.registry"
    verbose_name = "Models"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_put_guards_back, sender=self)


def _put_guards_back(using: str, **_others: Any) -> None:
    """A migration that rebuilds a table of SQLite takes its triggers away."""

    connection = connections[using]
    if ("registry", "0002_guards") in MigrationRecorder(connection).applied_migrations():
        guards.install(connection)
