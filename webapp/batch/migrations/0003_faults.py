from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("batch", "0002_rights"),
    ]

    operations = [
        migrations.AddField(
            model_name="chunk",
            name="faults",
            field=models.PositiveIntegerField(default=0),
        ),
    ]
