from django.db import migrations

from webapp.registry import guards


def install(_apps, schema_editor):
    guards.install(schema_editor.connection)


def drop(_apps, schema_editor):
    guards.drop(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_models")]
    operations = [migrations.RunPython(install, drop)]
