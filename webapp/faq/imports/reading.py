"""Reads files of entries: tables (CSV, TSV, XLSX) and JSON lines, one line at a time.

How, says a `Reading`, which is guessed from the beginning of the file and can be changed. A line that says nothing
that could be an entry comes with its reason and spoils no other. What is wrong with the whole file is an InvalidInput.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from webapp.errors import InvalidInput
from webapp.faq.imports import columns
from webapp.faq.imports.columns import ALL_NAMES, LISTS
from webapp.formulas import as_it_was
from webapp.registry.zips import Damaged
from webapp.tables import archives, layout, sheets
from webapp.tables.layout import DECODED, GUESSED_FROM, MAX_COLUMN, SAMPLE
from webapp.tables.texts import (
    JSON,
    MAX_LINE,
    NO_TEXT,
    NOT_JSON,
    ONE_COLUMN,
    bad,
    body,
    csv_cells,
    is_empty,
    opened,
    shown,
)
from webapp.tables.texts import lines as lines_of

MOST_COLUMNS = 200
SHOWN = 200  # characters of what a refused line holds
ACCEPTED = "Send a table (CSV, TSV, XLSX) or JSON lines."
OTHERS = {
    b"\xd0\xcf\x11\xe0": "This is an old or a protected Office file. Save it as .xlsx without a password, or as CSV.",
    b"\x1f\x8b": "This is compressed with gzip. Unpack it first.",
    b"7z\xbc\xaf": "This is a 7z archive. Unpack it first.",
    b"Rar!": "This is a RAR archive. Unpack it first.",
    b"%PDF": f"This is a PDF. {ACCEPTED}",
    b"<?xml": f"This is XML. {ACCEPTED}",
}
ONE_DOCUMENT = (
    'This is one JSON document. Write one object a line (JSON lines), such as {"question": "…", "answer": "…"}.'
)


class Reading(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a file is read, as `Import.reading` keeps it.

    format: csv, tsv, xlsx or jsonl. encoding: as Python names it. delimiter: "" where a line is one cell. sheet: the
    one of the workbook that is read. columns: their names, "Column 1" and so on without a header; of JSON lines the
    names in the first lines. chosen: which column holds which field.
    """

    format: str
    encoding: str = ""
    delimiter: str = ""
    header: bool = False
    sheet: str = ""
    columns: list[str] = []
    chosen: dict[str, str] = {}

    def kept(self) -> dict[str, Any]:
        """For Import.reading."""
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Reading":
        return msgspec.convert(kept, cls)


msgspec.json.Decoder(Reading)  # has msgspec study the type before there are threads, which it must


@dataclass(frozen=True)
class Line:
    """What a line says of an entry: values by field, without those it says nothing of; or why it says nothing.

    place: where it stands, such as "Line 3".
    """

    place: str
    values: dict[str, Any] = field(default_factory=dict)
    error: str = ""


# How it is read -------------------------------------------------------------------------------------------------------


def detect(
    path: Path, name: str, *, header: bool | None = None, delimiter: str | None = None, encoding: str | None = None
) -> Reading:
    """How to read the file, by its content and name. header, delimiter, encoding: where somebody knows better.

    Raises InvalidInput on `file` for what is none of the formats, or has nothing in it.
    """
    with path.open("rb") as file:
        start = file.read(DECODED)
    if archives.is_zip(start):
        return _workbook(path, header)
    if not start.strip(b"\xef\xbb\xbf\xff\xfe \t\r\n"):
        raise bad("The file is empty.")
    if said := next((said for magic, said in OTHERS.items() if start.startswith(magic)), ""):
        raise bad(said)
    if layout.is_binary(start):
        raise bad(f"This is no text. {ACCEPTED}")
    encoding = encoding or layout.encoding_of(start)
    with opened(path, encoding) as text:
        sample = text.read(SAMPLE)
    suffix = Path(name).suffix.lower()
    if suffix in {".jsonl", ".ndjson", ".json"} or (suffix not in {".csv", ".tsv", ".tab"} and _is_json(sample)):
        return _json(sample, encoding)
    if delimiter is None:
        delimiter = layout.delimiter_of(sample, prefer="\t" if suffix in {".tsv", ".tab"} else ",", names=ALL_NAMES)
    found = Reading(format="tsv" if delimiter == "\t" else "csv", encoding=encoding, delimiter=delimiter)
    return _with_columns(found, layout.parsed(sample, delimiter), header)


def _workbook(path: Path, header: bool | None) -> Reading:
    try:
        with path.open("rb") as file:
            names = {member.name for member in islice(archives.members(file), GUESSED_FROM)}
    except Damaged:
        names = {sheets.WORKBOOK}  # whoever reads it says what is wrong
    if sheets.WORKBOOK not in names:
        raise bad(f"This is a zip file, and no workbook. Unpack it first. {ACCEPTED}")
    with sheets.opened(path) as sheet:
        return _with_columns(Reading(format="xlsx", sheet=sheet.name), layout.first_rows(sheet.rows), header)


def _with_columns(found: Reading, first: list[list[str]], header: bool | None) -> Reading:
    if not first:
        raise bad("The file has no rows.")
    if header is None:
        header = layout.has_header(first, ALL_NAMES)
    width = len(first[0]) if header else Counter(map(len, first)).most_common(1)[0][0]
    if width > MOST_COLUMNS:
        raise bad(f"The table has {width:,} columns; at most {MOST_COLUMNS} are read. Leave out those of no use.")
    names = layout.column_names(first[0] if header else [], width)
    chosen = columns.guessed(names, named=header)
    return msgspec.structs.replace(found, header=header, columns=names, chosen=chosen)


