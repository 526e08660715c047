from django.db import migrations

from webapp.audit.guards import GUARDS


def install(_apps, schema_editor):
    GUARDS.install(schema_editor.connection)


def drop(_apps, schema_editor):
    GUARDS.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_events")]
    operations = [migrations.RunPython(install, drop)]
