"""Reads of batch jobs. Each starts from a person, so a stranger's job is simply not found."""

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Sum
from django.utils import timezone

from webapp import paging
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
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = paging.LIMIT,
    drafts: bool = False,
) -> Page[Job]:
    """One page of the person's jobs. cursor: `next_cursor` of the page before. drafts: those not started yet, too.

    Raises InvalidInput for a cursor that was not made here.
    """
    jobs = Job.objects.filter(owner=user)
    if not drafts:
        jobs = jobs.exclude(state=Job.State.DRAFT)
    if state:
        jobs = jobs.filter(state=state)
    if kind:
        jobs = jobs.filter(kind=kind)
    return paging.page_of(jobs, cursor=cursor, limit=limit)


def job_of(user: User, job_id: uuid.UUID | str) -> Job:
    """One job of the person. Raises NotFound also for somebody else's."""
    try:
        return Job.objects.select_related("owner", "key").get(owner=user, pk=uuid.UUID(str(job_id)))
    except (Job.DoesNotExist, ValueError) as error:
        raise NotFound("There is no such batch.") from error


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


def done_chunks_of(job: Job) -> list[Chunk]:
    """The chunks whose results count, in the order of their rows."""
    return list(job.chunks.filter(state=Chunk.State.DONE).order_by("number"))
