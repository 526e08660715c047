"""A job's way from an upload to chunks that can be scored, by one worker under a token.

Row files may be written twice, by a worker that was thought dead and by the next one: both write the same. Rows of the
database are written only under the token. The file is read in a thread of its own: however long a read takes, this one
says meanwhile that it lives.
"""

import contextvars
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from structlog.contextvars import bound_contextvars

from webapp import queues
from webapp.accounts import plans
from webapp.batch import checking, endings, retries, shifts
from webapp.batch.checking import Checked
from webapp.batch.claims import SILENT_AFTER
from webapp.batch.models import Chunk, Job
from webapp.celery import stopping
from webapp.errors import AppError, FilesError
from webapp.keys import limits

log = structlog.get_logger(__name__)
State = Job.State

BEAT_EVERY = 3.0  # seconds
LOOK_EVERY = 0.5  # seconds between two looks at whether a heartbeat is due, or this worker is to end
WRITE_FOR = 60.0  # seconds that the end of a validation is tried while the database is away
PAUSE = 0.5  # seconds between two of these tries
CHUNKS_AT_ONCE = 1_000  # written in one transaction, so that others need not wait long for theirs
MOST_ATTEMPTS = 8  # that ended with their worker
RESENT_FOR = 20.0  # seconds; what is still not begun by then is sent anew
TRIES = 5  # jobs that are looked at before it is somebody else's turn
AWAY = (OperationalError, InterfaceError)

KILLS = "The file could not be read: {count} workers ended while they tried. It may be damaged in a way we do not know."
BROKE = "The file could not be read because of an error of ours, which is logged. Tell the people who run this site."


class _NotOurs(Exception):
    """Another worker has the job, or somebody has ended it."""


class _Leaving(Exception):
    """This worker is to end."""


class _NotWanted(Exception):
    """Nobody waits any more for what is being read."""


def send() -> None:
    """Has a worker look for jobs to validate."""
    queues.send("batch.validate", expires=RESENT_FOR)


def send_unattended() -> None:
    """The same, when there are any whose message was lost, or whose worker is silent."""
    if _unattended().exists():
        send()


def run_next() -> bool:
    """Validates the job that waits longest; False when there was none."""
    waiting = _unattended().order_by("started_at").values_list("pk", flat=True)[:TRIES]
    return any(run(job_id) for job_id in waiting)


def run(job_id: uuid.UUID) -> bool:
    """Validates the job; False when another worker has it, or it is no longer to be done."""
    token = uuid.uuid4()
    now = timezone.now()
    # Only one of two workers that look at the same time.
    if not _unattended().filter(pk=job_id).update(task_token=token, heartbeat_at=now):
        return False
    job = Job.objects.select_related("owner", "key", "retry_of").get(pk=job_id)
    with bound_contextvars(batch=str(job_id)):
        _Validation(job, token).run()
    return True


def _unattended() -> QuerySet[Job]:
    silent = timezone.now() - SILENT_AFTER
    return Job.objects.filter(Q(heartbeat_at=None) | Q(heartbeat_at__lt=silent), state=State.VALIDATING)


