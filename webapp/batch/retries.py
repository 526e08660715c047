"""The rows of a job once more that have no answer: read from its chunks, not from the upload."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from webapp.batch import checking, files
from webapp.batch.checking import Checked
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput

MARK = "again"  # in Job.reading: `retry_of` goes when the other job is deleted


def marked(reading: Mapping[str, Any]) -> dict[str, Any]:
    """`Job.reading` of a job whose rows come from another one."""
    return {**reading, MARK: True}


def is_retry(job: Job) -> bool:
    return MARK in job.reading


def rows_again(job: Job, beat: Callable[[], object], *, most: int) -> Checked:
    """As checking.validate, of a job that repeats another; its rows are numbered anew.

    Raises InvalidInput when there is nothing to repeat, FilesError.
    """
    original = job.retry_of
    if original is None or original.deleted_at:
        raise InvalidInput("The batch whose rows were to be tried again has been deleted. Upload the file again.")
    checked = checking.cut(job, _without_answer(original), beat, most=most)
    if not checked.total:
        raise InvalidInput(
            "The rows that failed were refused when the file was read, and would be again. Mend them and upload them."
        )
    return checked


def _without_answer(job: Job) -> Iterator[InputRow]:
    """The rows that failed in scoring, and those that nobody came to; not those refused when the file was read."""
    number = 0
    for chunk in job.chunks.order_by("number").iterator():
        done = chunk.state == Chunk.State.DONE
        if done and not chunk.failed:
            continue
        failed = {each.row for each in files.read_result(job, chunk.result) if each.error} if done else set()
        for row in files.read_rows(job, chunk.number):
            if not row.error and (not done or row.row in failed):
                row.row = number
                number += 1
                yield row
