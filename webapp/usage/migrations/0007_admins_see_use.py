"""Lets the group admin see how much everybody uses."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def let_admins_see(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("usage")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)
    permission = (
        apps.get_model("auth", "Permission")
        .objects.using(database)
        .get(content_type__app_label="usage", codename="view_use")
    )
    for group in apps.get_model("auth", "Group").objects.using(database).filter(name="admin"):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("usage", "0006_use_by_day"), ("registry", "0003_roles")]
    operations = [migrations.RunPython(let_admins_see, migrations.RunPython.noop)]
