from django.db import migrations

from webapp.audit import guards


def install(_apps, schema_editor):
    guards.install(schema_editor.connection)


def drop(_apps, schema_editor):
    guards.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_events")]
    operations = [migrations.RunPython(install, drop)]
