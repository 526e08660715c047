"""One chunk through the pods: reads its rows, asks, and writes what came of each.

Nothing here writes into the database, so any number of these may run beside each other, and be thrown away.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from threading import BoundedSemaphore, Lock
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import connection

from webapp.batch import files, pictures
from webapp.batch.claims import Claim, Scored, Tally
from webapp.batch.models import Job
from webapp.batch.rows import Answer, InputRow, ResultRow
from webapp.celery import stopping
from webapp.errors import (
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

TIMEOUT = 60.0  # seconds for one request: it waits while others ask the pods
GROUP_BYTES = 8 * 2**20  # of pictures in one request, and so in memory
BARS = 20  # of the histogram of confidences
MOST_FAULTS = 5  # after so many errors for a chunk, a row that alone makes the model fail is told so
PAUSES = (0.2, 0.5, 1.0)  # seconds before each further try, where no pod has room
LABELS_KEPT_FOR = 60.0  # seconds
MOST_LABELS = 50_000
MOST_COLLECTIONS = 4

_requests = BoundedSemaphore(settings.BATCH_REQUESTS_AT_ONCE)  # of this process, so that a batch takes no more of a pod


def score(claim: Claim) -> Scored:
    """Scores the rows of the chunk and writes the results into a file of its own.

    Raises ScoringError when the pods cannot answer, FilesError when the files cannot be read or written. A row that the
    model refuses has that as its result.
    """
    job, chunk = claim.job, claim.chunk
    rows = files.read_rows(job, chunk.number)
    if len(rows) != chunk.rows or rows[0].row != chunk.first_row:
        raise FilesError(f"The rows of chunk {chunk.number} are not those that were counted.")
    ask = _ask_questions if job.kind == Job.Kind.FAQ else _ask_pictures
    results = [ResultRow(row=row.row, id=row.id, question=row.question, name=row.name, error=row.error) for row in rows]
    waiting = [(row, result) for row, result in zip(rows, results, strict=True) if not row.error]
    ask(claim, waiting)
    name = files.write_result(job, chunk.number, claim.token, results)
    failed = sum(bool(result.error) for result in results)
    return Scored(name, len(results) - failed, failed, _confidences(results), _by_version(results))


Waiting = tuple[InputRow, ResultRow]  # what is to be scored, and where the answer goes


def _ask_questions(claim: Claim, waiting: Sequence[Waiting]) -> None:
    job = claim.job

    def ask(some: Sequence[Waiting]) -> Sequence[FaqAnswer | ScoringRefused]:
        return scoring_client().match_batch([row.question for row, _ in some], _options_of(job))

    answered = list(_answers(claim, waiting, ask)) if waiting else []
    ids = {score.faq_id for _, answer in answered if isinstance(answer, FaqAnswer) for score in answer.scores}
    labels = _labels.of(job.collection, ids)
    for result, answer in answered:
        if isinstance(answer, FaqAnswer):
            result.version = answer.version
            result.answers = [
                Answer(each.faq_id, labels.get(each.faq_id, ""), each.probability, each.answer_id)
                for each in answer.scores
            ]


def _ask_pictures(claim: Claim, waiting: Sequence[Waiting]) -> None:
    job = claim.job
    for group in _groups(waiting):
        data = {row.row: found for row, result in group if (found := _picture(job, row, result)) is not None}

        def ask(some: Sequence[Waiting], data: dict[int, bytes] = data) -> Sequence[ImageAnswer | ScoringRefused]:
            return scoring_client().classify_batch([data[row.row] for row, _ in some], _options_of(job))

        readable = [(row, result) for row, result in group if row.row in data]
        for result, answer in _answers(claim, readable, ask) if readable else ():
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


def _answers(
    claim: Claim, waiting: Sequence[Waiting], ask: Callable[[Sequence[Waiting]], Sequence[T | ScoringRefused]]
) -> Iterator[tuple[ResultRow, T | ScoringRefused]]:
    """The answer to each row. One that is refused has its error already."""
    try:
        answers = _asked(claim, waiting, ask)
    except ScoringError as error:
        if not _may_be_its_own_fault(claim, error):
            raise
        if len(waiting) > 1:
            half = len(waiting) // 2
            yield from _answers(claim, waiting[:half], ask)
            yield from _answers(claim, waiting[half:], ask)
            return
        answers = [error if isinstance(error, ScoringRefused) else ScoringRefused(error.detail)]
    for (_, result), answer in zip(waiting, answers, strict=True):
        if isinstance(answer, ScoringRefused):
            result.error, result.version = answer.detail, answer.model_version
        yield result, answer


def _may_be_its_own_fault(claim: Claim, error: ScoringError) -> bool:
    """Whether the rows are to be asked in smaller groups, to find out which of them the model cannot score.

    What it answers with an error may be its own trouble: only when that stays so it is the row's.
    """
    if isinstance(error, ScoringRefused):
        return True
    return claim.chunk.faults >= MOST_FAULTS and is_fault(error)


def _asked(
    claim: Claim, waiting: Sequence[Waiting], ask: Callable[[Sequence[Waiting]], Sequence[T | ScoringRefused]]
) -> Sequence[T | ScoringRefused]:
    """Asks, a few times where no pod has room: another batch's rows may be in the way, or a pod that comes back."""
    for pause in PAUSES:
        try:
            return _counted(claim, waiting, ask)
        except ScoringUnavailable:
            if stopping():
                raise
            time.sleep(pause)
    return _counted(claim, waiting, ask)


def is_fault(error: ScoringError) -> bool:
    """Whether a pod was there and answered with an error: not when pods are away, full or late."""
    return not isinstance(error, ScoringUnavailable | ScoringTimeout)


def _counted(
    claim: Claim, waiting: Sequence[Waiting], ask: Callable[[Sequence[Waiting]], Sequence[T | ScoringRefused]]
) -> Sequence[T | ScoringRefused]:
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
            bars[min(BARS - 1, int(result.answers[0].probability * BARS))] += 1
    return bars


def _by_version(results: Sequence[ResultRow]) -> dict[str, Tally]:
    rows = Counter(result.version for result in results)
    failed = Counter(result.version for result in results if result.error)
    return {version: Tally(count, failed[version]) for version, count in rows.items()}


class _Labels:
    """The questions of entries by their id, as they were at most a minute ago. Used by many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[float, dict[str, str]]] = OrderedDict()  # by collection: since, labels

    def of(self, collection: str, ids: set[str]) -> dict[str, str]:
        """An id without an entry is left out. What is not known costs one look into the database."""
        now = time.monotonic()
        with self._lock:
            since, known = self._known.get(collection, (now, {}))
            if now - since > LABELS_KEPT_FOR or len(known) > MOST_LABELS:
                since, known = now, {}
            missing = ids - known.keys()
        if missing:
            try:
                found = Entry.objects.filter(collection__slug=collection, external_id__in=missing)
                labels = dict(found.values_list("external_id", "question"))
            finally:
                connection.close()  # this thread's, which hardly ever needs one
            known = {**known, **dict.fromkeys(missing, ""), **labels}
            with self._lock:
                self._known[collection] = (since, known)
                while len(self._known) > MOST_COLLECTIONS:
                    self._known.popitem(last=False)
        return known


_labels = _Labels()
