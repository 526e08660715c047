"""The group admin may read the security log. Running it again takes nothing away."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def give_rights(apps, schema_editor):
    database = schema_editor.connection.alias
    config = apps.get_app_config("audit")
    if not hasattr(config, "models_module"):
        config.models_module = True  # one as it was then: without this it counts as one without models
    create_permissions(config, verbosity=0, using=database, apps=apps)
    group, _ = apps.get_model("auth", "Group").objects.using(database).get_or_create(name="admin")
    permissions = apps.get_model("auth", "Permission").objects.using(database)
    group.permissions.add(permissions.get(content_type__app_label="audit", codename="view_securityevent"))


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_guards"), ("registry", "0003_roles")]
    # Back: the permission does no harm without the code that asks for it.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
