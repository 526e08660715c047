"""Triggers: what the database itself refuses, whoever asks.

SQLite loses them when a later migration rebuilds a table. So they are put in place by a migration of their app, and
again after each `migrate`; doing so twice does no harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.signals import post_migrate


@dataclass(frozen=True, eq=False)
class Guards:
    """The triggers of an app, put in place by its migration.

    sqlite: the statement of each, by its name. postgresql: those for all of them, with their functions; dropped_by: the
    one that drops what these have made.
    """

    app: str
    migration: str
    sqlite: Mapping[str, str]
    postgresql: str
    dropped_by: str

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Puts the triggers in place, in their present form."""
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(self.postgresql)
                return
            for name, statement in self.sqlite.items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
                cursor.execute(statement)

    def drop(self, connection: BaseDatabaseWrapper) -> None:
        """Takes them away: for going back behind their migration, and for tests that empty their database."""
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(self.dropped_by)
                return
            for name in self.sqlite:
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")

    def put_back_after_migrations(self, sender: AppConfig) -> None:
        """Once a `migrate` has ended that has applied their migration, or had before."""
        post_migrate.connect(self._put_back, sender=sender)

    def _put_back(self, using: str, **_others: Any) -> None:
        connection = connections[using]
        if (self.app, self.migration) in MigrationRecorder(connection).applied_migrations():
            self.install(connection)
