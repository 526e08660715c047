"""Which worker scores which chunk: claimed under a token, kept by a heartbeat, committed once.

Whoever commits asks for the token in the same statement that changes the row. So a worker that was thought dead, and
comes late, changes nothing, and a chunk counts once however often it was scored. All conditions stand in the statements
that write, never in a subquery: PostgreSQL looks at a row again only by those when it had to wait for it.

Rows are locked in one order: a chunk before its job, and chunks by their number where one needs several at once.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from webapp.batch.models import Chunk, Job

SILENT_AFTER = timedelta(seconds=30)  # without a heartbeat a worker is dead, or might as well be
TRIES = 5  # jobs in which a chunk is looked for before it is somebody else's turn


@dataclass(frozen=True)
class Target:
    """What scores the rows of a job. version: "" for whichever serves."""

    model: str
    version: str


@dataclass(frozen=True)
class Claim:
    """The right to commit a chunk, as long as nobody has got another token for it."""

    job: Job
    chunk: Chunk
    token: uuid.UUID

    @property
    def target(self) -> Target:
        return Target(self.job.model, self.job.version)


@dataclass(frozen=True)
class Tally:
    """Rows, and how many of them failed."""

    rows: int
    failed: int


@dataclass(frozen=True)
class Scored:
    """What came of a chunk. file: where its results lie; completed, failed: rows; confidences: as `Chunk` has them.

    by_version: rows by the version that scored or refused them, "" for those that no pod was asked.
    """

    file: str
    completed: int
    failed: int
    confidences: Sequence[int] = field(default_factory=list)
    by_version: Mapping[str, Tally] = field(default_factory=dict)

    @property
    def answered(self) -> dict[str, int]:
        """Rows with answers, by the version that gave them."""
        return {
            version: answers for version, tally in self.by_version.items() if (answers := tally.rows - tally.failed)
        }


class Outcome(Enum):
    """What became of a commit."""

    LOST = "lost"  # the chunk is another worker's now, or its job has ended: the results are of no use
    DONE = "done"
    LAST = "last"  # done, and with it the job has all its rows


def claim(avoiding: Collection[Target] = ()) -> Claim | None:
    """The next chunk, of the job whose last turn is longest ago; None when there is nothing to do.

    avoiding: what cannot score right now.
    """
    jobs = _in_turn(avoiding)[:TRIES]
    return next(filter(None, map(_take, jobs)), None)


def beat(claims: Collection[Claim]) -> None:
    """Says that these are being worked on."""
    now = timezone.now()
    for each in claims:
        _held(each).update(heartbeat_at=now)


def commit(claim: Claim, scored: Scored) -> Outcome:
    """Makes these the results of the chunk and counts its rows, or changes nothing."""
    now = timezone.now()
    with transaction.atomic():
        changed = _held(claim).update(
            state=Chunk.State.DONE,
            result=scored.file,
            completed=scored.completed,
            failed=scored.failed,
            confidences=list(scored.confidences),
            answered=scored.answered,
            done_at=now,
        )
        job = Job.objects.filter(pk=claim.job.pk)
        if changed and job.filter(state__in=[Job.State.IN_PROGRESS, Job.State.CANCELLING]).update(
            completed=F("completed") + scored.completed, failed=F("failed") + scored.failed, problem=""
        ):
            last = job.filter(state=Job.State.IN_PROGRESS, total=F("completed") + F("failed"))
            if last.update(state=Job.State.FINALIZING, finalizing_at=now):
                return Outcome.LAST
            return Outcome.DONE
        transaction.set_rollback(True)
    # The database may have gone just after it had done this, and before it could say so.
    done = Chunk.objects.filter(pk=claim.chunk.pk, state=Chunk.State.DONE, result=scored.file).exists()
    return Outcome.DONE if done else Outcome.LOST


def give_back(claim: Claim, *, problem: str, rest: float, at_fault: bool = False) -> None:
    """Lets any worker try again. problem: why it was not scored, for the job's owner; rest: seconds until then.

    at_fault: a pod was there and answered with an error, for which one of the rows may be to blame.
    """
    with transaction.atomic():
        until = timezone.now() + timedelta(seconds=rest)
        faults = F("faults") + int(at_fault)
        if _held(claim).update(state=Chunk.State.WAITING, token=None, not_before=until, faults=faults):
            Job.objects.filter(pk=claim.job.pk).exclude(problem=problem).update(problem=problem)


def reap() -> int:
    """Gives back the chunks whose workers are silent; returns how many those were."""
    silent = Q(state=Chunk.State.RUNNING, heartbeat_at__lt=timezone.now() - SILENT_AFTER)
    open_jobs = Job.objects.filter(state__in=[Job.State.IN_PROGRESS, Job.State.CANCELLING])
    found = list(Chunk.objects.filter(silent, job__in=open_jobs).values_list("pk", flat=True))
    if not found:
        return 0
    with transaction.atomic():
        # One that is locked is not silent: it is being committed.
        free = Chunk.objects.select_for_update(skip_locked=True).filter(silent, pk__in=found)
        lost = Chunk.objects.filter(silent, pk__in=list(free.values_list("pk", flat=True)))
        return lost.update(state=Chunk.State.WAITING, token=None)


def drop(job_id: uuid.UUID) -> None:
    """Deletes the chunks of a job that has ended. Whoever still scores one of them comes late."""
    chunks = Chunk.objects.filter(job=job_id)
    with transaction.atomic():
        list(chunks.select_for_update().order_by("number").values_list("pk"))
        chunks.delete()


def claimable(most: int) -> int:
    """How many chunks could be claimed right now; stops counting at `most`."""
    ready = _ready(timezone.now()).filter(job__in=Job.objects.filter(state=Job.State.IN_PROGRESS))
    return ready.order_by()[:most].count()


def _ready(now: datetime) -> QuerySet[Chunk]:
    return Chunk.objects.filter(Q(not_before=None) | Q(not_before__lte=now), state=Chunk.State.WAITING)


def _in_turn(avoiding: Collection[Target]) -> QuerySet[Job]:
    """The jobs that have something to do, the one whose turn it is first: people take turns, and so do their jobs."""
    jobs = Job.objects.filter(Exists(_ready(timezone.now()).filter(job=OuterRef("pk"))), state=Job.State.IN_PROGRESS)
    for target in avoiding:
        jobs = jobs.exclude(model=target.model, version=target.version)
    of_owner = Job.objects.filter(owner=OuterRef("owner"), state=Job.State.IN_PROGRESS).order_by().values("owner")
    jobs = jobs.annotate(owner_claimed_at=Subquery(of_owner.annotate(last=Max("claimed_at")).values("last")))
    turns = (F(name).asc(nulls_first=True) for name in ("owner_claimed_at", "claimed_at"))
    return jobs.order_by(*turns, "created_at")


def _take(job: Job) -> Claim | None:
    """The next chunk of the job; None when others were quicker, or it is to do no more."""
    now, token = timezone.now(), uuid.uuid4()
    with transaction.atomic():
        free = _ready(now).filter(job=job).order_by("number")
        chunk = free.select_for_update(skip_locked=True).first()
        if chunk is None:
            return None
        chunk.state, chunk.token, chunk.heartbeat_at, chunk.attempts = (
            Chunk.State.RUNNING, token, now, chunk.attempts + 1,
        )  # fmt: skip
        chunk.save(update_fields=["state", "token", "heartbeat_at", "attempts"])
        if not Job.objects.filter(pk=job.pk, state=Job.State.IN_PROGRESS).update(claimed_at=now):
            transaction.set_rollback(True)
            return None
    return Claim(job, chunk, token)


def _held(claim: Claim) -> QuerySet[Chunk]:
    return Chunk.objects.filter(pk=claim.chunk.pk, token=claim.token, state=Chunk.State.RUNNING)
