"""Those in the group admin look after plans."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

GRANTS = [f"{what}_plan" for what in ("view", "add", "change", "delete")]


def grant(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("accounts")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)  # Django makes them after all migrations
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    found = permissions.filter(content_type__app_label="accounts", codename__in=GRANTS)
    assert len(found) == len(GRANTS), "permissions of plans are missing"
    apps.get_model("auth", "Group").objects.using(database).get(name="admin").permissions.add(*found)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_plans"),
        ("registry", "0003_roles"),
    ]
    # Back: the permissions go with the model.
    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
