from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

SOON = timedelta(days=14)  # from when on the end of a key is pointed out


class Scope(models.TextChoices):
    """What a key may be used for. The value is its public name."""

    FAQ = "faq:read", "Match questions"
    FAQ_WRITE = "faq:write", "Edit FAQ entries, where you may"
    IMAGES = "images:read", "Classify images"
    BATCH = "batch", "Run batch jobs"
    WEBHOOKS = "webhooks", "Look after webhooks"
    KEYS = "keys:read", "See your API keys"
    PIN = "models:pin", "Ask for a model version"
    ADMIN = "admin:read", "Read the models’ history"


class ApiKey(models.Model):
    """A key of one person or service account: a name, what it may do, and one or more secrets, of which we keep HMACs.

    `scope` holds one or more scopes with a space between, as in OAuth; `networks` likewise what a request may come
    from, empty for anywhere.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=8, unique=True)  # shown in lists, finds the row
    scope = models.CharField(max_length=200)
    networks = models.CharField(max_length=1000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    reminded_days = models.PositiveSmallIntegerField(null=True, editable=False)  # before its end, at the last reminder
    last_used_at = models.DateTimeField(null=True, editable=False)  # up to a minute behind, as the next three
    last_used_from = models.CharField(max_length=43, blank=True, editable=False)  # an address, or an IPv6 /64
    refused_at = models.DateTimeField(null=True, editable=False)  # when it came from another network than it may
    refused_from = models.CharField(max_length=43, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        # The list of a person's keys, newest first.
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="keys_of_owner_newest_first"),
            # Those that are about to expire, for the reminders.
            models.Index(
                fields=["expires_at"],
                condition=Q(revoked_at=None, expires_at__isnull=False),
                name="live_keys_by_expiry",
            ),
        ]
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
            models.CheckConstraint(condition=~Q(scope="") & ~Q(name=""), name="key_is_complete"),
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
    def network_list(self) -> list[str]:
        """The networks it may be used from, as "192.0.2.0/24"; empty: from anywhere."""
        return self.networks.split()

    @property
    def state(self) -> str:
        """ "live", "expired" or "revoked"."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "live"

    @property
    def ends_soon(self) -> bool:
        """Whether its owner had better see to it: within two weeks."""
        return self.expires_at is not None and self.expires_at <= timezone.now() + SOON

    @property
    def is_live(self) -> bool:
        return self.state == "live"

    @property
    def current_secret(self) -> "KeySecret | None":
        """The one that was made last, and works as long as the key."""
        return next((secret for secret in self.secrets.all() if secret.ends_at is None), None)

    @property
    def working_secrets(self) -> "list[KeySecret]":
        """The current one and those before it that still work, the newest first."""
        return [*filter(None, [self.current_secret]), *self.old_secrets]

    @property
    def old_secrets(self) -> "list[KeySecret]":
        """Those before it that still work, the newest first."""
        now = timezone.now()
        old = [secret for secret in self.secrets.all() if secret.ends_at is not None and secret.ends_at > now]
        return sorted(old, key=lambda secret: secret.created_at, reverse=True)


class KeySecret(models.Model):
    """What makes a key a key: shown once, kept as an HMAC. After a rotation the one before works on until it ends."""

    key = models.ForeignKey(ApiKey, models.CASCADE, related_name="secrets")
    digest = models.CharField(max_length=64)  # hexadecimal HMAC-SHA256
    ending = models.CharField(max_length=4, blank=True)  # its last characters; empty where they were never kept
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ends_at = models.DateTimeField(null=True, editable=False)  # None: with the key
    last_used_at = models.DateTimeField(null=True, editable=False)  # up to a minute behind

    class Meta:
        verbose_name = "secret"
        constraints = [
            models.UniqueConstraint(fields=["key"], condition=Q(ends_at=None), name="one_current_secret_a_key"),
            models.CheckConstraint(condition=~Q(digest=""), name="secret_is_complete"),
            models.CheckConstraint(
                condition=Q(ends_at=None) | Q(ends_at__gte=F("created_at")), name="secret_ends_later"
            ),
        ]

    def __str__(self) -> str:
        return f"…{self.ending}" if self.ending else f"of {self.created_at:%-d %B %Y}"


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


class MonthUse(models.Model):
    """What a person (key: None) or one of their keys has used in a calendar month, in UTC.

    The counters that limit it live in Redis or in a process; these figures are written behind them, about a second,
    and bring them back when they are lost. Without constraints on the other tables: a person may be deleted before
    the last second of theirs is written.
    """

    month = models.DateField()  # its first day
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_constraint=False)
    key = models.ForeignKey(
        ApiKey, models.CASCADE, null=True, blank=True, related_name="+", db_constraint=False, db_index=False
    )
    requests = models.PositiveBigIntegerField(default=0)  # that scored something
    rows = models.PositiveBigIntegerField(default=0)  # questions and pictures, in requests and batches

    class Meta:
        verbose_name_plural = "use by month"
        constraints = [
            models.UniqueConstraint(fields=["user", "month"], condition=Q(key=None), name="one_use_per_user_and_month"),
            models.UniqueConstraint(
                fields=["key", "month"], condition=Q(key__isnull=False), name="one_use_per_key_and_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.requests} requests, {self.rows} rows"


def joined(scopes: Iterable[str]) -> str:
    """Scopes as the `scope` field keeps them."""
    return " ".join(sorted(set(scopes)))
