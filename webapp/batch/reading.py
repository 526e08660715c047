"""Reads what people upload: tables (CSV, TSV, XLSX), JSON lines, texts with a question a line, zips of pictures.

How, says a `Reading`, which detection.py finds out. `rows` reads all of it, one row at a time. A row that cannot be
asked comes with its reason and spoils no other. What is wrong with the whole file is an InvalidInput that names the
line and what to do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from webapp.batch import pictures
from webapp.batch.models import Job
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput
from webapp.faq.services import MAX_QUESTION
from webapp.tables import sheets
from webapp.tables.texts import (
    JSON,
    MAX_LINE,
    NO_TEXT,
    NOT_JSON,
    ONE_COLUMN,
    Seen,
    body,
    csv_cells,
    is_empty,
    lines,
    opened,
    shown,
)

MAX_ID = 200  # characters
SHOWN_ROWS = 10
SHOWN_CELL = 200  # characters
SHOWN_COLUMNS = 50
MAX_EMPTY = 10_000  # rows on end that are told of

UNIQUE_ID = "custom_id"


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a file is read, as `Job.reading` keeps it.

    format: csv, tsv, txt, jsonl, xlsx or zip. encoding: as Python names it. delimiter: "" where a line is one cell.
    columns: their names in order, "Column 1" and so on without a header; of JSON lines the names in the first lines.
    question, id_column: the columns that seem to hold them, or "". sheet: the one of the workbook that is read.
    count: of pictures.
    """

    format: str
    encoding: str = ""
    delimiter: str = ""
    header: bool = False
    columns: list[str] = []
    question: str = ""
    id_column: str = ""
    sheet: str = ""
    count: int = 0

    @property
    def kind(self) -> str:
        return (Job.Kind.IMAGE if self.format == "zip" else Job.Kind.FAQ).value

    def kept(self) -> dict[str, Any]:
        """For Job.reading."""
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept


msgspec.json.Decoder(Reading)  # has msgspec study the type before there are threads, which it must


def reading_of(job: Job) -> Reading:
    return msgspec.convert(job.reading, Reading)


def preview(path: Path, reading: Reading) -> list[list[str]]:
    """The first rows below the header, their cells cut to what can be shown; of JSON lines a cell for each column."""
    match reading.format:
        case "zip":
            return pictures.preview(path, SHOWN_ROWS)
        case "txt":
            with opened(path, reading.encoding) as text:
                found: list[list[str]] = [[line.strip()] for line in islice(lines(text), SHOWN_ROWS) if line.strip()]
        case "jsonl":
            found = []
            with opened(path, reading.encoding) as text:
                for line in islice((line for line in lines(text) if line.strip()), SHOWN_ROWS):
                    found.append(_shown_object(line, reading.columns))
        case _:
            with _cells(path, reading) as cells:
                return [_cut(row) for _line, row in islice(body(cells, reading.header), SHOWN_ROWS)]
    return [_cut(row) for row in found]


def _cut(row: list[str]) -> list[str]:
    return [shown(cell[:SHOWN_CELL]) for cell in row[:SHOWN_COLUMNS]]


def column_of(reading: Reading, wanted: str) -> str:
    """The column that holds the questions. wanted: its name, however it is capitalised, or its number from 1; "" for
    the one that seems to. Raises InvalidInput on `column`.
    """
    if not reading.columns:
        if wanted:
            raise InvalidInput("This file has no columns to choose from; leave `column` out.", field="column")
        return ""
    if wanted in reading.columns:
        return wanted
    by_name = {name.casefold(): name for name in reversed(reading.columns)}
    found = reading.question if not wanted else by_name.get(wanted.strip().casefold())
    if found is None and wanted.isdecimal() and 0 < int(wanted) <= len(reading.columns):
        found = reading.columns[int(wanted) - 1]
    if not found and reading.format == "jsonl" and wanted:
        return wanted  # it need not stand in the first lines
    if not found:
        names = ", ".join(reading.columns[:20])
        said = f"There is no column {wanted!r}." if wanted else "Say which column holds the questions."
        raise InvalidInput(f"{said} There are: {names}.", field="column")
    return found


def rows(path: Path, reading: Reading, column: str) -> Iterator[InputRow]:
    """Every row as a question to ask, or with the reason why it cannot be asked. column: as `column_of` says.

    Memory does not grow with the file. Raises InvalidInput at a line from which on it cannot be read.
    """
    match reading.format:
        case "zip":
            return pictures.rows(path)
        case "txt":
            return _text_rows(path, reading)
        case "jsonl":
            return _json_rows(path, reading, column)
        case _:
            return _table_rows(path, reading, column)


# Tables ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _cells(path: Path, reading: Reading) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The table's rows with the line each begins in, the header too."""
    if reading.format == "xlsx":
        with sheets.opened(path) as sheet:
            yield sheet.rows
    else:
        with opened(path, reading.encoding) as text:
            yield csv_cells(text, reading.delimiter or ONE_COLUMN)


