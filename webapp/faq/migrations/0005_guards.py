from django.db import migrations

from webapp.faq.guards import GUARDS


def install(_apps, schema_editor):
    GUARDS.install(schema_editor.connection)


def drop(_apps, schema_editor):
    GUARDS.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("faq", "0004_begin_history")]
    operations = [migrations.RunPython(install, drop)]
