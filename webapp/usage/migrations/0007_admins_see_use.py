"""Lets the group admin see how much everybody uses."""

from django.db import migrations

from webapp.accounts.rights import given_to_admins

give_rights = given_to_admins("usage", ["view_use"])


class Migration(migrations.Migration):
    dependencies = [("usage", "0006_use_by_day"), ("registry", "0003_roles")]
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
