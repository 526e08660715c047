"""The life of a delivery: due, claimed by one worker, tried, and then delivered, due again, or given up.

The database is the truth; a message only says that there is something to look at. A worker that is killed leaves a
lease that ends; the delivery is then tried again under the same id. So it is made at least once.
"""

import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import perf_counter

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from webapp import metrics
from webapp.webhooks import sealing, sending, signing, targets
from webapp.webhooks.models import LONGEST_ERROR, TEST, Attempt, Delivery, Endpoint

log = structlog.get_logger(__name__)
State, Reason = Delivery.State, Endpoint.Reason

# Seconds from one attempt to the next: ten attempts within about three days, as Standard Webhooks recommends.
PAUSES = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
JITTER = 0.2  # of a pause, more or less: what failed together does not come back together
LONGEST_PAUSE = timedelta(hours=24)  # that an endpoint may ask for
FAILING_FOR = timedelta(days=3)  # without one success, and a delivery given up: the endpoint is disabled
LEASE = timedelta(seconds=90)  # longer than an attempt takes: `targets.LOOK_UP_WITHIN` and `sending.WITHIN`
KEPT = timedelta(days=30)
ATTEMPTS_KEPT = 50  # of one delivery, which its owner may send again as often as they like
CANDIDATES = 20  # looked at in one attempt to claim: others may be claiming the same ones
DELETED_AT_ONCE = 500
# What the metrics call the state after an attempt.
ATTEMPTS = {State.DELIVERED: "delivered", State.PENDING: "again", State.FAILED: "given_up"}
REDIRECTS = range(300, 400)
UNTRUSTED = "Its secret can no longer be read here. Rotate it, and give the new one to the receiver."


@dataclass(frozen=True)
class Outcome:
    """How an attempt went. status: None when there was no answer; error: empty when it is delivered."""

    status: int | None
    error: str
    duration_ms: float
    response: str = ""
    retry_after: str = ""

    @property
    def good(self) -> bool:
        return not self.error


# What is to be done ---------------------------------------------------------------------------------------------------


def due(now: datetime) -> QuerySet[Delivery]:
    """What can be claimed: due, in nobody's hands, to an endpoint that nobody is talking to at this moment.

    Nothing of an owner who is not active any more; it waits until they are again.
    """
    return Delivery.objects.filter(
        _in_nobodys_hands(now),
        state=State.PENDING,
        due_at__lte=now,
        endpoint__disabled="",
        endpoint__owner__is_active=True,
    ).exclude(endpoint__in=_being_tried(now).values("endpoint"))


