"""Each key's digest moves to a secret of its own, the key's current one."""

from django.db import migrations

AT_ONCE = 500


def fill(apps, schema_editor):
    database = schema_editor.connection.alias
    secrets = apps.get_model("keys", "KeySecret").objects.using(database)
    for key in apps.get_model("keys", "ApiKey").objects.using(database).filter(secrets=None).iterator(AT_ONCE):
        secrets.create(key=key, digest=key.digest, created_at=key.created_at, last_used_at=key.last_used_at)


def take_back(apps, schema_editor):
    """What was rotated out before is forgotten; the current secrets go on working."""
    database = schema_editor.connection.alias
    keys = apps.get_model("keys", "ApiKey").objects.using(database)
    for secret in apps.get_model("keys", "KeySecret").objects.using(database).filter(ends_at=None).iterator(AT_ONCE):
        keys.filter(pk=secret.key_id).update(digest=secret.digest)


class Migration(migrations.Migration):
    dependencies = [("keys", "0003_secrets")]
    operations = [migrations.RunPython(fill, take_back)]
