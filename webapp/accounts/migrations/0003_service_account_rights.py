"""The group admin looks after service accounts. Running it again adds what is missing and takes nothing away."""

from django.db import migrations

from webapp.accounts.rights import given_to_admins

give_rights = given_to_admins("accounts", ["view_serviceaccount", "add_serviceaccount", "change_serviceaccount"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_service_accounts"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
