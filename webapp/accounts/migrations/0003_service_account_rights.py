"""The group admin looks after service accounts. Running it again adds what is missing and takes nothing away."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ADMIN = ["view_serviceaccount", "add_serviceaccount", "change_serviceaccount"]


def give_rights(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("accounts")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)
    group, _ = apps.get_model("auth", "Group").objects.using(database).get_or_create(name="admin")
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    group.permissions.add(*permissions.filter(content_type__app_label="accounts", codename__in=ADMIN))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_service_accounts"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