def _is_json(sample: str) -> bool:
    """Whether the first line is an object in JSON."""
    first = next((line for line in layout.lines_of(sample) if line.strip()), "")
    try:
        return isinstance(JSON.decode(first), dict)
    except NOT_JSON:
        return False


def _json(sample: str, encoding: str) -> Reading:
    if sample.lstrip().startswith("["):
        raise bad(ONE_DOCUMENT)
    names: dict[str, None] = {}
    for line in filter(str.strip, layout.lines_of(sample)[:GUESSED_FROM]):
        try:
            item = JSON.decode(line)
        except NOT_JSON:
            continue
        for name in item if isinstance(item, dict) else ():
            if len(name) <= MAX_COLUMN and name == shown(name) and len(names) < MOST_COLUMNS:
                names[name] = None
    if not names:
        raise bad(ONE_DOCUMENT)
    listed = list(names)
    return Reading(format="jsonl", encoding=encoding, columns=listed, chosen=columns.guessed(listed, named=True))


def require_question(reading: Reading) -> None:
    """Raises InvalidInput where no column holds the question, or one holds several fields."""
    if "question" not in reading.chosen and "id" not in reading.chosen:
        raise InvalidInput("Choose the column that holds the questions.", field="question")
    for column, count in Counter(reading.chosen.values()).items():
        if count > 1:
            *_, last = (name for name, chosen in reading.chosen.items() if chosen == column)
            raise InvalidInput(f"“{column}” is chosen for another field already. Choose each column once.", field=last)


# Its lines ------------------------------------------------------------------------------------------------------------


def lines(path: Path, reading: Reading) -> Iterator[Line]:
    """Every line that is not empty. Memory does not grow with the file.

    Raises InvalidInput at a line from which on it cannot be read.
    """
    found = _json_lines(path, reading) if reading.format == "jsonl" else _table_lines(path, reading)
    for line in found:
        yield line if line.error else _only_text(line)


def _only_text(line: Line) -> Line:
    """The same, or an error where a byte of it is no text in the encoding by which it is read."""
    for name, value in line.values.items():
        texts = value if isinstance(value, list) else [value]
        if any(NO_TEXT.search(text) for text in texts):
            why = f"has something in its {name} that is no text. Is the encoding right?"
            return Line(line.place, _shown(line.values), f"{line.place} {why}")
    return line


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """So much of what a refused line holds that people know it again."""
    return {name: shown(str(values[name])[:SHOWN]) for name in ("id", "question") if values.get(name)}


@contextmanager
def _cells(path: Path, reading: Reading) -> Iterator[Iterator[tuple[int, list[str]]]]:
    if reading.format == "xlsx":
        with sheets.opened(path) as sheet:
            yield sheet.rows
    else:
        with opened(path, reading.encoding) as text:
            yield csv_cells(text, reading.delimiter or ONE_COLUMN)


def _table_lines(path: Path, reading: Reading) -> Iterator[Line]:
    places = {name: reading.columns.index(column) for name, column in reading.chosen.items()}
    width = len(reading.columns)
    word = "Row" if reading.format == "xlsx" else "Line"
    with _cells(path, reading) as cells:
        for number, row in body(cells, reading.header):
            if is_empty(row):
                continue
            where = f"{word} {number:,}"
            told = {name: row[place] if place < len(row) else "" for name, place in places.items()}
            if reading.format != "xlsx":
                told = {name: as_it_was(cell) for name, cell in told.items()}
            if len(row) > width and not is_empty(row[width:]):
                why = f"has {len(row):,} cells and the table {width:,}. Put texts with a delimiter in quotation marks."
                yield Line(where, _shown(told), f"{where} {why}")
                continue
            values: dict[str, Any] = {
                name: columns.from_cell(cell, LISTS[name]) if name in LISTS else cell for name, cell in told.items()
            }
            yield Line(where, _without_blanks(values))


def _without_blanks(values: dict[str, Any]) -> dict[str, Any]:
    """An empty cell of an id or state says nothing; one of a text or list, that it is to be empty."""
    return {name: value for name, value in values.items() if value or name not in {"id", "answer_id", "state"}}


def _json_lines(path: Path, reading: Reading) -> Iterator[Line]:
    with opened(path, reading.encoding) as text:
        for number, line in enumerate(lines_of(text), start=1):
            where = f"Line {number:,}"
            if len(line) > MAX_LINE:
                yield Line(where, error=f"{where} has more than {MAX_LINE:,} characters.")
                continue
            if not line.strip():
                continue
            try:
                item: Any = JSON.decode(line)
            except UnicodeEncodeError:
                yield Line(where, error=f"{where} holds bytes that are no text. Is the encoding right?")
                continue
            except (msgspec.DecodeError, RecursionError) as error:
                yield Line(where, error=f"{where} is no JSON: {error}.")
                continue
            if not isinstance(item, dict):
                yield Line(where, error=f'{where} must be an object such as {{"question": "…", "answer": "…"}}.')
            elif "unanswerable" not in item:  # a question for training and evaluation, which no entry answers
                yield _of_object(where, item, reading)


def _of_object(where: str, item: Mapping[str, Any], reading: Reading) -> Line:
    values: dict[str, Any] = {}
    for name, key in reading.chosen.items():
        value = item.get(key)
        if value is None:
            continue
        if name in LISTS:
            found = columns.from_cell(value, LISTS[name]) if isinstance(value, str) else value
            if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
                return Line(where, _shown(values), f"{where}, {key}: it must be a list of texts.")
            values[name] = found
        elif name in {"id", "answer_id"} and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
        elif isinstance(value, str):
            values[name] = value
        else:
            return Line(where, _shown(values), f"{where}, {key}: it must be a text.")
    return Line(where, _without_blanks(values))
