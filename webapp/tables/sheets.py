"""Reads the first sheet of an Excel workbook (XLSX), one row at a time, as people see it there.

The libraries for it keep all texts of a workbook, or all of its cells, in memory. Here the texts wait in a temporary
file, and the XML passes through expat in pieces: without document types, so without entities, and with a bound on
everything that could grow.
"""

import os
import re
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from webapp.errors import InvalidInput
from webapp.registry.zips import Damaged
from webapp.tables import archives
from webapp.tables.archives import Member
from webapp.tables.markup import Listener, heard

MAX_MEMBERS = 10_000
# Bytes of the sheet, and of its texts: a million rows fit, and nobody waits long for a file that is nothing else.
MAX_UNPACKED = 600_000_000
MAX_PART = 10_000_000  # bytes of the small parts: what sheets and styles there are; and characters of all names
MAX_CELL = 40_000  # characters that are kept; Excel itself has no longer ones
MAX_COLUMNS = 500
MAX_ROW = 2**20  # characters
MAX_TEXTS = 10_000_000

WORKBOOK, RELATIONS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels"
TEXTS, STYLES = "xl/sharedStrings.xml", "xl/styles.xml"
# Number formats that Excel has without writing them down.
DATES, TIMES, BOTH, PERCENTS = {14, 15, 16, 17}, {18, 19, 20, 21, 45, 46, 47}, {22}, {9, 10}
ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")

Row = tuple[int, list[str]]  # its number in the sheet, from 1, and its cells


class Sheet:
    """The sheet that is read. name: as its tab has it."""

    def __init__(self, name: str, rows: Iterator[Row]) -> None:
        self.name = name
        self.rows = rows


@contextmanager
def opened(path: Path) -> Iterator[Sheet]:
    """The first sheet that is not hidden. Raises InvalidInput on `file` for no workbook, also while it is read."""
    try:
        with path.open("rb") as file, tempfile.TemporaryFile(buffering=0) as spool:
            parts = _parts(file)
            name, member = _first_sheet(file, parts)
            texts = _Texts(file, parts.get(TEXTS), spool)
            yield Sheet(name, _rows(file, member, texts, _Styles(file, parts)))
    except Damaged as error:
        raise _bad(f"The workbook is damaged: {error}. Save it again, or as CSV.") from error


def _parts(file: IO[bytes]) -> dict[str, Member]:
    """The members of the zip, by name."""
    parts: dict[str, Member] = {}
    letters = 0
    for number, member in enumerate(archives.members(file)):  # names may be the same
        letters += len(member.name)
        if number == MAX_MEMBERS or letters > MAX_PART:
            raise Damaged("it has too many parts")
        parts[member.name.removeprefix("/")] = member
    return parts


def _first_sheet(file: IO[bytes], parts: dict[str, Member]) -> tuple[str, Member]:
    targets: dict[str, str] = {}
    for tag, attributes in _tags(file, parts.get(RELATIONS)):
        if tag == "Relationship" and attributes.get("Type", "").endswith("/worksheet"):
            target = attributes.get("Target", "")
            targets[attributes.get("Id", "")] = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    for tag, attributes in _tags(file, parts.get(WORKBOOK)):
        if tag == "sheet" and attributes.get("state", "visible") == "visible":
            member = parts.get(targets.get(attributes.get("id", ""), ""))
            if member is not None:
                return attributes.get("name", ""), member
    raise _bad("The workbook has no sheet that shows. Put the questions on one, or save them as CSV.")


# XML in pieces --------------------------------------------------------------------------------------------------------


def _heard(listener: Listener, file: IO[bytes], member: Member) -> Iterator[None]:
    """Lets the listener hear the part, piece by piece. Raises Damaged."""
    if member.size > MAX_UNPACKED:
        raise Damaged(f"{member.name} has more than {MAX_UNPACKED // 10**9} GB")
    return heard(listener, archives.pieces(file, member), member.name)


