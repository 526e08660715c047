"""Reads of batch jobs. Each starts from a person, so a stranger's job is simply not found."""

import uuid
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import F, QuerySet, Sum
from django.utils import timezone

from webapp import paging
from webapp.accounts import plans
from webapp.accounts.models import User
from webapp.batch.models import Chunk, Job
from webapp.batch.scoring import BARS
from webapp.errors import NotFound
from webapp.paging import Page

RATE_OVER = timedelta(seconds=30)


@dataclass(frozen=True)
class Progress:
    """How far a job is, in rows. rate: rows a second of late; seconds_left: None where nobody can tell."""

    total: int
    completed: int
    failed: int
    rate: float
    seconds_left: float | None

    @property
    def done(self) -> int:
        return self.completed + self.failed

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 0.0


def jobs_of(
    user: User,
    *,
    state: str | None = None,
    states: Collection[str] = (),
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = paging.LIMIT,
    drafts: bool = False,
) -> Page[Job]:
    """One page of the jobs that the person looks after, with their owners. states: any of these. cursor: `next_cursor`
    of the page before. drafts: those not started yet, too.

    Raises InvalidInput for a cursor that was not made here.
    """
    jobs = _looked_after_by(user).select_related("owner")
    if not drafts:
        jobs = jobs.exclude(state=Job.State.DRAFT)
    if state:
        jobs = jobs.filter(state=state)
    if states:
        jobs = jobs.filter(state__in=states)
    if kind:
        jobs = jobs.filter(kind=kind)
    return paging.page_of(jobs, cursor=cursor, limit=limit)


def job_of(user: User, job_id: uuid.UUID | str) -> Job:
    """One of the jobs that the person looks after. Raises NotFound also for somebody else's."""
    try:
        return _looked_after_by(user).select_related("owner", "key").get(pk=uuid.UUID(str(job_id)))
    except (Job.DoesNotExist, ValueError) as error:
        raise NotFound("There is no such batch.") from error


def _looked_after_by(user: User) -> QuerySet[Job]:
    """The person's own jobs, and those of the service accounts that they are responsible for."""
    # By their ids, of which there are few: the index on the owner serves no other condition.
    owners = [user.pk, *user.service_accounts.values_list("pk", flat=True)]
    return Job.objects.filter(owner__in=owners)


def progress_of(job: Job) -> Progress:
    """How far the job is; its rate is that of the last half minute, 0 when it is not at work."""
    rate, left = 0.0, None
    if job.state == Job.State.IN_PROGRESS:
        now = timezone.now()
        since = max(now - RATE_OVER, job.in_progress_at or now)
        late = job.chunks.filter(done_at__gte=since).aggregate(rows=Sum(F("completed") + F("failed"), default=0))
        # Right after the start a chunk or two say little about half a minute.
        rate = late["rows"] / max(1.0, (now - since).total_seconds())
        left = (job.total - job.done) / rate if rate else None
    return Progress(job.total, job.completed, job.failed, rate, left)


def histogram_of(job: Job) -> list[int]:
    """How many rows have a best probability in each twentieth from 0 to 1."""
    sums: Counter[int] = Counter()
    done = job.chunks.filter(state=Chunk.State.DONE)
    for confidences in done.values_list("confidences", flat=True).iterator():
        sums.update(dict(enumerate(confidences)))
    return [sums[bar] for bar in range(BARS)]


def versions_of(job: Job) -> dict[str, int]:
    """How many rows each version has answered, by its name."""
    sums: Counter[str] = Counter()
    for answered in job.chunks.filter(state=Chunk.State.DONE).values_list("answered", flat=True).iterator():
        sums.update(answered)
    return dict(sorted(sums.items()))


def done_chunks_of(job: Job) -> list[Chunk]:
    """The chunks whose results count, in the order of their rows."""
    return list(job.chunks.filter(state=Chunk.State.DONE).order_by("number"))


def chunks_from(job: Job, row: int, *, with_errors: bool = False) -> QuerySet[Chunk]:
    """Those done that hold this row or later ones, in their order; only those in which rows failed, if wished."""
    done = job.chunks.filter(state=Chunk.State.DONE, first_row__gt=row - F("rows"))
    return (done.filter(failed__gt=0) if with_errors else done).order_by("number")


@dataclass(frozen=True)
class Room:
    """What a person may still have. open, most_open: batches at work. stored, most_stored: bytes of all uploads.

    most_rows: of one batch.
    """

    open: int
    most_open: int
    stored: int
    most_stored: int
    most_rows: int

    @property
    def left(self) -> int:
        """Bytes that one more upload may have."""
        return max(0, min(self.most_stored - self.stored, settings.BATCH_UPLOAD_BYTES))

    @property
    def is_full(self) -> bool:
        return self.stored >= self.most_stored


def room_of(user: User) -> Room:
    limits = plans.limits_of(user)
    kept = Job.objects.filter(owner=user, deleted_at=None)
    return Room(
        open=kept.filter(state__in=Job.OPEN).count(),
        most_open=limits.open_jobs,
        stored=kept.aggregate(bytes=Sum("size", default=0))["bytes"],
        most_stored=limits.stored_bytes,
        most_rows=limits.rows_a_job,
    )
