"""The history begins with what each entry says now, so that its first change can be undone, too."""

from itertools import islice

from django.db import migrations

PORTION = 500  # rows


def begin(apps, schema_editor):
    database = schema_editor.connection.alias
    entries = apps.get_model("faq", "Entry").objects.using(database)
    revisions = apps.get_model("faq", "Revision").objects.using(database)
    found = entries.prefetch_related("phrasings").order_by("pk").iterator(chunk_size=PORTION)
    while some := list(islice(found, PORTION)):
        revisions.bulk_create(
            revisions.model(
                collection_id=entry.collection_id,
                external_id=entry.external_id,
                version=entry.version,
                kind="imported",
                content={
                    "question": entry.question,
                    "answer": entry.answer,
                    "tags": entry.tags,
                    "phrasings": [each.text for each in entry.phrasings.all() if not each.held_out],
                    "test_phrasings": [each.text for each in entry.phrasings.all() if each.held_out],
                    "state": entry.state,
                    "answer_id": entry.answer_id,
                },
            )
            for entry in some
        )


class Migration(migrations.Migration):
    dependencies = [("faq", "0003_entry_versions_and_history")]
    operations = [migrations.RunPython(begin, migrations.RunPython.noop)]
