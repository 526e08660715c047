"""Validation: reads an upload once, from beginning to end, and cuts it into the files that chunks are worked on from.

It may be killed at any row and begun again: the same upload gives the same files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from webapp.batch import files, reading
from webapp.batch.models import Job
from webapp.batch.rows import InputRow
from webapp.tables import texts

ROWS_A_CHUNK = {Job.Kind.FAQ.value: 200, Job.Kind.IMAGE.value: 32}


@dataclass(frozen=True)
class Part:
    """The rows of one chunk, whose file is written. first_row: from 0."""

    number: int
    first_row: int
    rows: int


@dataclass(frozen=True)
class Checked:
    """What an upload holds: its chunks, and how many rows, of which `refused` cannot be scored; problem: why the first
    of those cannot.
    """

    parts: list[Part] = field(default_factory=list)
    total: int = 0
    refused: int = 0
    problem: str = ""


def validate(job: Job, require_wanted: Callable[[], object], *, most: int) -> Checked:
    """Writes the row files of a job. most: rows that it may have. Asks no database: any thread may do it.

    require_wanted: called for each row; what it raises ends the validation. Raises InvalidInput for a file that cannot
    be read, has too many rows or not one that can be scored; FilesError.
    """
    checked = cut(job, _rows_of(job), require_wanted, most=most)
    if not checked.total:
        raise texts.bad("It has not one row below its header.")
    if checked.refused == checked.total:
        raise texts.bad(f"Not one of its {checked.total:,} rows can be scored. The first: {checked.problem}")
    return checked


def cut(job: Job, rows: Iterator[InputRow], require_wanted: Callable[[], object], *, most: int) -> Checked:
    """Writes the rows as the row files of a job. require_wanted: as of `validate`. Raises InvalidInput for more rows
    than it may have; FilesError.
    """
    parts: list[Part] = []
    written: list[Path] = []
    total = refused = 0
    problem = ""
    wanted = _while_wanted(rows, require_wanted)
    while chunk := list(islice(wanted, ROWS_A_CHUNK[job.kind])):
        bad = [row for row in chunk if row.error]
        problem = problem or (bad[0].error if bad else "")
        written.append(files.write_rows(job, len(parts), chunk))
        parts.append(Part(len(parts), total, len(chunk)))
        total += len(chunk)
        refused += len(bad)
        if total > most:
            raise texts.bad(f"It has more than {most:,} rows, the most of one batch. Send it as several.")
    for path in written:  # at once, when most of them are on the disk already
        require_wanted()
        files.sync(path)
    return Checked(parts, total, refused, problem)


def _rows_of(job: Job) -> Iterator[InputRow]:
    with files.disk_errors():
        yield from reading.rows(files.upload_of_job(job), reading.reading_of(job), job.column)


def _while_wanted(rows: Iterator[InputRow], require_wanted: Callable[[], object]) -> Iterator[InputRow]:
    for row in rows:
        require_wanted()
        yield row
