from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_plan_rights"),
    ]

    operations = [
        migrations.AddField(
            model_name="plan",
            name="requests_per_key",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="requests a minute and key"),
        ),
        migrations.AddField(
            model_name="plan",
            name="requests_per_user",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="requests a minute and person"),
        ),
    ]
