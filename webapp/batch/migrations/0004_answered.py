from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("batch", "0003_faults"),
    ]

    operations = [
        migrations.AddField(
            model_name="chunk",
            name="answered",
            field=models.JSONField(blank=True, default=dict),
        ),
    ]
