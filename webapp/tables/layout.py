"""Tells how a table or text is to be read, by its beginning: encoding, delimiter, header and names of the columns.

names: those, in small letters, by which whoever reads the table would know a column.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice

from webapp.tables import sheets
from webapp.tables.texts import ONE_COLUMN, is_empty, shown

MAX_COLUMN = 200  # characters of a column's name
GUESSED_FROM = 200  # rows
MAX_GUESSED_CELL = 500  # characters of a cell that say what its column holds
SAMPLE = 2**18  # bytes of a text, or characters of a sheet, that delimiter and header are guessed from
DECODED = 2**23  # bytes that the encoding is guessed from
DELIMITERS = ",;\t|"
CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13, 27})


# Encodings ------------------------------------------------------------------------------------------------------------


def is_binary(start: bytes) -> bool:
    """Whether a file that begins so is no text."""
    sample = start[:SAMPLE]
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _wide_encoding(sample):
        return False
    junk = len(sample) - len(sample.translate(None, CONTROLS))
    return junk > len(sample) / 20


def encoding_of(start: bytes) -> str:
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


def lines_of(sample: str) -> list[str]:
    """Its lines as files have them; str.splitlines knows more ends of a line."""
    return list(io.StringIO(sample, newline=""))


# Tables ---------------------------------------------------------------------------------------------------------------


def first_rows(rows: Iterator[sheets.Row]) -> list[list[str]]:
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


def delimiter_of(sample: str, prefer: str, names: Collection[str]) -> str:
    """The delimiter by which nearly all lines have the same number of cells; "" when there is none."""
    best, best_share = "", 0.0
    for delimiter in prefer + DELIMITERS.replace(prefer, ""):
        first = parsed(sample, delimiter)
        if not first:
            continue
        if len(first[0]) > 1 and names_in(first[:1], names):
            return delimiter
        counts = Counter(map(len, first))
        cells, lines = counts.most_common(1)[0]
        share = lines / counts.total()
        if cells > 1 and share >= 0.8 and share > best_share:
            best, best_share = delimiter, share
    return best


def parsed(sample: str, delimiter: str) -> list[list[str]]:
    """The first rows; the last of the sample is cut, unless it is the only one."""
    lines = lines_of(sample)
    whole = lines[:-1] if len(sample) == SAMPLE and len(lines) > 1 else lines
    try:
        table = csv.reader(whole, delimiter=delimiter or ONE_COLUMN)
        return list(islice((row for row in table if not is_empty(row)), GUESSED_FROM))
    except csv.Error:
        return []


def names_in(first: list[list[str]], names: Collection[str]) -> bool:
    """Whether the first row holds one of the names."""
    return any(cell.strip().casefold() in names for row in first for cell in row)


def has_header(first: list[list[str]], names: Collection[str]) -> bool:
    """Whether the first row names the columns: by one of the names, or because it looks like none of the others."""
    head, body = first[0], first[1:]
    if names_in(first[:1], names):
        return True
    cells = [cell.strip() for cell in head]
    if not body or not all(cells) or len({cell.casefold() for cell in cells}) < len(cells):
        return False
    if any(len(cell) > 60 or cell.endswith(("?", ".", "!")) or is_number(cell) for cell in cells):
        return False
    for column, cell in enumerate(cells):
        below = [row[column].strip() for row in body if column < len(row) and row[column].strip()]
        if below and (all(map(is_number, below)) or sum(map(len, below)) / len(below) > 2 * len(cell)):
            return True
    return False


def is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.,:/\s%-]*\d", cell) is not None


def column_names(head: list[str], width: int) -> list[str]:
    """One name for each column, each another."""
    names: list[str] = []
    for number in range(1, width + 1):
        name = shown(" ".join(head[number - 1].split())[:MAX_COLUMN]) if number <= len(head) else ""
        name = name or f"Column {number}"
        if name in names:
            name = f"{name[: MAX_COLUMN - 10]} ({number})"
        names.append(name)
    return names