class _Validation:
    def __init__(self, job: Job, token: uuid.UUID) -> None:
        self.job, self.token = job, token
        self._beat_at = time.monotonic()
        self._unwanted = threading.Event()
        self._counted = False  # this attempt

    def run(self) -> None:
        try:
            self._count_attempt()
            self._accept(self._read())
        except _NotOurs:
            log.info("batch_validation_left_to_another")
        except _Leaving:
            self._hand_back()
        except FilesError as error:  # of a disk that may be back, or have room again, when it is tried anew
            log.warning("batch_validation_waits", error=error.detail)
            self._held().update(problem=error.detail, attempts=F("attempts") - 1)  # no worker ended over it
        except AppError as error:
            self._fail(error.detail)
        except AWAY as error:  # begun anew when the database is back
            log.warning("batch_database_away", during="validate", error=type(error).__name__)
            self._uncount()
        except Exception:
            log.exception("batch_validation_broke")
            self._fail(BROKE)

    def _read(self) -> Checked:
        """What the upload holds, whose row files are written then. Raises InvalidInput, FilesError."""
        read: Callable[..., Checked] = checking.validate
        if retries.is_retry(self.job):
            read = partial(retries.rows_again, *retries.original_of(self.job))
        most = plans.limits_of(self.job.owner).rows_a_job
        context = contextvars.copy_context()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="validation") as thread:
            checked = thread.submit(context.run, read, self.job, self._require_wanted, most=most)
            try:
                while not wait([checked], timeout=LOOK_EVERY).done:
                    self._beat()
            finally:
                self._unwanted.set()
            return checked.result()

    def _require_wanted(self) -> None:
        if self._unwanted.is_set():
            raise _NotWanted

    def _beat(self) -> None:
        """Says that the job is being validated. Raises where it is not to go on."""
        if stopping():
            raise _Leaving
        now = time.monotonic()
        if now - self._beat_at < BEAT_EVERY:
            return
        self._beat_at = now
        try:
            self._demand(heartbeat_at=timezone.now())
        except AWAY:  # reading goes on meanwhile; whose job it is will be asked again
            connection.close()

    def _fail(self, reason: str) -> None:
        """Ends the job, unless it is another worker's by now."""
        endings.end(self.job.pk, State.FAILED, was=[State.VALIDATING], reason=reason, held_by=self.token)

    def _count_attempt(self) -> None:
        if self.job.attempts >= MOST_ATTEMPTS:
            self._fail(KILLS.format(count=MOST_ATTEMPTS))
            raise _NotOurs
        self._demand(attempts=F("attempts") + 1)  # one that went without the database may be taking its own off
        self._counted = True

    def _uncount(self) -> None:
        """Takes this attempt off as soon as the database is back: its worker did not end over the file.

        Whoever has the job by then has counted theirs on top of it, so one is taken off, however many there are.
        """
        if not self._counted:
            connection.close()
            return
        while True:
            connection.close()
            try:
                Job.objects.filter(pk=self.job.pk, state=State.VALIDATING, attempts__gt=0).update(
                    attempts=F("attempts") - 1
                )
                return
            except AWAY:
                if stopping():
                    return
                time.sleep(PAUSE)

    def _accept(self, checked: Checked) -> None:
        """Writes the chunks, and has them scored."""
        until = time.monotonic() + WRITE_FOR
        while True:
            try:
                self._write(checked)
                break
            except AWAY:
                connection.close()
                if time.monotonic() > until or stopping():
                    raise
                time.sleep(PAUSE)
        log.info("batch_validated", rows=checked.total, refused=checked.refused, chunks=len(checked.parts))
        for _ in range(min(len(checked.parts), shifts.SHIFTS_AT_ONCE)):
            queues.send("batch.work", queue="batch")

    def _write(self, checked: Checked) -> None:
        with transaction.atomic():
            self._demand(heartbeat_at=timezone.now())
            Chunk.objects.filter(job=self.job).delete()  # of a worker that did not come to the end
        for start in range(0, len(checked.parts), CHUNKS_AT_ONCE):
            with transaction.atomic():
                self._demand(heartbeat_at=timezone.now())
                Chunk.objects.bulk_create(
                    Chunk(job=self.job, number=part.number, first_row=part.first_row, rows=part.rows)
                    for part in checked.parts[start : start + CHUNKS_AT_ONCE]
                )
        now = timezone.now()
        with limits.month_transaction():
            self._demand(
                state=State.IN_PROGRESS,
                total=checked.total,
                reserved=checked.total,
                problem="",
                in_progress_at=now,
                task_token=None,
                heartbeat_at=None,
            )
            limits.count_batch(self.job.owner, self.job.key, batch=self.job.pk, rows=checked.total, at=now)

    def _hand_back(self) -> None:
        """Lets another worker begin at once."""
        self._held().update(heartbeat_at=None, attempts=F("attempts") - 1)
        log.info("batch_validation_handed_back")
        send()

    def _demand(self, **changes: object) -> None:
        """Changes the job's row. Raises _NotOurs when it is not this worker's."""
        if not self._held().update(**changes):
            raise _NotOurs

    def _held(self) -> QuerySet[Job]:
        return Job.objects.filter(pk=self.job.pk, task_token=self.token, state=State.VALIDATING)
