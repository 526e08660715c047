"""Work in the background: each of these may be delivered twice, late, or be cut short by the end of its worker."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from threading import Lock, Semaphore
from typing import Any

import structlog
from celery import shared_task
from django.db import Error as DatabaseError
from django.db.models.functions import Coalesce
from django.utils import timezone

from webapp import queues
from webapp.errors import AppError
from webapp.registry import aborts, adoption, evaluation_sets, gate, publishing, rollouts
from webapp.registry import shadow as shadows
from webapp.registry.models import Check, Pulse, ScoringModel
from webapp.scoring import store
from webapp.usage import traffic

log = structlog.get_logger(__name__)

# In one worker. A check takes minutes and a shadow's bundle many seconds: neither may take the threads that promotions
# need, nor shadows the pods' time that callers need.
CHECKS_AT_ONCE = 4
SHADOWS_AT_ONCE = 2
RESENT_FOR = 20.0  # seconds; what is still left by then is sent anew


_watching = Lock()
_checks = Semaphore(CHECKS_AT_ONCE)
_comparing = Semaphore(SHADOWS_AT_ONCE)


@shared_task(name="registry.watch")
def watch() -> None:
    """Every two seconds: finds what was left undone, and what has changed outside.

    One at a time in a process: a store that hangs must not take one thread of the worker after the other.
    """
    if not _watching.acquire(blocking=False):
        return
    try:
        for part in (
            _beat,
            rollouts.resume_unattended,
            _resume_silent_checks,
            aborts.judge_all,
            traffic.merge,
            adoption.adopt_store,
            _publish_all,
        ):
            _attempt(part)
    finally:
        _watching.release()


@shared_task(name="registry.drive")
def drive(rollout_id: int) -> None:
    rollouts.drive(rollout_id)


@shared_task(name="registry.check")
def check(check_id: int, token: str) -> None:
    """Runs a check, unless this worker has its hands full: then it is sent again when one of those has ended."""
    if not _checks.acquire(blocking=False):
        return
    try:
        gate.run(check_id, token)
    finally:
        _checks.release()
    _send_checks_never_begun()


@shared_task(name="registry.shadow", acks_late=False)
def shadow(offers: list[dict[str, Any]]) -> None:
    """Compares, or drops what it was given when others are at it: what waits would be about a time long gone."""
    if not _comparing.acquire(blocking=False):
        log.info("shadow_offers_left_out", count=len(offers))
        return
    try:
        shadows.compare(offers)
    finally:
        _comparing.release()


@shared_task(name="registry.take_up_evaluation_set")
def take_up_evaluation_set(model_id: int) -> None:
    """Reads a large set that lies in the store: `watch` has no time for it."""
    for model in ScoringModel.objects.filter(pk=model_id):
        _attempt(evaluation_sets.take_up, model)


@shared_task(name="registry.prune")
def prune() -> None:
    """Every hour: forgets what is too old."""
    _attempt(shadows.prune)
    _attempt(traffic.prune_and_merge)
    _attempt(store.tidy)


def _beat() -> None:
    """Says that a worker runs. First of all: whatever goes wrong with the rest, there is one."""
    Pulse.objects.update_or_create(name="watch", defaults={"at": timezone.now()})


def _publish_all() -> None:
    for model in ScoringModel.objects.all():
        _attempt(publishing.publish, model)


def _send_checks_never_begun() -> None:
    """Sends the checks that nobody has begun, the oldest first. One that is begun meanwhile is begun once."""
    never_begun = Check.objects.filter(state=Check.State.RUNNING, heartbeat_at=None).order_by("started_at", "pk")
    for check_id, token in never_begun.values_list("pk", "token")[:CHECKS_AT_ONCE]:
        queues.send("registry.check", check_id, str(token))


def _resume_silent_checks() -> None:
    """Starts each check over whose worker has not been heard of for a while."""
    silent = Check.objects.annotate(heard_at=Coalesce("heartbeat_at", "started_at")).filter(
        state=Check.State.RUNNING, heard_at__lt=timezone.now() - timedelta(seconds=gate.SILENT_AFTER)
    )
    for check_id, token in silent.values_list("pk", "token"):
        new = uuid.uuid4()
        # Only one of two watches that look at the same time.
        if Check.objects.filter(pk=check_id, token=token, state=Check.State.RUNNING).update(
            token=new, heartbeat_at=timezone.now()
        ):
            queues.send("registry.check", check_id, str(new), expires=RESENT_FOR)


def _attempt(part: Callable[..., object], *arguments: object) -> None:
    """Runs one part; what goes wrong with it holds up no other, and the next time comes soon."""
    try:
        part(*arguments)
    except (AppError, DatabaseError, OSError) as error:
        log.warning("watch_part_failed", part=part.__name__, error=str(error))
