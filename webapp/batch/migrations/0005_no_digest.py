from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("batch", "0004_answered"),
    ]

    operations = [
        migrations.RemoveField(
            model_name="job",
            name="digest",
        ),
    ]
