"""The rows of a job once more that have no answer, but for those refused at reading: read from its chunks."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.db.models import QuerySet

from webapp.batch import checking, files
from webapp.batch.checking import Checked
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput

LOOKED_INTO = 20  # chunks
MARK = "again"  # in Job.reading: `retry_of` goes when the other job is deleted


def marked(reading: Mapping[str, Any]) -> dict[str, Any]:
    """`Job.reading` of a job whose rows come from another one."""
    return {**reading, MARK: True}


def is_retry(job: Job) -> bool:
    return MARK in job.reading


def original_of(job: Job) -> tuple[Job, list[Chunk]]:
    """The job that this one repeats, and its chunks in which a row may have no answer. Raises InvalidInput when it is
    gone.
    """
    original = job.retry_of
    if original is None or original.deleted_at:
        raise InvalidInput("The batch whose rows were to be tried again has been deleted. Upload the file again.")
    return original, list(_lacking(original).only("job", "number", "state", "result"))


def rows_again(
    original: Job, chunks: Iterable[Chunk], job: Job, require_wanted: Callable[[], object], *, most: int
) -> Checked:
    """As checking.validate, of a job that repeats another; its rows are numbered anew. original, chunks: as
    `original_of` says.

    Raises InvalidInput when there is nothing to repeat, FilesError.
    """
    checked = checking.cut(job, _without_answer(original, chunks), require_wanted, most=most)
    if not checked.total:
        raise InvalidInput(
            "The rows that failed were refused when the file was read, and would be again. Mend them and upload them."
        )
    return checked


def is_worth_it(job: Job) -> bool:
    """Whether there is a row to try again. Looks into some chunks only, and hopes for the others. Raises FilesError."""
    some = list(_lacking(job)[: LOOKED_INTO + 1])
    return len(some) > LOOKED_INTO or next(_without_answer(job, some), None) is not None


def _lacking(job: Job) -> QuerySet[Chunk]:
    """The chunks in which a row may have no answer."""
    return job.chunks.exclude(state=Chunk.State.DONE, failed=0).order_by("number")


def _without_answer(job: Job, chunks: Iterable[Chunk]) -> Iterator[InputRow]:
    """The rows that failed in scoring, and those that nobody came to; not those refused when the file was read.

    One without an id of its own gets the number that people know it by, from 1.
    """
    number = 0
    for chunk in chunks:
        done = chunk.state == Chunk.State.DONE
        failed = {each.row for each in files.read_result(job, chunk.result) if each.error} if done else set()
        for row in files.read_rows(job, chunk.number):
            if not row.error and (not done or row.row in failed):
                row.id = row.id or str(row.row + 1)
                row.row = number
                number += 1
                yield row
