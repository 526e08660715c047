import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="ServiceAccount",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=("accounts.user",),
        ),
        migrations.AddField(
            "user", "is_service", models.BooleanField("service account", default=False, editable=False)
        ),
        migrations.AddField(
            "user",
            "responsible",
            models.ForeignKey(
                blank=True,
                help_text="Looks after the keys of the service account, and gets its mails.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="service_accounts",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddConstraint(
            "user",
            models.CheckConstraint(
                condition=Q(is_service=False, responsible=None) | Q(is_service=True, responsible__isnull=False),
                name="somebody_is_responsible_for_a_service",
            ),
        ),
        migrations.AddConstraint(
            "user",
            models.CheckConstraint(
                condition=Q(is_service=False) | Q(is_staff=False, is_superuser=False, password__startswith="!"),  # noqa: S106
                name="a_service_never_signs_in",
            ),
        ),
    ]
