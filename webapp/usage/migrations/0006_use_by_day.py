import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("keys", "0001_initial"),
        ("usage", "0005_longer_items"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Use",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                (
                    "source",
                    models.CharField(choices=[("page", "Page"), ("api", "API"), ("batch", "Batch")], max_length=10),
                ),
                ("model", models.CharField(max_length=128)),
                ("version", models.CharField(blank=True, max_length=128)),
                ("requests", models.PositiveBigIntegerField(default=0)),
                ("rows", models.PositiveBigIntegerField(default=0)),
                ("errors", models.PositiveBigIntegerField(default=0)),
                ("latency", models.JSONField(default=dict)),
                ("merged", models.BooleanField(default=False)),
                (
                    "key",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="keys.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "use",
                "indexes": [
                    models.Index(fields=["user", "day"], name="use_of_person"),
                    models.Index(fields=["day"], name="use_by_day"),
                    models.Index(condition=models.Q(("merged", False)), fields=["id"], name="use_to_merge"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("errors__lte", models.F("rows"))), name="use_fails_no_more_than_rows"
                    )
                ],
            },
        ),
    ]
