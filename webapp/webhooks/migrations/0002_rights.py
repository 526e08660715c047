"""The group admin may look at people's webhooks, and disable them. Running it again takes nothing away."""

from django.db import migrations

from webapp.accounts.rights import given_to_admins

give_rights = given_to_admins("webhooks", ["view_endpoint", "change_endpoint"])


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_endpoints"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
