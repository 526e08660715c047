"""What came of a job, as files for programs and people: one chunk in memory at a time, rows in the order they came in.

"results" hold every row, with its answers or its error; "errors" only those that have one. Of a job that ended early
they hold the rows that were scored. Rows are counted from 1 here, as people do.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from webapp.batch import files, queries
from webapp.batch.files import ENCODER
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import ResultRow
from webapp.formulas import harmless

Which = Literal["results", "errors"]
Cell = str | int | float

BOM = "\ufeff"


def jsonl(job: Job, which: Which) -> Iterator[bytes]:
    """A JSON object a line. Raises FilesError."""
    subject = _subject_of(job)
    for rows in _chunks(job, which):
        yield ENCODER.encode_lines([_object(row, subject) for row in rows])


def as_csv(job: Job, which: Which) -> Iterator[bytes]:
    """A table in UTF-8 that says so with a mark at its beginning, without which Excel takes it for something else.

    A text that a spreadsheet would run as a formula has an apostrophe before it. Raises FilesError.
    """
    yield _lines([header(job, which)], BOM)
    for rows in _chunks(job, which):
        table = [cells(row, job, which) for row in rows]
        yield _lines([[harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in table])


def header(job: Job, which: Which) -> list[str]:
    """The names of the columns."""
    names = ["row", "id", _subject_of(job)]
    if which == "results":
        for number in range(1, job.top_k + 1):
            names += [f"answer_{number}_id", f"answer_{number}", f"probability_{number}"]
    return [*names, "version", "error"]


def cells(row: ResultRow, job: Job, which: Which) -> list[Cell]:
    """One row of the table: numbers as numbers, everything else as it is."""
    found: list[Cell] = [row.row + 1, row.id, row.question or row.name]
    if which == "results":
        for answer in row.answers[: job.top_k]:
            found += [answer.id, answer.label, round(answer.probability, 6)]
        found += [""] * (3 * (job.top_k - len(row.answers)))
    return [*found, row.version, row.error]


def tables(job: Job, which: Which) -> Iterator[list[list[Cell]]]:
    """The rows of the table, some at a time. Raises FilesError."""
    for rows in _chunks(job, which):
        yield [cells(row, job, which) for row in rows]


def count(job: Job, which: Which) -> int:
    """How many rows there are."""
    done = queries.done_chunks_of(job)
    return sum(chunk.failed if which == "errors" else chunk.rows for chunk in done)


def _chunks(job: Job, which: Which) -> Iterator[Sequence[ResultRow]]:
    """The rows of one chunk after the other. The database is asked before the first, and no more."""
    done: list[Chunk] = queries.done_chunks_of(job)
    for chunk in done:
        if which == "results":
            yield files.read_result(job, chunk.result)
        elif chunk.failed:
            yield [row for row in files.read_result(job, chunk.result) if row.error]


def _subject_of(job: Job) -> str:
    return "question" if job.kind == Job.Kind.FAQ else "file"


def _object(row: ResultRow, subject: str) -> dict[str, Any]:
    return {
        "row": row.row + 1,
        "id": row.id,
        subject: row.question or row.name,
        "version": row.version,
        "answers": row.answers,
        "error": row.error or None,
    }


def _lines(table: Sequence[Sequence[Cell]], before: str = "") -> bytes:
    text = io.StringIO(before, newline="")
    text.seek(0, io.SEEK_END)
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
