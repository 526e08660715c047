"""Tells how an upload is to be read, by its content and name: format, encoding, delimiter, header and columns.

It looks at the beginning only. What it says is a guess that people can see and change before a batch is started.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from webapp.batch import archives, pictures, sheets
from webapp.batch.reading import JSON, NOT_JSON, ONE_COLUMN, SHOWN_COLUMNS, Reading, bad, is_empty, opened, shown
from webapp.registry.zips import Damaged

MAX_COLUMN = 200  # characters of a column's name
GUESSED_FROM = 200  # rows
MAX_GUESSED_CELL = 500  # characters of a cell that say what its column holds
SAMPLE = 2**18  # bytes of a text, or characters of a sheet, that delimiter and header are guessed from
DECODED = 2**23  # bytes that the encoding is guessed from
DELIMITERS = ",;\t|"

QUESTION_NAMES = ("question", "questions", "query", "text", "input", "prompt", "utterance", "sentence", "title", "q")
ID_NAMES = ("custom_id", "id")
CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13, 27})


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
    encoding = encoding or _encoding_of(start)
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
    sample = start[:SAMPLE]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _wide_encoding(sample):
        return ""
    junk = len(sample) - len(sample.translate(None, CONTROLS))
    return NO_FORMAT if junk > len(sample) / 20 else ""


def _encoding_of(start: bytes) -> str:
    """UTF-8 or UTF-16 where it is, else Windows-1252: what Excel saves as CSV in the West."""
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if wide := _wide_encoding(start[:SAMPLE]):
        return wide
    decoder = codecs.getincrementaldecoder("utf-8")()  # the last character may be cut
    try:
        for at in range(0, len(start), SAMPLE):
            decoder.decode(start[at : at + SAMPLE])
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _wide_encoding(sample: bytes) -> str:
    """UTF-16 without a mark at its beginning: every second byte of Western text is zero."""
    half = len(sample) // 2
    even, odd = (sample[first::2].count(0) for first in (0, 1))
    if half and odd > half * 0.4 and even < half * 0.05:
        return "utf-16-le"
    if half and even > half * 0.4 and odd < half * 0.05:
        return "utf-16-be"
    return ""


def _lines_of(sample: str) -> list[str]:
    """Its lines as files have them; str.splitlines knows more ends of a line."""
    return list(io.StringIO(sample, newline=""))


# Zip files ------------------------------------------------------------------------------------------------------------


def _packed(path: Path, header: bool | None) -> Reading:
    """A workbook, or a zip of pictures."""
    names = _first_names(path)
    if sheets.WORKBOOK in names:
        with sheets.opened(path) as sheet:
            return _with_columns(Reading(format="xlsx", sheet=sheet.name), _first_rows(sheet.rows), header)
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


def _first_rows(rows: Iterator[sheets.Row]) -> list[list[str]]:
    """Those that are not empty, as far as the first so many rows and characters of a sheet go; at least one."""
    first: list[list[str]] = []
    length = 0
    for _number, row in islice(rows, GUESSED_FROM):
        if is_empty(row):
            continue
        first.append([cell[:MAX_GUESSED_CELL] for cell in row])
        length += sum(map(len, first[-1]))
        if length > SAMPLE:
            break
    return first


def _table(sample: str, encoding: str, suffix: str, header: bool | None, delimiter: str | None) -> Reading:
    if delimiter is None:
        delimiter = _delimiter_of(sample, prefer="\t" if suffix in {".tsv", ".tab"} else ",")
    first = _parsed(sample, delimiter)
    if delimiter == "" and suffix not in {".csv", ".tsv", ".tab"} and header is None and not _names_in(first[:1]):
        return Reading(format="txt", encoding=encoding)
    found = Reading(format="tsv" if delimiter == "\t" else "csv", encoding=encoding, delimiter=delimiter)
    return _with_columns(found, first, header)


def _with_columns(found: Reading, first: list[list[str]], header: bool | None) -> Reading:
    """The same with its columns, as the first rows of the table show them."""
    if not first:
        raise bad("The file has no rows.")
    if header is None:
        header = _has_header(first)
    body = first[1:] if header else first
    # Without a header, one row with too many cells makes no column.
    width = len(first[0]) if header else Counter(map(len, first)).most_common(1)[0][0]
    names = _column_names(first[0] if header else [], width)
    known = {name.casefold(): name for name in reversed(names)} if header else {}
    return msgspec.structs.replace(
        found,
        header=header,
        columns=names,
        question=next((known[name] for name in QUESTION_NAMES if name in known), "") or _wordiest(names, body),
        id_column=next((known[name] for name in ID_NAMES if name in known), ""),
    )


def _delimiter_of(sample: str, prefer: str) -> str:
    """The delimiter by which nearly all lines have the same number of cells; "" when there is none."""
    best, best_share = "", 0.0
    for delimiter in prefer + DELIMITERS.replace(prefer, ""):
        first = _parsed(sample, delimiter)
        if not first:
            continue
        if len(first[0]) > 1 and _names_in(first[:1]):
            return delimiter
        counts = Counter(map(len, first))
        cells, lines = counts.most_common(1)[0]
        share = lines / counts.total()
        if cells > 1 and share >= 0.8 and share > best_share:
            best, best_share = delimiter, share
    return best


def _parsed(sample: str, delimiter: str) -> list[list[str]]:
    """The first rows; the last of the sample is cut, unless it is the only one."""
    lines = _lines_of(sample)
    whole = lines[:-1] if len(sample) == SAMPLE and len(lines) > 1 else lines
    try:
        table = csv.reader(whole, delimiter=delimiter or ONE_COLUMN)
        return list(islice((row for row in table if not is_empty(row)), GUESSED_FROM))
    except csv.Error:
        return []


def _names_in(first: list[list[str]]) -> bool:
    """Whether the first row holds a name that such columns have."""
    return any(cell.strip().casefold() in {*QUESTION_NAMES, *ID_NAMES} for row in first for cell in row)


def _has_header(first: list[list[str]]) -> bool:
    """Whether the first row names the columns: by a name that such columns have, or because it looks like none of the
    others.
    """
    head, body = first[0], first[1:]
    if _names_in(first[:1]):
        return True
    cells = [cell.strip() for cell in head]
    if not body or not all(cells) or len({cell.casefold() for cell in cells}) < len(cells):
        return False
    if any(len(cell) > 60 or cell.endswith(("?", ".", "!")) or _is_number(cell) for cell in cells):
        return False
    for column, cell in enumerate(cells):
        below = [row[column].strip() for row in body if column < len(row) and row[column].strip()]
        if below and (all(map(_is_number, below)) or sum(map(len, below)) / len(below) > 2 * len(cell)):
            return True
    return False


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,:/\s%-]*\d", cell) is not None


def _column_names(head: list[str], width: int) -> list[str]:
    """One name for each column, each another."""
    names: list[str] = []
    for number in range(1, width + 1):
        name = shown(" ".join(head[number - 1].split())[:MAX_COLUMN]) if number <= len(head) else ""
        name = name or f"Column {number}"
        if name in names:
            name = f"{name[: MAX_COLUMN - 10]} ({number})"
        names.append(name)
    return names


def _wordiest(names: list[str], body: list[list[str]]) -> str:
    """The column with the longest texts that are no numbers; the first when there is nothing to go by."""

    def words(column: int) -> float:
        cells = [row[column] for row in body if column < len(row) and not _is_number(row[column].strip())]
        return sum(min(len(cell), MAX_GUESSED_CELL) for cell in cells)

    return max(enumerate(names), key=lambda each: (words(each[0]), -each[0]))[1] if names else ""


# JSON lines -----------------------------------------------------------------------------------------------------------

NO_LINES = 'This is one JSON document. Write one object a line (JSON lines), such as {"question": "…"}.'


def _is_json(sample: str) -> bool:
    """Whether the first line is an object or a text in JSON."""
    first = next((line for line in _lines_of(sample) if line.strip()), "")
    try:
        return isinstance(JSON.decode(first), dict | str)
    except NOT_JSON:
        return False


def _json_lines(sample: str, encoding: str) -> Reading:
    if sample.lstrip().startswith("["):
        raise bad(NO_LINES)
    names: dict[str, str] = {}  # of the fields, with the first text of each
    plain = 0
    for line in filter(str.strip, _lines_of(sample)[:GUESSED_FROM]):
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
