import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models
from django.db.models import F, Q


class Migration(migrations.Migration):
    dependencies = [("keys", "0002_idempotent_calls")]

    operations = [
        migrations.CreateModel(
            name="KeySecret",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("digest", models.CharField(max_length=64)),
                ("ending", models.CharField(blank=True, max_length=4)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("ends_at", models.DateTimeField(editable=False, null=True)),
                ("last_used_at", models.DateTimeField(editable=False, null=True)),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="secrets", to="keys.apikey"
                    ),
                ),
            ],
            options={
                "verbose_name": "secret",
                "constraints": [
                    models.UniqueConstraint(fields=["key"], condition=Q(ends_at=None), name="one_current_secret_a_key"),
                    models.CheckConstraint(condition=~Q(digest=""), name="secret_is_complete"),
                    models.CheckConstraint(
                        condition=Q(ends_at=None) | Q(ends_at__gte=F("created_at")), name="secret_ends_later"
                    ),
                ],
            },
        ),
        migrations.AddField("apikey", "networks", models.CharField(blank=True, max_length=1000)),
        migrations.AddField("apikey", "reminded_days", models.PositiveSmallIntegerField(editable=False, null=True)),
        migrations.AddField("apikey", "last_used_from", models.CharField(blank=True, editable=False, max_length=43)),
        migrations.AddField("apikey", "refused_at", models.DateTimeField(editable=False, null=True)),
        migrations.AddField("apikey", "refused_from", models.CharField(blank=True, editable=False, max_length=43)),
        migrations.AddIndex(
            "apikey",
            models.Index(
                fields=["expires_at"],
                condition=Q(revoked_at=None, expires_at__isnull=False),
                name="live_keys_by_expiry",
            ),
        ),
        migrations.RemoveConstraint("apikey", "key_is_complete"),
        migrations.AddConstraint(
            "apikey", models.CheckConstraint(condition=~Q(scope="") & ~Q(name=""), name="key_is_complete")
        ),
    ]
