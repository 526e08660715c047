"""One chunk through the pods: reads its rows, asks, and writes what came of each.

Nothing here writes into the database, so any number of these may run beside each other, and be thrown away.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from webapp.batch import files, pictures
from webapp.batch.claims import Claim, Scored, Tally, Target
from webapp.batch.models import Job
from webapp.batch.rows import Answer, InputRow, ResultRow
from webapp.celery import stopping
from webapp.errors import (
    AppError,
    FilesError,
    InvalidInput,
    ScoringError,
    ScoringRefused,
    ScoringTimeout,
    ScoringUnavailable,
    TooLarge,
)
from webapp.faq.models import Entry
from webapp.scoring.answers import FaqAnswer, ImageAnswer
from webapp.scoring.client import BatchOptions, scoring_client
from webapp.usage import traffic

T = TypeVar("T")
log = structlog.get_logger(__name__)

TIMEOUT = 30.0  # seconds for one request, which waits while others ask; pods allow no more by themselves
GROUP_BYTES = 8 * 2**20  # of pictures in one request, and so in memory
BARS = 20  # of the histogram of confidences
MOST_FAULTS = 5  # after so many errors for a chunk, its rows are asked one by one, and the one that fails is told so
PAUSES = (0.2, 0.5, 1.0)  # seconds before each further try, where no pod has room
# The same after a row by which a pod may have died: Kubernetes lets one that dies often rest for five minutes.
PAUSES_AFTER_DEATH = (5.0,) * 70
QUICK = TIMEOUT / 4  # seconds; where so many rows take no longer, twice as many may be asked together
MOST_ROWS = 1024  # in one request
BROKE = "This row could not be scored because of an error of ours, which is logged."
LABELS_KEPT_FOR = 60.0  # seconds
MOST_LABELS = 50_000
MOST_COLLECTIONS = 4

_requests = BoundedSemaphore(settings.BATCH_REQUESTS_AT_ONCE)  # of this process, so that a batch takes no more of a pod


def score(claim: Claim) -> Scored:
    """Scores the rows of the chunk and writes the results into a file of its own.

    Raises ScoringError when the pods cannot answer, FilesError when the files cannot be read or written. A row that the
    model refuses has that as its result; so has one that alone goes wrong in any way, once the chunk has had enough.
    """
    job, chunk = claim.job, claim.chunk
    rows = files.read_rows(job, chunk.number)
    if len(rows) != chunk.rows or rows[0].row != chunk.first_row:
        raise FilesError(f"The rows of chunk {chunk.number} are not those that were counted.")
    results = [ResultRow(row=row.row, id=row.id, question=row.question, name=row.name, error=row.error) for row in rows]
    waiting = [(row, result) for row, result in zip(rows, results, strict=True) if not row.error]
    attempt = _Attempt(claim)
    ask = _ask_questions if job.kind == Job.Kind.FAQ else _ask_pictures
    if attempt.row_by_row:
        for row in waiting:
            _ask_alone(attempt, row, ask)
    else:
        ask(attempt, waiting)
    name = files.write_result(job, chunk.number, claim.token, results)
    failed = sum(bool(result.error) for result in results)
    return Scored(name, len(results) - failed, failed, _confidences(results), _by_version(results))


@dataclass
class _Attempt:
    """One attempt at a chunk. pod_died: whether a pod may have died of one of its rows."""

    claim: Claim
    pod_died: bool = False

    @property
    def row_by_row(self) -> bool:
        """Whether so much has gone wrong with the chunk that one of its rows is to be blamed."""
        return self.claim.chunk.faults >= MOST_FAULTS


Waiting = tuple[InputRow, ResultRow]  # what is to be scored, and where the answer goes


def _ask_alone(attempt: _Attempt, row: Waiting, ask: Callable[[_Attempt, Sequence[Waiting]], None]) -> None:
    """Asks one row. What goes wrong with it in a way that nobody has foreseen is its result."""
    try:
        ask(attempt, [row])
    except (AppError, DatabaseError):
        raise
    except Exception:
        log.exception("batch_row_broke", row=row[0].row)
        result = row[1]
        result.error, result.answers = BROKE, []


def _ask_questions(attempt: _Attempt, waiting: Sequence[Waiting]) -> None:
    job = attempt.claim.job

    def ask(some: Sequence[Waiting]) -> Sequence[FaqAnswer | ScoringRefused]:
        return scoring_client().match_batch([row.question for row, _ in some], _options_of(job))

    answered = list(_answers(attempt, waiting, ask)) if waiting else []
    ids = {score.faq_id for _, answer in answered if isinstance(answer, FaqAnswer) for score in answer.scores}
    labels = _labels.of(job.collection, ids)
    for result, answer in answered:
        if isinstance(answer, FaqAnswer):
            result.version = answer.version
            result.answers = [
                Answer(each.faq_id, label, each.probability, each.answer_id)
                for each in answer.scores
                if (label := labels[each.faq_id]) is not None
            ]


def _ask_pictures(attempt: _Attempt, waiting: Sequence[Waiting]) -> None:
    job = attempt.claim.job
    for group in _groups(waiting):
        data = {row.row: found for row, result in group if (found := _picture(job, row, result)) is not None}

        def ask(some: Sequence[Waiting], data: dict[int, bytes] = data) -> Sequence[ImageAnswer | ScoringRefused]:
            return scoring_client().classify_batch([data[row.row] for row, _ in some], _options_of(job))

        readable = [(row, result) for row, result in group if row.row in data]
        for result, answer in _answers(attempt, readable, ask) if readable else ():
            if isinstance(answer, ImageAnswer):
                result.version = answer.version
                result.answers = [Answer(each.label_id, each.label, each.probability) for each in answer.predictions]


def _picture(job: Job, row: InputRow, result: ResultRow) -> bytes | None:
    """The picture, of which a small copy is kept; None, with the reason in its result, for what no pod should see."""
    try:
        data = pictures.read_picture(job, row)
    except (InvalidInput, TooLarge) as error:
        result.error = error.detail
        return None
    pictures.save_thumbnail(job, row, data)
    return data


def _options_of(job: Job) -> BatchOptions:
    return BatchOptions(
        model=job.model,
        version=job.version or None,
        top_k=job.top_k,
        # The job as its own caller: while a canary runs, one version answers all of its rows.
        routing_key=f"batch:{job.pk}",
        timeout=TIMEOUT,
    )


Ask = Callable[[Sequence[Waiting]], Sequence[T | ScoringRefused]]


def _answers(
    attempt: _Attempt, waiting: Sequence[Waiting], ask: Ask[T]
) -> Iterator[tuple[ResultRow, T | ScoringRefused]]:
    """The answer to each row. One that is refused has its error already."""
    groups = [waiting]  # the next is the last
    target = attempt.claim.target
    while groups:
        group = groups.pop()
        if len(group) > (most := group_sizes.most(target)):
            groups.append(group[most:])
            group = group[:most]
        began = time.monotonic()
        try:
            answers = _asked(attempt, group, ask)
        except ScoringTimeout:  # no row is to blame; fewer of them may be done in time
            if len(group) == 1 or stopping():
                raise
            group_sizes.too_slow(target, len(group))
            groups.append(group)
            continue
        except ScoringRefused as error:  # of all of them: together they may be too large
            if len(group) > 1:
                half = len(group) // 2
                groups += [group[half:], group[:half]]
                continue
            answers = [error]
        except ScoringError as error:
            if not (attempt.row_by_row and is_fault(error)):
                raise
            answers = _asked_once_more(attempt, group, ask, error)
        group_sizes.answered(target, len(group), time.monotonic() - began)
        for (_, result), answer in zip(group, answers, strict=True):
            if isinstance(answer, ScoringRefused):
                result.error, result.version = answer.detail, answer.model_version
            yield result, answer


def _asked_once_more(
    attempt: _Attempt, row: Sequence[Waiting], ask: Ask[T], error: ScoringError
) -> Sequence[T | ScoringRefused]:
    """What comes of a row that alone makes the model fail: that error. One by which a pod seems to have died is asked
    again when there are pods, as another row may have been the one.
    """
    if isinstance(error, ScoringUnavailable):
        attempt.pod_died = True
        try:
            return _asked(attempt, row, ask)
        except ScoringRefused as refused:
            return [refused]
        except ScoringUnavailable:
            if stopping():
                raise
    blamed = ScoringRefused(error.detail)
    blamed.model_version = error.model_version
    return [blamed]


def _asked(attempt: _Attempt, waiting: Sequence[Waiting], ask: Ask[T]) -> Sequence[T | ScoringRefused]:
    """Asks, a few times where no pod has room: another batch's rows may be in the way, or a pod that comes back."""
    for pause in PAUSES + PAUSES_AFTER_DEATH * attempt.pod_died:
        try:
            return _counted(attempt.claim, waiting, ask)
        except ScoringUnavailable as error:
            if error.broke_off or stopping():
                raise
            time.sleep(pause)
    return _counted(attempt.claim, waiting, ask)


