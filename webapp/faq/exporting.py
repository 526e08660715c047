"""Entries of a collection as files: CSV, TSV, XLSX and JSON lines, which imports read as what they were.

In CSV and TSV a text that a spreadsheet would run as a formula has an apostrophe before it; an import takes it off.
"""

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import IO

import msgspec
import xlsxwriter

from webapp.errors import InvalidInput
from webapp.faq.editing import Content
from webapp.faq.imports.columns import FIELDS, LISTS, as_cell
from webapp.faq.models import Collection, Entry
from webapp.formulas import harmless

PORTION = 500  # entries read at once
BOM = "\ufeff"  # without it Excel takes UTF-8 for something else
FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl",
}
MOST_IN_XLSX = 50_000  # entries; more would keep whoever asked waiting for too long
MAX_XLSX_CELL = 32_767  # characters; Excel holds no more


class Exported(msgspec.Struct):
    """An entry as a line of JSON: as `train-faq` reads it, and with its state where that is not live."""

    id: str
    answer_id: str
    question: str
    answer: str
    tags: list[str]
    phrasings: list[str]
    test_phrasings: list[str]
    state: str | msgspec.UnsetType = msgspec.UNSET


ENCODER = msgspec.json.Encoder()


def pieces(collection: Collection, form: str, *, drafts: bool) -> Iterator[bytes]:
    """The file, in pieces. form: one of FORMATS. drafts: whether they are among the entries.

    Raises InvalidInput on `format` before the first piece where the format cannot hold the entries.
    """
    portions = entries(collection, drafts=drafts)
    match form:
        case "jsonl":
            return (ENCODER.encode_lines(some) for some in portions)
        case "csv":
            return _as_table(portions, ",")
        case "tsv":
            return _as_table(portions, "\t")
        case "xlsx":
            return _as_workbook(portions)
    raise InvalidInput(f"`format` must be one of {', '.join(FORMATS)}.", field="format")


def live_entries(collection: Collection) -> Iterator[bytes]:
    """A line of JSON for each live entry, in the order of their ids; drafts are nobody's answer."""
    for some in entries(collection, drafts=False):
        for entry in some:
            yield ENCODER.encode(entry) + b"\n"


def entries(collection: Collection, *, drafts: bool) -> Iterator[list[Exported]]:
    """All entries in the order of their ids, some at a time: whatever changes meanwhile, each comes once."""
    found = Entry.objects.filter(collection=collection).order_by("external_id").prefetch_related("phrasings")
    if not drafts:
        found = found.filter(state=Entry.State.LIVE)
    after: dict[str, str] = {}
    while some := list(found.filter(**after)[:PORTION]):
        after = {"external_id__gt": some[-1].external_id}
        yield [_exported(entry) for entry in some]


def _exported(entry: Entry) -> Exported:
    content = Content.of(entry)
    return Exported(
        id=entry.external_id,
        answer_id=entry.answer_id,
        question=content.question,
        answer=content.answer,
        tags=list(content.tags),
        phrasings=list(content.phrasings),
        test_phrasings=list(content.test_phrasings),
        state=content.state if content.state != Entry.State.LIVE else msgspec.UNSET,
    )


def _cells(entry: Exported) -> list[str]:
    values = {name: getattr(entry, name) for name in FIELDS}
    values["state"] = entry.state or Entry.State.LIVE.value
    return [as_cell(values[name], LISTS[name]) if name in LISTS else values[name] for name in FIELDS]


def _as_table(portions: Iterator[list[Exported]], delimiter: str) -> Iterator[bytes]:
    yield (BOM + _rows([FIELDS], delimiter)).encode()
    for some in portions:
        yield _rows([[harmless(cell) for cell in _cells(entry)] for entry in some], delimiter).encode()


def _rows(table: Sequence[Sequence[str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(table)
    return text.getvalue()


def _as_workbook(portions: Iterator[list[Exported]]) -> Iterator[bytes]:
    """Made as a whole, on the disk, before its first piece."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed when its pieces have been read
    try:
        _write_workbook(file, portions)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return _read(file)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(2**16):
            yield piece


def _write_workbook(file: IO[bytes], portions: Iterator[list[Exported]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = xlsxwriter.Workbook(
            file,
            {
                "constant_memory": True,  # one row at a time
                "tmpdir": folder,
                # Cells are what they are: a text that looks like a formula is a text.
                "strings_to_formulas": False,
                "strings_to_numbers": False,
                "strings_to_urls": False,
            },
        )
        sheet = book.add_worksheet("Entries")
        sheet.set_column(FIELDS.index("question"), FIELDS.index("answer"), 60)
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, FIELDS, book.add_format({"bold": True}))
        try:
            for number, entry in enumerate(chain.from_iterable(portions), start=1):
                _write_row(sheet.write_string, number, entry)
        finally:
            book.close()


def _write_row(write: Callable[[int, int, str], object], number: int, entry: Exported) -> None:
    if number > MOST_IN_XLSX:
        raise InvalidInput(
            f"A workbook is made of {MOST_IN_XLSX:,} entries at most. Take CSV or JSON lines.", field="format"
        )
    for column, cell in enumerate(_cells(entry)):
        if len(cell) > MAX_XLSX_CELL:
            raise InvalidInput(
                f"The {FIELDS[column]} of the entry {entry.id!r} has {len(cell):,} characters, and a cell of a "
                f"workbook holds {MAX_XLSX_CELL:,}. Take CSV or JSON lines.",
                field="format",
            )
        if cell:
            write(number, column, cell)
