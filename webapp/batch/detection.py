"""Tells how an upload is to be read, by its content and name: format, encoding, delimiter, header and columns.

It looks at the beginning only. What it says is a guess that people can see and change before a batch is started.
"""

from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec

from webapp.batch import pictures
from webapp.batch.reading import SHOWN_COLUMNS, Reading
from webapp.registry.zips import Damaged
from webapp.tables import archives, sheets
from webapp.tables.layout import (
    DECODED,
    GUESSED_FROM,
    MAX_COLUMN,
    MAX_GUESSED_CELL,
    SAMPLE,
    column_names,
    delimiter_of,
    encoding_of,
    first_rows,
    has_header,
    is_binary,
    is_number,
    lines_of,
    names_in,
    parsed,
)
from webapp.tables.texts import JSON, NOT_JSON, bad, opened, shown

QUESTION_NAMES = ("question", "questions", "query", "text", "input", "prompt", "utterance", "sentence", "title", "q")
ID_NAMES = ("custom_id", "id")
NAMES = {*QUESTION_NAMES, *ID_NAMES}


def detect(
    path: Path, name: str, *, header: bool | None = None, delimiter: str | None = None, encoding: str | None = None
) -> Reading:
    """How to read the file, by its content and name. header, delimiter, encoding: where somebody knows better.

    Raises InvalidInput on `file` for what is none of the formats, or has nothing in it.
    """
    suffix = Path(name).suffix.lower()
    with path.open("rb") as file:
        start = file.read(4)
        if archives.is_zip(start):
            return _packed(path, header)
        start += file.read(DECODED)
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise bad("The file is empty.")
    if said := _other_format(start):
        raise bad(said)
    encoding = encoding or encoding_of(start)
    with opened(path, encoding) as text:
        sample = text.read(SAMPLE)
    if suffix in {".jsonl", ".ndjson", ".json"} or (suffix not in {".csv", ".tsv", ".txt"} and _is_json(sample)):
        return _json_lines(sample, encoding)
    if suffix == ".txt" and delimiter is None:
        return Reading(format="txt", encoding=encoding)
    return _table(sample, encoding, suffix, header, delimiter)


# Formats and encodings ------------------------------------------------------------------------------------------------

OTHERS = {
    b"\xd0\xcf\x11\xe0": "This is an old or a protected Office file. Save it as .xlsx without a password, or as CSV.",
    b"\x1f\x8b": "This is compressed with gzip. Unpack it first.",
    b"7z\xbc\xaf": "This is a 7z archive. Pack the pictures as a .zip.",
    b"Rar!": "This is a RAR archive. Pack the pictures as a .zip.",
    b"%PDF": "This is a PDF. Send a table (CSV, TSV, XLSX), JSON lines, or a text with a question a line.",
}
NO_FORMAT = "This is no text. Send a table (CSV, TSV, XLSX), JSON lines, a text with a question a line, or a .zip."


def _other_format(start: bytes) -> str:
    """What to do about a file that is none of ours; "" for one that may be text."""
    if said := next((said for magic, said in OTHERS.items() if start.startswith(magic)), ""):
        return said
    return NO_FORMAT if is_binary(start) else ""


# Zip files ------------------------------------------------------------------------------------------------------------


def _packed(path: Path, header: bool | None) -> Reading:
    """A workbook, or a zip of pictures."""
    names = _first_names(path)
    if sheets.WORKBOOK in names:
        with sheets.opened(path) as sheet:
            return _with_columns(Reading(format="xlsx", sheet=sheet.name), first_rows(sheet.rows), header)
    if {"[Content_Types].xml", "mimetype"} & names:
        raise bad("This is a document of an office program. Save the questions as .xlsx or CSV.")
    return Reading(format="zip", count=pictures.count(path))


def _first_names(path: Path) -> set[str]:
    try:
        with path.open("rb") as file:
            return {member.name for member in islice(archives.members(file), GUESSED_FROM)}
    except Damaged:
        return set()  # whoever reads it says what is wrong


# Tables ---------------------------------------------------------------------------------------------------------------


def _table(sample: str, encoding: str, suffix: str, header: bool | None, delimiter: str | None) -> Reading:
    if delimiter is None:
        delimiter = delimiter_of(sample, prefer="\t" if suffix in {".tsv", ".tab"} else ",", names=NAMES)
    first = parsed(sample, delimiter)
    if delimiter == "" and suffix not in {".csv", ".tsv", ".tab"} and header is None and not names_in(first[:1], NAMES):
        return Reading(format="txt", encoding=encoding)
    found = Reading(format="tsv" if delimiter == "\t" else "csv", encoding=encoding, delimiter=delimiter)
    return _with_columns(found, first, header)


def _with_columns(found: Reading, first: list[list[str]], header: bool | None) -> Reading:
    """The same with its columns, as the first rows of the table show them."""
    if not first:
        raise bad("The file has no rows.")
    if header is None:
        header = has_header(first, NAMES)
    body = first[1:] if header else first
    # Without a header, one row with too many cells makes no column.
    width = len(first[0]) if header else Counter(map(len, first)).most_common(1)[0][0]
    names = column_names(first[0] if header else [], width)
    known = {name.casefold(): name for name in reversed(names)} if header else {}
    return msgspec.structs.replace(
        found,
        header=header,
        columns=names,
        question=next((known[name] for name in QUESTION_NAMES if name in known), "") or _wordiest(names, body),
        id_column=next((known[name] for name in ID_NAMES if name in known), ""),
    )


def _wordiest(names: list[str], body: list[list[str]]) -> str:
    """The column with the longest texts that are no numbers; the first when there is nothing to go by."""

    def words(column: int) -> float:
        cells = [row[column] for row in body if column < len(row) and not is_number(row[column].strip())]
        return sum(min(len(cell), MAX_GUESSED_CELL) for cell in cells)

    return max(enumerate(names), key=lambda each: (words(each[0]), -each[0]))[1] if names else ""


# JSON lines -----------------------------------------------------------------------------------------------------------

NO_LINES = 'This is one JSON document. Write one object a line (JSON lines), such as {"question": "…"}.'


def _is_json(sample: str) -> bool:
    """Whether the first line is an object or a text in JSON."""
    first = next((line for line in lines_of(sample) if line.strip()), "")
    try:
        return isinstance(JSON.decode(first), dict | str)
    except NOT_JSON:
        return False


def _json_lines(sample: str, encoding: str) -> Reading:
    if sample.lstrip().startswith("["):
        raise bad(NO_LINES)
    names: dict[str, str] = {}  # of the fields, with the first text of each
    plain = 0
    for line in filter(str.strip, lines_of(sample)[:GUESSED_FROM]):
        try:
            item = JSON.decode(line)
        except NOT_JSON:
            continue
        plain += isinstance(item, str)
        for name, value in item.items() if isinstance(item, dict) else ():
            if len(name) <= MAX_COLUMN and name == shown(name) and (len(names) < SHOWN_COLUMNS or name in names):
                names[name] = names.get(name) or (value if isinstance(value, str) else "")
    if not names and not plain and sample.lstrip().startswith("{"):
        raise bad(NO_LINES)
    by_length = max(names, key=lambda name: len(names[name]) * (name not in ID_NAMES), default="")
    return Reading(
        format="jsonl",
        encoding=encoding,
        columns=list(names),
        question=next((name for name in QUESTION_NAMES if name in names), by_length),
        id_column=next((name for name in ID_NAMES if name in names), ""),
    )
