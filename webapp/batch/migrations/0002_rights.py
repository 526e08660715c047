"""The group admin may look at people's batches, and cancel them. Running it again takes nothing away."""

from django.db import migrations

from webapp.accounts.rights import given_to_admins

give_rights = given_to_admins("batch", ["view_job", "change_job"])


class Migration(migrations.Migration):
    dependencies = [("batch", "0001_jobs"), ("registry", "0003_roles")]
    # Back: the permissions do no harm without the code that asks for them.
    operations = [migrations.RunPython(give_rights, migrations.RunPython.noop)]
