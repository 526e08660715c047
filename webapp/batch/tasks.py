"""Work in the background: each of these may be delivered twice, late, or be cut short by the end of its worker."""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from threading import Lock, Semaphore

import structlog
from celery import shared_task
from django.db import Error as DatabaseError
from django.utils import timezone

from webapp import queues
from webapp.batch import claims, endings, exports, files, retention, shifts, validation
from webapp.batch.models import Job
from webapp.batch.results import Which
from webapp.celery import stopping
from webapp.errors import AppError

log = structlog.get_logger(__name__)

# In one worker, so that other work keeps some of its threads.
VALIDATIONS_AT_ONCE = 2
EXPORTS_AT_ONCE = 2
MOST_MESSAGES = 32  # that wait for workers: so the length of the queue tells how many more could help
FINALIZED_WITHIN = 10.0  # seconds; then another worker is asked

_watching = Lock()
_shifts = Semaphore(shifts.SHIFTS_AT_ONCE)
_validations = Semaphore(VALIDATIONS_AT_ONCE)
_exports = Semaphore(EXPORTS_AT_ONCE)


@shared_task(name="batch.watch")
def watch() -> None:
    """Every two seconds: finds what was left undone. One at a time in a process, as a disk may hang."""
    if not _watching.acquire(blocking=False):
        return
    try:
        for part in (
            claims.reap,
            endings.expire_late,
            endings.finish_cancelling,
            validation.send_unattended,
            _send_unfinalized,
            top_up,
        ):
            _attempt(part)
    finally:
        _watching.release()


@shared_task(name="batch.work")
def work() -> None:
    """Scores chunks for a while, unless enough of this worker's threads do so."""
    if not _shifts.acquire(blocking=False):
        return
    try:
        more = shifts.work()
    finally:
        _shifts.release()
    if more:
        queues.send("batch.work", queue="batch")


@shared_task(name="batch.validate")
def validate() -> None:
    """Validates jobs for a while, one after the other, unless enough of this worker's threads do so."""
    if not _validations.acquire(blocking=False):
        return
    until = time.monotonic() + shifts.SHIFT
    more = True
    try:
        while more and time.monotonic() < until and not stopping():
            more = validation.run_next()
    finally:
        _validations.release()
    if more:
        validation.send()


@shared_task(name="batch.finalize")
def finalize(job_id: str) -> None:
    _attempt(endings.finalize, uuid.UUID(job_id))


@shared_task(name="batch.export")
def export(job_id: str, which: Which) -> None:
    """Makes the workbook that somebody waits for; who asks again while this worker has its hands full begins anew."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        return
    if not _exports.acquire(blocking=False):
        exports.give_up(job, which)
        return
    try:
        _attempt(exports.make, job, which)
    finally:
        _exports.release()


@shared_task(name="batch.retain")
def retain() -> None:
    """Every hour: deletes what has been kept long enough, and tells owners beforehand."""
    for part in (retention.delete_old, retention.send_notices, files.tidy):
        _attempt(part)


def top_up() -> None:
    """Sees to it that a message waits for each chunk that could be claimed, up to a number."""
    wanted = claims.claimable(MOST_MESSAGES)
    if wanted and (lengths := queues.lengths()):
        for _ in range(wanted - lengths["batch"]):
            if not queues.send("batch.work", queue="batch"):
                return


def _send_unfinalized() -> None:
    since = timezone.now() - timedelta(seconds=FINALIZED_WITHIN)
    left = Job.objects.filter(state=Job.State.FINALIZING, finalizing_at__lt=since)
    for job_id in left.values_list("pk", flat=True):
        queues.send("batch.finalize", str(job_id), expires=FINALIZED_WITHIN)


def _attempt(part: Callable[..., object], *arguments: object) -> None:
    """Does one part; what goes wrong with it holds up no other, and the next time comes soon."""
    try:
        part(*arguments)
    except (AppError, DatabaseError, OSError) as error:
        log.warning("batch_part_failed", part=part.__name__, error=str(error))
