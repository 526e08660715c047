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

    sqlite: when each acts and what it does, by its name. postgresql: the statements for all of them, with their
    functions; dropped_by: those that drop what these have made.
    """

    app: str
    migration: str
    sqlite: Mapping[str, str]
    postgresql: str
    dropped_by: str

    @classmethod
    def append_only(
        cls,
        app: str,
        migration: str,
        *,
        table: str,
        row: str,
        function: str,
        refused: str,
        kept_days: int | None = None,
    ) -> "Guards":
        """Rows of the table can be added, and neither altered nor deleted.

        row: what one is called in the triggers' names. function: PostgreSQL's that refuses, with the words `refused`.
        kept_days: after so many a row may be deleted, by the time in its column `at`; None: never.
        """
        refuse = f"BEGIN SELECT RAISE(ABORT, '{refused}'); END"
        young_on_sqlite = (
            f"WHEN OLD.at > strftime('%Y-%m-%d %H:%M:%f', 'now', '-{kept_days} days')" if kept_days else ""
        )
        young_on_postgresql = f"WHEN (OLD.at > now() - interval '{kept_days} days')" if kept_days else ""
        replaced = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608  # a constant of our own
        sqlite = {
            f"{row}_not_altered": f"BEFORE UPDATE ON {table} {refuse}",
            f"{row}_not_deleted": f"BEFORE DELETE ON {table} {young_on_sqlite} {refuse}",
            # INSERT OR REPLACE deletes without asking the trigger above.
            f"{row}_not_replaced": f"BEFORE INSERT ON {table} {replaced} {refuse}",
        }
        postgresql = f"""
            CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '{refused}' USING ERRCODE = 'restrict_violation';
            END $$;
            CREATE OR REPLACE TRIGGER {row}_not_altered BEFORE UPDATE ON {table}
                FOR EACH ROW EXECUTE FUNCTION {function}();
            CREATE OR REPLACE TRIGGER {row}_not_deleted BEFORE DELETE ON {table}
                FOR EACH ROW {young_on_postgresql} EXECUTE FUNCTION {function}();
            CREATE OR REPLACE TRIGGER {row}_not_truncated BEFORE TRUNCATE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION {function}();
        """
        return cls(app, migration, sqlite, postgresql, f"DROP FUNCTION IF EXISTS {function}() CASCADE;")

    def install(self, connection: BaseDatabaseWrapper) -> None:
        """Puts the triggers in place, in their present form."""
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(self.postgresql)
                return
            for name, statement in self.sqlite.items():
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
                cursor.execute(f"CREATE TRIGGER {name} {statement}")

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
