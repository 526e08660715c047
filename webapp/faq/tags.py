"""Tags of entries: lists of texts as JSON, which the two databases search each in its own way."""

from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler

from webapp.faq.models import Collection

Sql = tuple[str, tuple[str | int, ...]]
_COUNTED = {
    "sqlite": "faq_entry, json_each(faq_entry.tags) AS tag",
    "postgresql": "faq_entry, jsonb_array_elements_text(faq_entry.tags) AS tag(value)",
}


class HasTag(Func):
    """Whether the list of tags, the first expression, has the tag that is the second."""

    output_field = BooleanField()
    conditional = True
    arity = 2

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any) -> Sql:
        tags, tag = self.get_source_expressions()
        tag_sql, tag_params = compiler.compile(tag)
        tags_sql, tags_params = compiler.compile(tags)
        sql = f"{tag_sql} IN (SELECT value FROM json_each({tags_sql}))"  # noqa: S608  # both are Django's
        return sql, (*tag_params, *tags_params)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any) -> Sql:
        tags, tag = self.get_source_expressions()
        tags_sql, tags_params = compiler.compile(tags)
        tag_sql, tag_params = compiler.compile(tag)
        return f"{tags_sql} @> to_jsonb({tag_sql}::text)", (*tags_params, *tag_params)


def tags_of(collection: Collection, most: int = 200) -> list[tuple[str, int]]:
    """The tags of the collection's entries with how many have each, the most frequent first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tag.value, COUNT(*) FROM {_COUNTED[connection.vendor]} WHERE collection_id = %s "  # noqa: S608  # ours
            "GROUP BY tag.value ORDER BY 2 DESC, 1 LIMIT %s",
            [collection.pk, most],
        )
        return [(str(tag), int(count)) for tag, count in cursor.fetchall()]
