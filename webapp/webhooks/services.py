"""Making, changing and trying webhooks."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from django.db import transaction
from django.utils import timezone

from webapp.accounts.models import User
from webapp.audit.recording import Kind, record
from webapp.errors import Conflict, InvalidInput, NotFound
from webapp.webhooks import deliveries, events, sealing, signing, targets
from webapp.webhooks.models import TEST, Delivery, Endpoint, EventType
from webapp.webhooks.targets import Checked

log = structlog.get_logger(__name__)

MOST = 10  # endpoints of one person
OVERLAP = timedelta(hours=24)  # that the secret before signs along after a rotation
GONE = "This webhook was deleted a moment ago."
MOST_SECRETS = 4  # of one endpoint that sign at the same time


@dataclass(frozen=True)
class NewSecret:
    """A secret just made; nothing else can show it. before_until: how long the one before signs along."""

    endpoint: Endpoint
    secret: str
    before_until: datetime | None = None


def create(owner: User, *, url: Checked, event_types: Collection[str], description: str = "") -> NewSecret:
    """Makes an endpoint. Raises InvalidInput for no or an unknown event type, Conflict when there are ten."""
    wanted = _known(event_types)
    secret = signing.new_secret()
    with transaction.atomic():
        User.objects.select_for_update().values_list("pk").get(pk=owner.pk)  # two at once must not both be the tenth
        if Endpoint.objects.filter(owner=owner).count() >= MOST:
            raise Conflict(f"You have {MOST} webhooks. Delete one that you no longer need.")
        endpoint = Endpoint.objects.create(owner=owner, url=url, events=wanted, description=description)
        endpoint.secrets.create(sealed=sealing.seal(secret))
        record(Kind.WEBHOOK_CREATED, account=owner, about=str(endpoint.pk), host=endpoint.host)
    log.info("webhook_created", webhook=str(endpoint.pk), owner_id=owner.pk)
    return NewSecret(endpoint, secret)


def change(
    endpoint: Endpoint,
    *,
    url: str | None = None,
    event_types: Collection[str] | None = None,
    description: str | None = None,
) -> None:
    """Changes what is given. Raises InvalidInput naming the field, and NotFound where it was deleted meanwhile: to look
    the address up may take seconds. What is on its way goes to the new address.
    """
    changed: dict[str, str] = {}
    if event_types is not None:
        changed["events"] = _known(event_types)
    if url is not None and url.strip() != endpoint.url:
        changed["url"] = targets.checked(url)
    if description is not None:
        changed["description"] = description
    if not changed:
        return
    with transaction.atomic():
        if not Endpoint.objects.filter(pk=endpoint.pk).update(**changed):
            raise NotFound(GONE)
        host = urlsplit(changed.get("url", endpoint.url)).netloc
        record(Kind.WEBHOOK_CHANGED, account=endpoint.owner, about=str(endpoint.pk), host=host)


def _known(event_types: Collection[str]) -> str:
    """The event types as an endpoint keeps them."""
    if not event_types:
        raise InvalidInput("Choose at least one event.", field="event_types")
    if unknown := set(event_types) - set(EventType.values):
        raise InvalidInput(f"There is no event {', '.join(sorted(unknown))}.", field="event_types")
    return " ".join(each for each in EventType.values if each in event_types)


def delete(endpoint: Endpoint) -> None:
    """Deletes it with its secrets and its log; what is on its way is not tried any more."""
    with transaction.atomic():
        Endpoint.objects.select_for_update().filter(pk=endpoint.pk).first()  # see deliveries.settle
        if not Endpoint.objects.filter(pk=endpoint.pk).delete()[0]:
            return  # somebody else did
        record(Kind.WEBHOOK_DELETED, account=endpoint.owner, about=str(endpoint.pk), host=endpoint.host)
    log.info("webhook_deleted", webhook=str(endpoint.pk), owner_id=endpoint.owner_id)


def rotate(endpoint: Endpoint, now: datetime | None = None) -> NewSecret:
    """Makes a new secret. The one before signs along for 24 hours. Raises Conflict for too many at once, and NotFound
    where the endpoint was deleted meanwhile.
    """
    now = now or timezone.now()
    secret = signing.new_secret()
    with transaction.atomic():
        if Endpoint.objects.select_for_update().filter(pk=endpoint.pk).first() is None:
            raise NotFound(GONE)
        endpoint.secrets.filter(expires_at__lte=now).delete()
        if endpoint.secrets.count() >= MOST_SECRETS:
            raise Conflict(f"{MOST_SECRETS} secrets sign at this time. Wait until the oldest has ended.")
        endpoint.secrets.filter(expires_at=None).update(expires_at=now + OVERLAP)
        endpoint.secrets.create(sealed=sealing.seal(secret), created_at=now)
        record(Kind.WEBHOOK_SECRET_ROTATED, account=endpoint.owner, about=str(endpoint.pk), host=endpoint.host)
    log.info("webhook_secret_rotated", webhook=str(endpoint.pk), owner_id=endpoint.owner_id)
    return NewSecret(endpoint, secret, now + OVERLAP)


def disable(endpoint: Endpoint, reason: Endpoint.Reason = Endpoint.Reason.OWNER) -> bool:
    """Nothing is sent to it from now on. False when it was disabled before."""
    return deliveries.disable(endpoint, reason, timezone.now())


def enable(endpoint: Endpoint) -> bool:
    """Events from now on are sent to it; those that it missed are not. False when it was enabled."""
    enabled = (
        Endpoint.objects.filter(pk=endpoint.pk)
        .exclude(disabled="")
        .update(disabled="", disabled_at=None, failing_since=None, mail_due_at=None)
    )
    endpoint.disabled, endpoint.disabled_at, endpoint.failing_since = "", None, None
    if enabled:
        log.info("webhook_enabled", webhook=str(endpoint.pk), owner_id=endpoint.owner_id)
    return bool(enabled)


def test(endpoint: Endpoint) -> Delivery:
    """Sends a test event. Raises Conflict while the endpoint is disabled, or one is on its way already."""
    _require_enabled(endpoint)
    if endpoint.deliveries.filter(type=TEST, state=Delivery.State.PENDING).exists():
        raise Conflict("A test event is on its way already. The log says how it goes.")
    return events.emit_test(endpoint)


def send_again(delivery: Delivery) -> None:
    """Has the delivery tried once more, at once. Raises Conflict while the endpoint is disabled."""
    _require_enabled(delivery.endpoint)
    with transaction.atomic():
        deliveries.send_again(delivery, timezone.now())
        events.send()


def _require_enabled(endpoint: Endpoint) -> None:
    if not endpoint.enabled:
        raise Conflict("This webhook is disabled. Enable it first.")
