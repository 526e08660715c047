"""The group admin may look at people's batches, and cancel them. Running it again takes nothing away."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ADMIN = ("view_job", "change_job")


def give_rights(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("batch")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)
    group, _ = apps.get_model("auth", "Group").objects.using(database).get_or_create(name="admin")
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    group.permissions.add(*permissions.filter(content_type__app_label="batch", codename__in=ADMIN))


class Migration(migrations.Migration):
    dependencies = [("batch", "0001_jobs"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
