"""Who is told of what happens, and what they were told: endpoints, their secrets, deliveries and the attempts at them.

A delivery is written in the transaction of what happened, so that neither exists without the other. Whoever holds its
`token` tries it, one at a time; the lease behind it ends when the worker does.
"""

import uuid
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

LONGEST_URL = 2000
LONGEST_ERROR = 300


class EventType(models.TextChoices):
    """What a person can be told of. The value is its public name."""

    BATCH_COMPLETED = "batch.completed", "A batch is complete"
    BATCH_FAILED = "batch.failed", "A batch has failed"
    BATCH_CANCELLED = "batch.cancelled", "A batch was cancelled"
    BATCH_EXPIRED = "batch.expired", "A batch has expired"


TEST = "webhook.test"  # sent when the owner asks for it, to one endpoint, whatever its event types


class Endpoint(models.Model):
    """An address of one person to which events are posted. `events` holds event types with a space between."""

    class Reason(models.TextChoices):
        """Why it is disabled."""

        OWNER = "owner", "You disabled it"
        GONE = "gone", "It answered 410 Gone"
        FAILING = "failing", "Nothing got through for days"
        ADMIN = "admin", "An administrator disabled it"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=LONGEST_URL)
    description = models.CharField(max_length=200, blank=True)
    events = models.CharField(max_length=400)
    disabled = models.CharField(max_length=10, choices=Reason, blank=True)  # why; empty: it is enabled
    disabled_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)  # the first failure after the last success
    mail_due_at = models.DateTimeField(null=True, blank=True)  # when to tell the owner that it was disabled
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = "webhook"
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            # queries.endpoints_of, and events.emit
            models.Index(fields=["owner", "-created_at"], name="webhooks_of_owner"),
            # notices.send_due
            models.Index(fields=["mail_due_at"], condition=Q(mail_due_at__isnull=False), name="webhooks_mail_due"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=~Q(url="") & ~Q(events=""), name="webhook_is_complete"),
            models.CheckConstraint(
                condition=Q(disabled="", disabled_at=None) | (~Q(disabled="") & Q(disabled_at__isnull=False)),
                name="webhook_disabled_when_it_says_so",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)  # never the address: it may hold a secret, and this text may end up in logs

    @property
    def enabled(self) -> bool:
        return not self.disabled

    @property
    def host(self) -> str:
        """Where it leads, without what may be a secret."""
        return urlsplit(self.url).netloc

    @property
    def event_types(self) -> list[str]:
        return self.events.split()

    @property
    def state(self) -> str:
        """ "disabled", "failing" or "enabled"."""
        if self.disabled:
            return "disabled"
        return "failing" if self.failing_since else "enabled"


class Secret(models.Model):
    """What deliveries to an endpoint are signed with, encrypted as `sealing.py` does it.

    One of an endpoint has no end. Those before it sign along until theirs, so that a receiver has time to change.
    """

    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="secrets")
    sealed = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["endpoint"], condition=Q(expires_at=None), name="one_lasting_secret_per_webhook"
            ),
        ]

    def __str__(self) -> str:
        return f"secret {self.pk}"


class Delivery(models.Model):
    """One event on its way to one endpoint.

    `message_id` is the `webhook-id` of every attempt, and the same for all endpoints that are told of one event.
    """

    class State(models.TextChoices):
        PENDING = "pending", "Pending"  # is tried, or will be
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"  # given up; can be sent again

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(Endpoint, models.CASCADE, related_name="deliveries")
    message_id = models.CharField(max_length=40)
    type = models.CharField(max_length=40)
    body = models.TextField()  # JSON, byte for byte as it is signed and sent
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    tries = models.PositiveSmallIntegerField(default=0)  # since it was last queued: where it stands in the schedule
    due_at = models.DateTimeField(null=True, blank=True)  # of the next attempt
    token = models.UUIDField(null=True, blank=True)  # of the worker that tries it
    leased_until = models.DateTimeField(null=True, blank=True)  # until then nobody else does
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    # How the last attempt went; those before it are in Attempt.
    attempts = models.PositiveIntegerField(default=0)  # in all; the newest are kept
    status = models.PositiveSmallIntegerField(null=True, blank=True)  # of the answer; empty: there was none
    duration_ms = models.FloatField(null=True, blank=True)
    error = models.CharField(max_length=LONGEST_ERROR, blank=True)  # why it failed, for the owner

    class Meta:
        verbose_name_plural = "deliveries"
        ordering: ClassVar[list[str]] = ["-created_at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            # queries.deliveries_of: the newest first after a cursor
            models.Index(fields=["endpoint", "-created_at", "-id"], name="deliveries_of_webhook"),
            # deliveries.claim: what is to be tried now
            models.Index(fields=["due_at"], condition=Q(state="pending"), name="deliveries_due"),
            # deliveries.claim: which endpoints are being talked to
            models.Index(
                fields=["leased_until"], condition=Q(leased_until__isnull=False), name="deliveries_being_tried"
            ),
            # deliveries.prune: what is too old to keep
            models.Index(fields=["created_at"], name="deliveries_by_age"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["endpoint", "message_id"], name="one_delivery_per_message_and_webhook"),
            models.CheckConstraint(
                condition=Q(state="pending", due_at__isnull=False, ended_at=None)
                | (~Q(state="pending") & Q(due_at=None, ended_at__isnull=False)),
                name="delivery_due_while_pending",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.pk}"

    @property
    def is_retried(self) -> bool:
        """Whether it is pending because an attempt has failed."""
        return self.state == self.State.PENDING and self.tries > 0

    @property
    def waits_until(self) -> datetime | None:
        """When the next attempt comes; None when none comes, or it comes right now."""
        return self.due_at if self.due_at and self.due_at > timezone.now() else None


class Attempt(models.Model):
    """One request to an endpoint, and what came of it."""

    delivery = models.ForeignKey(Delivery, models.CASCADE, related_name="tried")
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)  # empty: there was no answer
    duration_ms = models.FloatField()
    error = models.CharField(max_length=LONGEST_ERROR, blank=True)  # empty: it was delivered
    response = models.TextField(blank=True)  # the first kilobyte of the answer's body, as text

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-pk"]

    def __str__(self) -> str:
        return f"attempt {self.pk}"
