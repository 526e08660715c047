"""What one worker does with batches in a while: claims chunks, has them scored, commits them.

Several chunks are in hand at once: while the pods score one, the worker reads the next and writes the one before. All
of the database's work is done by the thread of the shift itself, which therefore always has time to say that it lives.
"""

import contextvars
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Lock

import structlog
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection
from structlog.contextvars import bound_contextvars

from webapp import metrics
from webapp.batch import claims, endings, files, scoring
from webapp.batch.claims import Claim, Outcome, Scored, Target
from webapp.celery import stopping
from webapp.errors import AppError, FilesError, ScoringError
from webapp.usage import ledger
from webapp.usage.models import Use

log = structlog.get_logger(__name__)

SHIFTS_AT_ONCE = 4  # in one worker, so that other work keeps some of its threads
SHIFT = 60.0  # seconds; then it is another task's turn
IN_HAND = 2  # chunks
BEAT_EVERY = 5.0  # seconds
LOOK_EVERY = 1.0  # seconds between two looks at whether a heartbeat is due
COMMIT_FOR = 60.0  # seconds that a shift tries to commit while the database is away
PAUSE = 0.5  # seconds between two of these tries
FIRST_REST, LONGEST_REST = 1.0, 15.0  # seconds until a chunk is tried again; twice as long each time
OURS = "It cannot go on because of an error of ours, which is logged. It is tried again."
AWAY = (OperationalError, InterfaceError)  # how a database is away


def work() -> bool:
    """Scores chunks for a while; whether more may be left."""
    return _Shift().run()


class _Rests:
    """What has just failed to score and is left alone for a moment, so that not every chunk finds out by itself."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._failures: dict[Target, tuple[int, float]] = {}  # in a row, and until when it rests on the monotonic clock

    def current(self) -> list[Target]:
        now = time.monotonic()
        with self._lock:
            return [target for target, (_, until) in self._failures.items() if now < until]

    def failed(self, target: Target) -> None:
        now = time.monotonic()
        with self._lock:
            count, until = self._failures.get(target, (0, 0.0))
            if now >= until:  # those asked at the same time say the same
                self._failures[target] = (count + 1, now + _rest_after(count + 1) / 2)

    def scored(self, target: Target) -> None:
        if target in self._failures:
            with self._lock:
                self._failures.pop(target, None)

    def forget(self) -> None:
        """Between tests."""
        with self._lock:
            self._failures.clear()


rests = _Rests()


def _rest_after(failures: int) -> float:
    return min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures - 1, 10))


def _count(claim: Claim, scored: Scored) -> None:
    """Counts the rows for the job's owner; the job itself as one request."""
    requests = int(claim.chunk.number == 0)
    for version, tally in scored.by_version.items():
        ledger.note_for(
            claim.job.owner_id,
            claim.job.key_id,
            source=Use.Source.BATCH,
            model=claim.job.model,
            version=version,
            counts=ledger.Counts(requests, tally.rows, tally.failed),
        )
        requests = 0


class _Shift:
    def __init__(self) -> None:
        self._until = time.monotonic() + SHIFT
        self._beat_at = time.monotonic()
        self._in_hand: dict[Future[Scored], Claim] = {}
        self._found_all = True  # whether there was always another chunk to claim

    def run(self) -> bool:
        with ThreadPoolExecutor(max_workers=IN_HAND, thread_name_prefix="batch") as threads:
            self._fill(threads)
            while self._in_hand:
                done, _ = wait(self._in_hand, timeout=LOOK_EVERY, return_when=FIRST_COMPLETED)
                ended = [(each, self._in_hand.pop(each)) for each in done]
                self._fill(threads)  # first, so that the pods have something to do meanwhile
                for future, claim in ended:
                    self._settle(claim, future)
                self._beat()
        return self._found_all

    def _fill(self, threads: ThreadPoolExecutor) -> None:
        while len(self._in_hand) < IN_HAND and time.monotonic() < self._until and not stopping():
            try:
                claim = claims.claim(avoiding=rests.current())
            except AWAY as error:
                self._database_away("claim", error)
                claim = None
            if claim is None:
                self._found_all = False
                return
            with bound_contextvars(batch=str(claim.job.pk), chunk=claim.chunk.number):
                context = contextvars.copy_context()
            self._in_hand[threads.submit(context.run, scoring.score, claim)] = claim

    def _settle(self, claim: Claim, future: Future[Scored]) -> None:
        """Commits what was scored, or gives the chunk back."""
        with bound_contextvars(batch=str(claim.job.pk), chunk=claim.chunk.number):
            try:
                scored = future.result()
            except (ScoringError, FilesError) as error:
                log.info("batch_chunk_given_back", error=error.detail, attempts=claim.chunk.attempts)
                metrics.chunks.labels("given_back").inc()
                if isinstance(error, ScoringError):
                    rests.failed(claim.target)
                self._give_back(
                    claim, error.detail, at_fault=isinstance(error, ScoringError) and scoring.is_fault(error)
                )
            except AWAY as error:
                self._database_away("score", error)
                self._give_back(claim, "")
            except Exception:  # one of its rows may be to blame, which scoring.score finds out in the end
                log.exception("batch_chunk_broke")
                metrics.chunks.labels("broke").inc()
                self._give_back(claim, OURS, at_fault=True)
            else:
                rests.scored(claim.target)
                self._commit(claim, scored)

    def _give_back(self, claim: Claim, problem: str, *, at_fault: bool = False) -> None:
        try:
            rest = _rest_after(claim.chunk.attempts)
            claims.give_back(claim, problem=problem, rest=rest, at_fault=at_fault)
        except AWAY as error:  # whose worker is silent is found
            self._database_away("give_back", error)

    def _commit(self, claim: Claim, scored: Scored) -> None:
        """Tries for a while where the database is away: the work is done, and would be done again."""
        until = time.monotonic() + COMMIT_FOR
        while True:
            try:
                outcome = claims.commit(claim, scored)
                if outcome == Outcome.LAST:
                    endings.finalize(claim.job.pk)
                break
            except AWAY as error:
                self._database_away("commit", error)
                if time.monotonic() > until or stopping():
                    return  # whether it is committed nobody knows; if it is, the file is needed
            except AppError as error:  # the files cannot be looked at: the job waits to be finalized
                log.warning("batch_not_finalized", error=error.detail)
                break
            time.sleep(PAUSE)
        if outcome == Outcome.LOST:
            log.info("batch_chunk_came_late")
            metrics.chunks.labels("late").inc()
            files.discard_result(claim.job, scored.file)
        else:
            metrics.chunks.labels("done").inc()
            _count(claim, scored)

    def _beat(self) -> None:
        now = time.monotonic()
        if self._in_hand and now - self._beat_at >= BEAT_EVERY:
            self._beat_at = now
            try:
                claims.beat(list(self._in_hand.values()))
            except AWAY as error:
                self._database_away("beat", error)

    @staticmethod
    def _database_away(during: str, error: DatabaseError) -> None:
        log.warning("batch_database_away", during=during, error=type(error).__name__)
        connection.close()  # it may be dead; the next statement opens another
