"""How jobs end: completed, failed, expired or cancelled; each once, in one transaction with all that goes with it. And
how they go."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webapp import metrics
from webapp.batch import claims, files
from webapp.batch.models import Chunk, Job
from webapp.errors import FilesError
from webapp.keys import limits
from webapp.webhooks import events

log = structlog.get_logger(__name__)
State = Job.State

NEVER_READ = "Its file was not read within {hours} hours, so there are no results. Upload it again."
LATE = "It was not done within {hours} hours. What was scored by then is in the results; the rest can be tried again."


def end(job_id: UUID, state: State, *, was: Sequence[State], reason: str = "", held_by: UUID | None = None) -> bool:
    """Ends a job that is in one of the states `was`; False when it is not, or no longer.

    held_by: the token of the worker that validates it, where only that one may end it.
    """
    now = timezone.now()
    held = {} if held_by is None else {"task_token": held_by}
    with limits.month_transaction():
        ended = Job.objects.filter(pk=job_id, state__in=was, **held).update(
            state=state,
            reason=reason,
            problem="",
            ended_at=now,
            kept_until=now + timedelta(days=settings.BATCH_KEPT_DAYS),
            task_token=None,
            heartbeat_at=None,
        )
        if not ended:
            return False
        job = Job.objects.select_related("owner", "key").get(pk=job_id)
        # What has no answer is given back to what the owner may have scored in the month.
        limits.count_batch(
            job.owner, job.key, batch=job.pk, rows=job.completed, before=job.reserved, at=job.in_progress_at
        )
        events.emit(job.owner, f"batch.{state}", _told(job))
        transaction.on_commit(lambda: _clear_results(job))
    metrics.jobs_ended.labels(str(state)).inc()
    seconds = (now - (job.started_at or job.created_at)).total_seconds()
    log.info(
        "batch_ended", batch=str(job_id), state=str(state), rows=job.total, failed=job.failed, seconds=round(seconds, 1)
    )
    return True


def _told(job: Job) -> dict[str, object]:
    """What webhooks say of it: enough to decide whether to fetch the rest."""
    return {
        "id": job.pk,
        "object": "batch",
        "status": job.state,
        "name": job.name,
        "metadata": job.metadata,
        "request_counts": {"total": job.total, "completed": job.completed, "failed": job.failed},
        "reason": job.reason,
    }


def remove(job_id: UUID, *, was: Sequence[State]) -> bool:
    """Deletes a job that is in one of the states `was`, with its chunks; False when it is not, or no longer.

    Its files stay: whoever calls this deletes them afterwards. was: states in which no chunk is begun.
    """
    jobs = Job.objects.filter(pk=job_id, state__in=was)
    with transaction.atomic():
        if not jobs.exists():
            return False
        claims.drop(job_id)  # first, as claims.py locks them
        if not jobs.select_for_update().values_list("pk"):
            transaction.set_rollback(True)
            return False
        Job.objects.filter(pk=job_id).delete()
    return True


def finalize(job_id: UUID) -> None:
    """Completes a job all of whose chunks are done; one whose results have got lost is scored again."""
    job = Job.objects.filter(pk=job_id, state=State.FINALIZING).first()
    if job is None:
        return
    chunks = list(job.chunks.order_by("number"))
    if lost := [chunk for chunk in chunks if not files.has_result(job, chunk.result)]:
        log.error("batch_results_lost", batch=str(job_id), chunks=len(lost))
        _reopen(job, lost)
        return
    end(job_id, State.COMPLETED, was=[State.FINALIZING])


def expire_late() -> None:
    """Ends what has taken too long. Its chunks that are done keep their results."""
    late = Job.objects.filter(expires_at__lt=timezone.now())
    for state, why in ((State.VALIDATING, NEVER_READ), (State.IN_PROGRESS, LATE)):
        for job_id in late.filter(state=state).values_list("pk", flat=True):
            end(job_id, State.EXPIRED, was=[state], reason=why.format(hours=settings.BATCH_COMPLETE_WITHIN_H))


def finish_cancelling() -> None:
    """Ends what is being cancelled and has no chunk at work any more."""
    for job_id in Job.objects.filter(state=State.CANCELLING).values_list("pk", flat=True):
        finish_cancelling_of(job_id)


def finish_cancelling_of(job_id: UUID) -> None:
    # No new chunk can be begun: a claim asks for a job in progress.
    if not Chunk.objects.filter(job=job_id, state=Chunk.State.RUNNING).exists():
        end(job_id, State.CANCELLED, was=[State.CANCELLING])


def _clear_results(job: Job) -> None:
    """Removes the results that do not count, as no more will."""
    kept = job.chunks.filter(state=Chunk.State.DONE).values_list("result", flat=True)
    try:
        files.keep_results(job, set(kept))
    except FilesError as error:
        log.warning("batch_results_not_cleared", batch=str(job.pk), error=error.detail)


def _reopen(job: Job, lost: Iterable[Chunk]) -> None:
    """Has the chunks scored once more, and counts their rows no longer."""
    with transaction.atomic():
        completed = failed = 0
        for chunk in lost:
            done = Chunk.objects.filter(pk=chunk.pk, state=Chunk.State.DONE, result=chunk.result)
            if done.update(
                state=Chunk.State.WAITING,
                token=None,
                result="",
                completed=0,
                failed=0,
                confidences=[],
                answered={},
                done_at=None,
            ):
                completed, failed = completed + chunk.completed, failed + chunk.failed
        if not Job.objects.filter(pk=job.pk, state=State.FINALIZING).update(
            state=State.IN_PROGRESS,
            finalizing_at=None,
            completed=F("completed") - completed,
            failed=F("failed") - failed,
        ):
            transaction.set_rollback(True)
