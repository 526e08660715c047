from collections.abc import Iterable

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone


class Scope(models.TextChoices):
    """What a key may be used for. The value is its public name."""

    FAQ = "faq:read", "Match questions"
    IMAGES = "images:read", "Classify images"
    BATCH = "batch", "Run batch jobs"
    PIN = "models:pin", "Ask for a model version"
    ADMIN = "admin:read", "Read the models’ history"


class ApiKey(models.Model):
    """A key of one person. The secret is shown once, at creation; we keep its HMAC.

    The whole key reads `sp_<prefix>_<secret>`. `scope` holds one or more scopes with a space between, as in OAuth.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=8, unique=True)  # shown in lists, finds the row
    digest = models.CharField(max_length=64)  # hexadecimal HMAC-SHA256
    scope = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False)  # up to a minute behind
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        # The list of a person's keys, newest first.
        indexes = [models.Index(fields=["owner", "-created_at"], name="keys_of_owner_newest_first")]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"], condition=Q(revoked_at=None), name="one_live_key_per_name"
            ),
            models.CheckConstraint(
                condition=Q(revoked_at=None) | Q(revoked_at__gte=F("created_at")), name="revoked_later"
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("created_at")), name="expires_later"
            ),
            models.CheckConstraint(condition=~Q(scope="") & ~Q(name="") & ~Q(digest=""), name="key_is_complete"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.public_part}…)"

    @property
    def public_part(self) -> str:
        """How lists show the key: what it begins with."""
        return f"sp_{self.prefix}_"

    @property
    def scopes(self) -> list[str]:
        return self.scope.split()

    @property
    def scope_labels(self) -> list[str]:
        """The scopes in the words of the page, in a fixed order."""
        return [scope.label for scope in Scope if scope.value in self.scopes]

    @property
    def state(self) -> str:
        """ "live", "expired" or "revoked"."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "live"

    @property
    def is_live(self) -> bool:
        return self.state == "live"


class IdempotentCall(models.Model):
    """A creation that was sent with an Idempotency-Key, and its answer once there is one (idempotency.py)."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    digest = models.CharField(max_length=64)  # HMAC-SHA256 of the Idempotency-Key
    fingerprint = models.CharField(max_length=64)  # SHA-256 of what was asked for
    token = models.UUIDField()  # of the request that runs it, and alone may write the answer
    created_at = models.DateTimeField()
    leased_until = models.DateTimeField()  # without an answer by then, another request may run it
    status = models.PositiveSmallIntegerField(null=True)  # of the answer; None: it runs
    answer = models.TextField(blank=True)  # sealed

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="idempotent_calls_by_age")]  # what is to be forgotten
        constraints = [
            models.UniqueConstraint(fields=["owner", "digest"], name="one_call_per_idempotency_key"),
            models.CheckConstraint(
                condition=Q(status=None, answer="") | (Q(status__isnull=False) & ~Q(answer="")),
                name="answered_call_has_its_answer",
            ),
        ]

    def __str__(self) -> str:
        return f"call {self.pk}"


def joined(scopes: Iterable[str]) -> str:
    """Scopes as the `scope` field keeps them."""
    return " ".join(sorted(set(scopes)))
