"""Texts in pieces: their lines, the cells of their rows, and JSON, with a bound on everything that could grow.

What is wrong with the whole file is an InvalidInput that names the line and what to do.
"""

import codecs
import csv
import re
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import dropwhile, islice
from pathlib import Path
from typing import IO, Any

import msgspec

from webapp.errors import InvalidInput

MAX_LINE = 2**20  # characters
ONE_COLUMN = "\x1f"  # a delimiter that stands in no text: the whole line is one cell
NO_TEXT = re.compile("[\\0\ud800-\udfff]")  # what no database keeps, and bytes that were no text

JSON: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeEncodeError)

# A long cell is a row that cannot be read, not a file that cannot be. Lines and runaway quotes have their limit.
csv.field_size_limit(MAX_LINE)


def bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, field="file")


def shown(text: str) -> str:
    """The text as a page and the database can hold it: of what is none, a mark stands in its place."""
    return NO_TEXT.sub("\ufffd", text)


def _has_byte_order(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[IO[str]]:
    """The text, with its line ends. A byte that is none becomes half a surrogate pair, which spoils one row."""
    errors = "replace" if encoding.startswith("utf-16") else "surrogateescape"
    if encoding == "utf-16" and not _has_byte_order(path):  # which Python would not read
        encoding = "utf-16-le"
    with path.open(encoding=encoding, errors=errors, newline="") as text:
        yield text


def lines(text: IO[str]) -> Iterator[str]:
    """All lines. Of one that is too long only the beginning, one character over MAX_LINE."""
    while line := text.readline(MAX_LINE + 1):
        yield line
        if len(line) > MAX_LINE and line[-1] not in "\r\n":
            while (rest := text.readline(MAX_LINE)) and rest[-1] not in "\r\n":
                pass


# Tables ---------------------------------------------------------------------------------------------------------------


def body(cells: Iterator[tuple[int, list[str]]], header: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows from the first that is not empty, or from the one below it where that is the header."""
    rows = dropwhile(lambda each: is_empty(each[1]), cells)
    return islice(rows, int(header), None)


def is_empty(row: list[str]) -> bool:
    """Whether no cell holds anything but spaces."""
    return not any(map(str.strip, row))


def csv_cells(text: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    ended = False
    length = 0  # of the row so far, which may have several lines

    def watched() -> Iterator[str]:
        nonlocal ended, length
        for text_line in lines(text):
            if len(text_line) > MAX_LINE:
                raise bad(
                    f"Line {table.line_num + 1} has more than {MAX_LINE:,} characters. Is this a table? Each row must "
                    "stand in a line of its own."
                )
            length += len(text_line)
            if length > MAX_LINE:
                raise bad(_unclosed(line))
            yield text_line
        ended = True

    table = csv.reader(watched(), delimiter=delimiter)
    line = 1
    try:
        for row in table:
            if ended and table.line_num > line:
                # Everything from there on was taken for one cell; asking the rows before would look like success.
                raise bad(_unclosed(line))
            if row:
                yield line, row
            line, length = table.line_num + 1, 0
    except csv.Error as error:
        raise bad(
            _unclosed(line) if "field limit" in str(error) else f"Line {line} cannot be read: {error}."
        ) from error


def _unclosed(line: int) -> str:
    return (
        f"Line {line}: a quotation mark opens a cell there and none closes it. Close it, or write it twice where it "
        "belongs to the text."
    )


# Repetitions ----------------------------------------------------------------------------------------------------------


class Seen:
    """Which texts have come before, in 16 to 32 bytes each: only their hashes are kept.

    Python seeds those anew in every process, so nobody can make two texts meet; of a million, two do by chance once in
    thirty million files.
    """

    def __init__(self) -> None:
        self._count = 0
        self._slots = array("q", [0]) * 2**10

    def add(self, text: str) -> bool:
        """False when it has come before."""
        if 2 * self._count >= len(self._slots):
            self._grow()
        if not self._put(self._slots, hash(text) or 1):
            return False
        self._count += 1
        return True

    @staticmethod
    def _put(slots: "array[int]", value: int) -> bool:
        mask = len(slots) - 1
        place = value & mask
        while slots[place]:
            if slots[place] == value:
                return False
            place = (place + 1) & mask
        slots[place] = value
        return True

    def _grow(self) -> None:
        slots = array("q", [0]) * (2 * len(self._slots))
        for value in self._slots:
            if value:
                self._put(slots, value)
        self._slots = slots
