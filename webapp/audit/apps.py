from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate

from webapp.audit import guards


class AuditConfig(AppConfig):
    name = "webapp.audit"
    verbose_name = "Security log"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_put_guards_back, sender=self)


def _put_guards_back(using: str, **_others: Any) -> None:
    """A migration that rebuilds a table of SQLite takes its triggers away."""
    connection = connections[using]
    if ("audit", "0002_guards") in MigrationRecorder(connection).applied_migrations():
        guards.install(connection)
