"""The group admin may look at people's webhooks, and disable them. Running it again takes nothing away."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ADMIN = ("view_endpoint", "change_endpoint")


def give_rights(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("webhooks")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)
    group, _ = apps.get_model("auth", "Group").objects.using(database).get_or_create(name="admin")
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    group.permissions.add(*permissions.filter(content_type__app_label="webhooks", codename__in=ADMIN))


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_endpoints"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