def is_fault(error: ScoringError) -> bool:
    """Whether a pod was there and answered with an error, or died: not when pods are away, full or late."""
    return error.broke_off if isinstance(error, ScoringUnavailable) else not isinstance(error, ScoringTimeout)


class _GroupSizes:
    """How many rows a model has scored in time of late, where it has not always. Used by many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._most: dict[Target, int] = {}

    def most(self, target: Target) -> int:
        return self._most.get(target, MOST_ROWS)

    def too_slow(self, target: Target, rows: int) -> None:
        with self._lock:
            self._most[target] = max(1, min(self.most(target), rows // 2))

    def answered(self, target: Target, rows: int, seconds: float) -> None:
        if seconds < QUICK:
            with self._lock:
                if rows == self.most(target):
                    self._most[target] = min(MOST_ROWS, 2 * rows)

    def forget(self) -> None:
        """Between tests."""
        with self._lock:
            self._most.clear()


group_sizes = _GroupSizes()


def _counted(claim: Claim, waiting: Sequence[Waiting], ask: Ask[T]) -> Sequence[T | ScoringRefused]:
    """Asks once, as one of the few requests that batches may have in flight, and counts it as traffic.

    As pinned: how long a batch takes says nothing of how quick a canary is.
    """
    with _requests:
        began = time.monotonic()
        version, failed = "", False
        try:
            answers = ask(waiting)
            version = next((each.version for each in answers if isinstance(each, FaqAnswer | ImageAnswer)), "")
        except ScoringError as error:
            version, failed = error.model_version, not isinstance(error, ScoringRefused)
            raise
        finally:
            ms = (time.monotonic() - began) * 1000
            traffic.note(model=claim.job.model, version=version, ms=ms, failed=failed, pinned=True)
    return answers


def _groups(waiting: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """The pictures in their order, as many together as may be in memory; at least one."""
    group: list[Waiting] = []
    size = 0
    for each in waiting:
        if group and size + each[0].size > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(each)
        size += each[0].size
    if group:
        yield group


def _confidences(results: Sequence[ResultRow]) -> list[int]:
    bars = [0] * BARS
    for result in results:
        if result.answers:
            bars[max(0, min(BARS - 1, int(result.answers[0].probability * BARS)))] += 1
    return bars


def _by_version(results: Sequence[ResultRow]) -> dict[str, Tally]:
    rows = Counter(result.version for result in results)
    failed = Counter(result.version for result in results if result.error)
    return {version: Tally(count, failed[version]) for version, count in rows.items()}


class _Labels:
    """The questions of entries by their id, as they were at most a minute ago. Used by many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        # By collection: since when, and the labels.
        self._known: OrderedDict[str, tuple[float, dict[str, str | None]]] = OrderedDict()

    def of(self, collection: str, ids: set[str]) -> dict[str, str | None]:
        """Of an id without an entry the question is empty, of a draft None. What is not known costs one look into the
        database.
        """
        now = time.monotonic()
        with self._lock:
            since, known = self._known.get(collection, (now, {}))
            if now - since > LABELS_KEPT_FOR or len(known) > MOST_LABELS:
                since, known = now, {}
            missing = ids - known.keys()
        if missing:
            try:
                found = Entry.objects.filter(collection__slug=collection, external_id__in=missing)
                labels = {
                    name: question if state == Entry.State.LIVE else None
                    for name, question, state in found.values_list("external_id", "question", "state")
                }
            finally:
                connection.close()  # this thread's, which hardly ever needs one
            known = {**known, **dict.fromkeys(missing, ""), **labels}
            with self._lock:
                self._known[collection] = (since, known)
                while len(self._known) > MOST_COLLECTIONS:
                    self._known.popitem(last=False)
        return known


_labels = _Labels()
