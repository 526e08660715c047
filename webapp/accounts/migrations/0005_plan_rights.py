"""Those in the group admin look after plans."""

from django.db import migrations

from webapp.accounts.rights import given_to_admins

give_rights = given_to_admins("accounts", [f"{what}_plan" for what in ("view", "add", "change", "delete")])


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_plans"),
        ("registry", "0003_roles"),
    ]
    # Back: the permissions go with the model.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