def _table_rows(path: Path, reading: Reading, column: str) -> Iterator[InputRow]:
    judge = _Judge("Row" if reading.format == "xlsx" else "Line", unique=reading.id_column.casefold() == UNIQUE_ID)
    place = reading.columns.index(column)
    id_place = reading.columns.index(reading.id_column) if reading.id_column else None
    width = len(reading.columns)
    empty: list[int] = []  # lines whose cells are all empty; at the end they are no rows
    with _cells(path, reading) as cells:
        for line, row in body(cells, reading.header):
            question = row[place] if place < len(row) else ""
            if not question and is_empty(row):
                if len(empty) < MAX_EMPTY:  # what is more is no gap in a table
                    empty.append(line)
                continue
            for each in empty:
                yield judge(each, "", "")
            empty.clear()
            row_id = row[id_place].strip() if id_place is not None and id_place < len(row) else ""
            if len(row) > width and any(map(str.strip, row[width:])):
                yield judge.refused(
                    line,
                    row_id,
                    question,
                    f"has {len(row):,} cells and the table {width:,}. Put texts with a delimiter in quotation marks",
                )
            else:
                yield judge(line, row_id, question)


# JSON lines and texts -------------------------------------------------------------------------------------------------


def _shown_object(line: str, columns: list[str]) -> list[str]:
    try:
        item = JSON.decode(line)
    except NOT_JSON:
        return [line]
    if not isinstance(item, dict):
        return [str(item)]
    return [value if isinstance(value := item.get(name, ""), str) else str(value) for name in columns]


def _json_rows(path: Path, reading: Reading, column: str) -> Iterator[InputRow]:
    judge = _Judge("Line", unique=True)
    with opened(path, reading.encoding) as text:
        for number, line in enumerate(lines(text), start=1):
            if len(line) > MAX_LINE:
                yield judge.refused(number, "", "", f"has more than {MAX_LINE:,} characters")
                continue
            if line.isspace():
                continue
            try:
                item: Any = JSON.decode(line)
            except UnicodeEncodeError:
                yield judge.refused(number, "", "", "holds bytes that are no text")
                continue
            except (msgspec.DecodeError, RecursionError) as error:
                yield judge.refused(number, "", "", f"is no JSON: {error}")
                continue
            if isinstance(item, str):
                yield judge(number, "", item)
            elif not isinstance(item, dict):
                yield judge.refused(number, "", "", 'must be a text, or an object such as {"question": "…"}')
            else:
                yield _object_row(judge, number, item, column or "question")


def _object_row(judge: "_Judge", number: int, item: dict[str, Any], column: str) -> InputRow:
    question, row_id = item.get(column), item.get(UNIQUE_ID)
    judge.unique = row_id is not None
    if row_id is None:
        row_id = item.get("id")
    if row_id is None:
        row_id = ""
    elif isinstance(row_id, int) and not isinstance(row_id, bool):
        row_id = str(row_id)
    if not isinstance(row_id, str):
        return judge.refused(number, "", "", "has an id that is neither a text nor a whole number")
    if not isinstance(question, str):
        missing = "has no" if question is None else "must have a text as its"
        return judge.refused(number, row_id, "", f"{missing} {column!r}")
    return judge(number, row_id, question)


def _text_rows(path: Path, reading: Reading) -> Iterator[InputRow]:
    judge = _Judge("Line")
    with opened(path, reading.encoding) as text:
        for number, line in enumerate(lines(text), start=1):
            if question := line.strip():
                yield judge(number, "", question)


# One row --------------------------------------------------------------------------------------------------------------


class _Judge:
    """Gives each row its number, and those that cannot be asked their reason.

    place: what the file's rows are called, "Line" or "Row". unique: whether no id may come twice.
    """

    def __init__(self, place: str, *, unique: bool = False) -> None:
        self._place = place
        self.unique = unique
        self._number = -1
        self._seen = Seen()

    def __call__(self, line: int, row_id: str, question: str) -> InputRow:
        question = question.strip()
        if not question:
            return self.refused(line, row_id, "", "has no question")
        if len(question) > MAX_QUESTION:
            long = f"has a question of {len(question):,} characters; {MAX_QUESTION:,} are the most that is read"
            return self.refused(line, row_id, question, long)
        if not question.isprintable() and (found := NO_TEXT.search(question)):
            what = "a NUL character" if found[0] == "\0" else "bytes that are no text"
            return self.refused(line, row_id, question, f"holds {what}")
        if row_id:
            if len(row_id) > MAX_ID:
                return self.refused(line, row_id, question, f"has an id of more than {MAX_ID} characters")
            if NO_TEXT.search(row_id):
                return self.refused(line, row_id, question, "has an id that is no text")
            if self.unique and not self._seen.add(row_id):
                return self.refused(line, row_id, question, f"has the custom_id {row_id!r} of a row before it")
        self._number += 1
        return InputRow(self._number, row_id, question)

    def refused(self, line: int, row_id: str, question: str, why: str) -> InputRow:
        self._number += 1
        return InputRow(
            self._number,
            shown(row_id[:MAX_ID]),
            shown(question[:SHOWN_CELL]),
            error=f"{self._place} {line:,} {why}.",
        )
