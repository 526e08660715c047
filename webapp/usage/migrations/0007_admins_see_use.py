"""Lets the group admin see how much everybody uses."""

from django.db import migrations

from webapp.accounts.rights import make_permissions


def let_admins_see(apps, schema_editor):
    database = schema_editor.connection.alias
    make_permissions(apps, "usage", database)
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
