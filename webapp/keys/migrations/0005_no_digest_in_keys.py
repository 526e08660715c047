from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("keys", "0004_fill_secrets")]
    operations = [
        # The default is for the way back alone: the digests are filled in by the step before.
        migrations.AlterField("apikey", "digest", models.CharField(max_length=64, default="")),
        migrations.RemoveField("apikey", "digest"),
    ]