class _Tags(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def opens(self, tag: str, attributes: dict[str, str]) -> None:
        self.found.append((tag, {_local(name): value for name, value in attributes.items()}))


def _tags(file: IO[bytes], member: Member | None) -> Iterator[tuple[str, dict[str, str]]]:
    """The opening tags of a small part, without their namespaces."""
    if member is None:
        return
    if member.size > MAX_PART:
        raise Damaged(f"{member.name} is too large")
    tags = _Tags()
    for _ in _heard(tags, file, member):
        yield from tags.found
        tags.found.clear()


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


# Texts ----------------------------------------------------------------------------------------------------------------


class _Texts(Listener):
    """The texts that cells name by number. They are read as far as somebody has asked, and wait in a file."""

    def __init__(self, file: IO[bytes], member: Member | None, spool: IO[bytes]) -> None:
        super().__init__()
        self._spool = spool.fileno()
        self._ends = array("Q", [0])  # where each ends in the spool
        self._written = 0
        self._waiting = bytearray()  # what is not written yet
        self._text: list[str] | None = None  # of the one that is being read
        self._length = 0
        self._kept = False  # what comes now belongs to it
        self._more = _heard(self, file, member) if member else iter(())

    def __getitem__(self, number: int) -> str:
        while number >= len(self._ends) - 1:
            try:
                next(self._more)
            except StopIteration:
                raise Damaged(f"there is no text {number}") from None
        start, end = self._ends[number], self._ends[number + 1]
        if end > self._written:
            self._write()
        return os.pread(self._spool, end - start, start).decode("utf-8", "surrogatepass")

    def opens(self, tag: str, _attributes: dict[str, str]) -> None:
        match tag:
            case "si":
                self._text, self._length = [], 0
            case "t":
                self._kept = True
            case "rPh":  # how it is spoken
                self._kept = False

    def closes(self, tag: str) -> None:
        match tag:
            case "t":
                self._kept = False
            case "si" if self._text is not None:
                if len(self._ends) > MAX_TEXTS:
                    raise Damaged(f"it has more than {MAX_TEXTS:,} texts")
                self._waiting += _unescaped("".join(self._text)).encode("utf-8", "surrogatepass")
                self._ends.append(self._written + len(self._waiting))
                self._text = None
                if len(self._waiting) > archives.PIECE:
                    self._write()

    def says(self, data: str) -> None:
        if self._kept and self._text is not None and self._length <= MAX_CELL:
            self._text.append(data)
            self._length += len(data)

    def _write(self) -> None:
        os.pwrite(self._spool, self._waiting, self._written)
        self._written += len(self._waiting)
        self._waiting.clear()


def _unescaped(text: str) -> str:
    """What XML cannot hold stands there as _x000D_."""
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


# Numbers --------------------------------------------------------------------------------------------------------------


class _Styles:
    """Which cells hold dates, times or percents: Excel stores all of them as numbers."""

    def __init__(self, file: IO[bytes], parts: dict[str, Member]) -> None:
        self._kinds: list[str] = []  # by the number that cells have as their style
        codes: dict[int, str] = {}
        within = False  # the formats of cells, not those of named styles
        for tag, attributes in _tags(file, parts.get(STYLES)):
            if tag == "numFmt" and (number := _number(attributes.get("numFmtId", ""))):
                codes[number] = attributes.get("formatCode", "")
            elif tag in {"cellXfs", "cellStyleXfs", "cellStyles", "dxfs"}:
                within = tag == "cellXfs"
            elif tag == "xf" and within:
                self._kinds.append(_kind(_number(attributes.get("numFmtId", "")), codes))
        self._since = datetime(1899, 12, 30)  # noqa: DTZ001  # dates of sheets have no zone
        for tag, attributes in _tags(file, parts.get(WORKBOOK)):
            if tag == "workbookPr" and attributes.get("date1904") in {"1", "true"}:
                self._since = datetime(1904, 1, 1)  # noqa: DTZ001  # as above

    def shown(self, text: str, style: str) -> str:
        """The number as its cell shows it, but for thousands separators and currencies."""
        try:
            number = float(text)
        except ValueError:
            return text
        kind = self._kinds[int(style)] if style.isdecimal() and len(style) < 9 and int(style) < len(self._kinds) else ""
        if kind == "%":
            return f"{number * 100:.10g}%"
        with suppress(OverflowError, ValueError):  # later than the year 9999, or no number
            if kind and number >= 0:
                return self._date(number, kind)
        return text if re.fullmatch(r"-?\d{1,15}", text) else f"{number:.15g}"

    def _date(self, number: float, kind: str) -> str:
        days, seconds = divmod(round(number * 86_400), 86_400)
        if days < 60 and self._since.year == 1899:
            days += 1  # Excel knows a 29 February 1900
        moment = self._since + timedelta(days=days, seconds=seconds)
        time = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
        if kind == "time":
            return time
        return f"{moment:%Y-%m-%d}" if kind == "date" else f"{moment:%Y-%m-%d} {time}"


def _number(text: str) -> int:
    """Of a number format; 0, that of plain numbers, for what is none."""
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def _kind(number: int, codes: dict[int, str]) -> str:
    """ "date", "time", "both", "%", or "" for any other number format."""
    if number not in codes:
        known = {"date": DATES, "time": TIMES, "both": BOTH, "%": PERCENTS}
        return next((kind for kind, numbers in known.items() if number in numbers), "")
    # Without what is written literally, and without colours, conditions and currencies; [h] counts hours.
    code = re.sub(r'"[^"]*"|\\.|_.|\*.|\[(?![hms]+\])[^\]]*\]', "", codes[number].casefold()).partition(";")[0]
    if "general" in code:
        return ""
    time = re.search("[hs]", code) is not None
    date = re.search("[yd]", code) is not None or ("m" in code and not time)
    if date and time:
        return "both"
    return "date" if date else "time" if time else "%" if "%" in code else ""


# Rows -----------------------------------------------------------------------------------------------------------------


Cell = tuple[str, str, str]  # its type, its style, and what stands in it: of a shared text its number
EMPTY: Cell = ("str", "", "")


class _Cells(Listener):
    """Gathers cells into rows while the sheet passes by. A text that many cells share is not looked up yet."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, list[Cell]]] = []  # complete
        self._number = 0
        self._row: list[Cell] | None = None
        self._column = 0
        self._type = self._style = ""
        self._text: list[str] | None = None
        self._length = 0  # of the cell
        self._row_length = 0
        self._kept = False

    def opens(self, tag: str, attributes: dict[str, str]) -> None:
        match tag:
            case "c" if self._row is not None:
                named = attributes.get("r")
                self._column = _column(named) if named else self._column + 1
                self._type, self._style = attributes.get("t", "n"), attributes.get("s", "")
                self._text, self._length = [], 0
            case "v" | "t":
                self._kept = True
            case "rPh":
                self._kept = False
            case "row":
                given = attributes.get("r", "")
                self._number = int(given) if given.isdecimal() and len(given) < 9 else self._number + 1
                self._row, self._column, self._row_length = [], 0, 0

    def says(self, data: str) -> None:
        if self._kept and self._text is not None and self._length <= MAX_CELL:
            self._text.append(data)
            self._length += len(data)
            self._row_length += len(data)
            _require_short(self._number, self._row_length)

    def closes(self, tag: str) -> None:
        match tag:
            case "v" | "t":
                self._kept = False
            case "c" if self._row is not None and self._text is not None:
                if self._text and 0 < self._column <= MAX_COLUMNS:
                    self._row.extend(EMPTY for _ in range(self._column - len(self._row)))
                    self._row[self._column - 1] = self._type, self._style, "".join(self._text)
                self._text = None
            case "row" if self._row is not None:
                self.rows.append((self._number, self._row))
                self._row = None


def _column(cell: str) -> int:
    """The number of the column in a cell's name, from 1: 28 for AB7."""
    column = 0
    for letter in cell[:4]:
        if not "A" <= letter <= "Z":
            break
        column = column * 26 + ord(letter) - 64
    return column


def _rows(file: IO[bytes], member: Member, texts: _Texts, styles: _Styles) -> Iterator[Row]:
    """The texts of one row at a time: a few bytes of the sheet may name a long one again and again."""
    cells = _Cells()
    for _ in _heard(cells, file, member):
        for number, row in cells.rows:
            values: list[str] = []
            length = 0
            for cell in row:
                values.append(_value(cell, texts, styles))
                length += len(values[-1])
                _require_short(number, length)
            yield number, values
        cells.rows.clear()


def _value(cell: Cell, texts: _Texts, styles: _Styles) -> str:
    kind, style, text = cell
    match kind:
        case "s":
            if not text.strip().isdecimal():
                raise Damaged(f"a cell names the text {text!r:.50}")
            return texts[int(text.strip()[:12])]
        case "n":
            return styles.shown(text.strip(), style)
        case "b":
            return "TRUE" if text.strip() in {"1", "true"} else "FALSE"
    return _unescaped(text)


def _require_short(number: int, length: int) -> None:
    """Raises InvalidInput for a row of so many characters."""
    if length > MAX_ROW:
        raise _bad(
            f"Row {number:,} of the sheet has more than {MAX_ROW:,} characters. Is this a table? Put one question in a "
            "cell."
        )


def _bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, field="file")
