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
from webapp.registry import adoption, gate, publishing, rollouts, trials
from webapp.registry import shadow as shadows
from webapp.registry.models import Check, Pulse, ScoringModel
from webapp.scoring import store
from webapp.usage import traffic

log = structlog.get_logger(__name__)

# In one worker. A check takes minutes, and may not take the threads that promotions need.
CHECKS_AT_ONCE = 4
RESENT_FOR = 20.0  # seconds; what is still left by then is sent anew


_watching = Lock()
_checks = Semaphore(CHECKS_AT_ONCE)


@shared_task(name="registry.watch")
def watch() -> None:
    """Every two seconds: finds what was left undone, and what has changed outside.

    One at a time in a process: a store that hangs must not take one thread of the worker after the other.
    """
    if not _watching.acquire(blocking=False):
        return
    try:
        for part in (
            rollouts.resume_unattended,
            _resume_silent_checks,
            trials.judge_all,
            traffic.merge,
            adoption.adopt_store,
            _publish_all,
        ):
            _attempt(part)
        Pulse.objects.update_or_create(name="watch", defaults={"at": timezone.now()})
    finally:
        _watching.release()


@shared_task(name="registry.drive")
def drive(rollout_id: int) -> None:
    rollouts.drive(rollout_id)


@shared_task(name="registry.check")
def check(check_id: int, token: str) -> None:
    """Runs a check, unless this worker has its hands full: then `watch` sends it again when it has been silent."""
    if not _checks.acquire(blocking=False):
        return
    try:
        gate.run(check_id, token)
    finally:
        _checks.release()


@shared_task(name="registry.shadow", acks_late=False)
def shadow(offers: list[dict[str, Any]]) -> None:
    shadows.compare(offers)


@shared_task(name="registry.prune")
def prune() -> None:
    """Every hour: forgets what is too old."""
    _attempt(shadows.prune)
    _attempt(traffic.prune_and_merge)
    _attempt(store.tidy)


def _publish_all() -> None:
    for model in ScoringModel.objects.all():
        _attempt(publishing.publish, model)


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
    except (AppError, DatabaseError) as error:
        log.warning("watch_part_failed", part=part.__name__, error=str(error))