def _being_tried(now: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.filter(leased_until__gt=now)


def _in_nobodys_hands(now: datetime) -> Q:
    return Q(leased_until=None) | Q(leased_until__lte=now)


def claim(now: datetime) -> Delivery | None:
    """The delivery to try next, its endpoint loaded, in the caller's hands until LEASE from now; None when none is due.

    Owners take turns, whatever each has sent; and endpoints that work come first, so that those that let us wait for
    every answer do not keep the others waiting.
    """
    has_turn = Exists(_being_tried(now).filter(endpoint__owner=OuterRef("endpoint__owner")))
    order = (has_turn, F("endpoint__failing_since").asc(nulls_first=True), "due_at", "pk")
    for pk in due(now).order_by(*order).values_list("pk", flat=True)[:CANDIDATES]:
        token = uuid.uuid4()
        mine = Delivery.objects.filter(_in_nobodys_hands(now), pk=pk, state=State.PENDING, due_at__lte=now)
        if mine.update(token=token, leased_until=now + LEASE):
            return Delivery.objects.select_related("endpoint").filter(pk=pk, token=token).first()
    return None


def deliver_next(clock: Callable[[], datetime] = timezone.now) -> bool:
    """Tries the delivery that is due first; False when none is."""
    delivery = claim(clock())
    if delivery is None:
        return False
    try:
        outcome = attempt(delivery, clock())
    except Exception:  # whatever it is, the others must not wait behind this one for ever
        log.exception("webhook_attempt_broke", delivery=str(delivery.pk))
        outcome = Outcome(None, "An error on our side. It has been logged.", 0)
    settle(delivery, outcome, clock())
    return True


# One attempt ----------------------------------------------------------------------------------------------------------


def attempt(delivery: Delivery, at: datetime) -> Outcome:
    """Sends the event to its endpoint, and says what came of it. Writes nothing. at: now, as the receiver is told."""
    began = perf_counter()
    outcome = _attempt(delivery, at)
    return Outcome(**{**vars(outcome), "duration_ms": round((perf_counter() - began) * 1000, 1)})


def _attempt(delivery: Delivery, at: datetime) -> Outcome:
    body = delivery.body.encode()
    try:
        secrets = secrets_of(delivery.endpoint, at)
        target = targets.find(delivery.endpoint.url)
        headers = signing.headers(delivery.message_id, at, body, secrets)
        answer = sending.post(target, body, headers, within=sending.WITHIN)
    except sealing.Unreadable:
        return Outcome(None, UNTRUSTED, 0)
    except (targets.Refused, sending.Unanswered) as error:
        return Outcome(None, str(error), 0)
    return Outcome(answer.status, _error_in(answer.status), 0, answer.response, answer.retry_after)


def secrets_of(endpoint: Endpoint, at: datetime) -> list[str]:
    """What signs at that moment, the newest first. Raises sealing.Unreadable when the lasting one cannot be read."""
    lasting = endpoint.secrets.get(expires_at=None)
    secrets = [sealing.unseal(lasting.sealed)]
    for ending in endpoint.secrets.filter(expires_at__gt=at).order_by("-created_at", "-pk"):
        with suppress(sealing.Unreadable):  # it may be why there is a new one
            secrets.append(sealing.unseal(ending.sealed))
    return secrets


def _error_in(status: int) -> str:
    """What an answer of this status means, for the owner; empty for a success."""
    if 200 <= status < 300:
        return ""
    if status == 410:
        return "The endpoint is gone (410) and has been disabled."
    if status in REDIRECTS:
        return f"It answered {status}. Redirects are not followed: enter the address that they lead to."
    return f"It answered {status}."


# What comes of it -----------------------------------------------------------------------------------------------------


def settle(delivery: Delivery, outcome: Outcome, now: datetime) -> bool:
    """Notes how the attempt went and what comes next. False, and nothing is written, for a lease that was lost."""
    tries, error = delivery.tries + 1, outcome.error[:LONGEST_ERROR]
    with transaction.atomic():
        # Whoever changes both takes the endpoint first, so that nobody waits for each other.
        endpoint = Endpoint.objects.select_for_update().filter(pk=delivery.endpoint_id).first()
        again = None
        if endpoint is not None and endpoint.enabled and not outcome.good:
            again = next_attempt(delivery, outcome, tries, now)
        state = State.DELIVERED if outcome.good else State.PENDING if again else State.FAILED
        mine = Delivery.objects.filter(pk=delivery.pk, token=delivery.token, state=State.PENDING)
        settled = mine.update(
            state=state,
            tries=tries,
            due_at=again,
            ended_at=None if again else now,
            token=None,
            leased_until=None,
            attempts=F("attempts") + 1,
            status=outcome.status,
            duration_ms=outcome.duration_ms,
            error=error,
        )
        if endpoint is None or not settled:
            log.info("webhook_attempt_came_late", delivery=str(delivery.pk))
            return False
        Attempt.objects.create(
            delivery=delivery,
            at=now,
            status=outcome.status,
            duration_ms=outcome.duration_ms,
            error=error,
            response=outcome.response,
        )
        if delivery.attempts >= ATTEMPTS_KEPT:
            older = delivery.tried.values_list("pk", flat=True)[ATTEMPTS_KEPT:]
            Attempt.objects.filter(pk__in=list(older)).delete()
        _judge(endpoint, delivery, outcome, now, given_up=state == State.FAILED)
    if delivery.type != TEST:  # of which only its owner wants to know
        metrics.webhook_attempts.labels(ATTEMPTS[state]).inc()
    log.info(
        "webhook_attempted",
        delivery=str(delivery.pk),
        webhook=str(delivery.endpoint_id),
        type=delivery.type,
        state=state.value,
        status=outcome.status,
        tries=tries,
        duration_ms=outcome.duration_ms,
    )
    return True


def next_attempt(delivery: Delivery, outcome: Outcome, tries: int, now: datetime) -> datetime | None:
    """When to try again after so many tries that failed; None: it is given up. A test is tried once.

    An endpoint that is overloaded (429, 503) may ask for a longer pause, of a day at most.
    """
    if delivery.type == TEST or outcome.status == 410 or tries > len(PAUSES):
        return None
    pause = PAUSES[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # nobody has to guess it
    if outcome.status in {429, 503}:
        asked = sending.seconds_in(outcome.retry_after, now.timestamp()) or 0
        pause = max(pause, min(asked, LONGEST_PAUSE.total_seconds()))
    return now + timedelta(seconds=pause)


def _judge(endpoint: Endpoint, delivery: Delivery, outcome: Outcome, now: datetime, *, given_up: bool) -> None:
    """Notes at the endpoint how it does; disables one that is gone, or to which nothing has got through for days."""
    row = Endpoint.objects.filter(pk=endpoint.pk)
    if outcome.good:
        if endpoint.failing_since:
            row.update(failing_since=None)
    elif outcome.status == 410:
        disable(endpoint, Reason.GONE, now)
    elif delivery.type == TEST:
        return  # its owner looks at it right now
    elif endpoint.failing_since is None:
        row.update(failing_since=now)
    elif given_up and endpoint.failing_since <= now - FAILING_FOR:
        disable(endpoint, Reason.FAILING, now)


def disable(endpoint: Endpoint, reason: Endpoint.Reason, now: datetime) -> bool:
    """Ends all that is on its way to the endpoint; its owner is told by mail where they did not do it themselves.

    False when it was disabled before; the reason of then stays.
    """
    with transaction.atomic():
        mail_due_at = None if reason == Reason.OWNER else now
        disabled = Endpoint.objects.filter(pk=endpoint.pk, disabled="").update(
            disabled=reason, disabled_at=now, mail_due_at=mail_due_at
        )
        if not disabled:
            return False
        # But for what is being tried right now: how that ends, its worker will say.
        _end(Delivery.objects.filter(_in_nobodys_hands(now), endpoint=endpoint, state=State.PENDING), now)
    endpoint.disabled, endpoint.disabled_at = reason, now
    log.info("webhook_disabled", webhook=str(endpoint.pk), owner_id=endpoint.owner_id, reason=reason.value)
    return True


def end_abandoned(now: datetime) -> int:
    """Ends what a worker had in hand that was killed after the endpoint was disabled; returns how many."""
    abandoned = Delivery.objects.filter(
        _in_nobodys_hands(now), state=State.PENDING, endpoint__disabled_at__lte=now - LEASE
    )
    return _end(abandoned, now) if abandoned.exists() else 0


def _end(pending: QuerySet[Delivery], now: datetime) -> int:
    return pending.update(
        state=State.FAILED,
        due_at=None,
        ended_at=now,
        token=None,
        leased_until=None,
        error="The webhook was disabled before it could be delivered.",
    )


def send_again(delivery: Delivery, now: datetime) -> None:
    """Has it tried at once, from the beginning of the schedule, under the same message id.

    What is pending just comes sooner.
    """
    waiting = Delivery.objects.filter(pk=delivery.pk, state=State.PENDING).update(due_at=now)
    if not waiting:
        Delivery.objects.filter(pk=delivery.pk).exclude(state=State.PENDING).update(
            state=State.PENDING, tries=0, due_at=now, ended_at=None, error=""
        )
    delivery.refresh_from_db()


def prune(now: datetime) -> int:
    """Deletes deliveries older than 30 days; returns how many."""
    old = Delivery.objects.filter(created_at__lt=now - KEPT)
    deleted = 0
    while keys := list(old.order_by("created_at").values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        deleted += Delivery.objects.filter(pk__in=keys).delete()[1].get("webhooks.Delivery", 0)
    return deleted
