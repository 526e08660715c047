"""Questions out of Excel workbooks, as people see them there; and workbooks that mean harm."""

import contextlib
import datetime
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.batch import detection, reading
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput
from webapp.tables import sheets

TABLE = [["id", "question"], [7, "Größe <b>&amp;</b>?"], [8, "two\nlines"]]


def read(path: Path, column: str = "") -> list[InputRow]:
    found = detection.detect(path, "upload.xlsx")
    return list(reading.rows(path, found, reading.column_of(found, column)))


def cells(path: Path) -> list[tuple[int, list[str]]]:
    with sheets.opened(path) as sheet:
        return list(sheet.rows)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "upload"


def written(path: Path, table: list[list[object]] = TABLE, **options: object) -> Path:
    """By XlsxWriter; in_memory and constant_memory make different files of it."""
    book = xlsxwriter.Workbook(str(path), options)
    sheet = book.add_worksheet("Fragen")
    for number, row in enumerate(table):
        sheet.write_row(number, 0, row)
    book.close()
    return path


@pytest.mark.parametrize("constant_memory", [False, True])
def test_a_workbook_is_read_however_its_texts_are_kept(path, constant_memory):
    rows = read(written(path, constant_memory=constant_memory))
    assert [(row.row, row.id, row.question) for row in rows] == [
        (0, "7", "Größe <b>&amp;</b>?"),
        (1, "8", "two\nlines"),
    ]
    found = detection.detect(path, "upload")
    assert (found.format, found.sheet, found.columns, found.question) == (
        "xlsx",
        "Fragen",
        ["id", "question"],
        "question",
    )
    assert reading.preview(path, found) == [["7", "Größe <b>&amp;</b>?"], ["8", "two\nlines"]]


def test_cells_read_as_people_see_them(path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([1, 1.0, 0.1 + 0.2, 1e21, -5, True, None, "  text "])
    moment = datetime.datetime(2026, 1, 31, 14, 5)  # noqa: DTZ001  # dates of sheets have no zone
    sheet.append([moment, moment.date(), moment.time(), 0.25, "=1+1"])
    sheet["D2"].number_format = "0%"
    book.save(path)
    assert cells(path) == [
        (1, ["1", "1", "0.3", "1e+21", "-5", "TRUE", "", "  text "]),
        (2, ["2026-01-31 14:05", "2026-01-31", "14:05", "25%"]),
    ]


def test_a_formula_gives_its_value(path):
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_formula("A1", '="How "&"so?"', value="How so?")
    sheet.write_formula("A2", "=6*7", value=42)
    book.close()
    assert cells(path) == [(1, ["How so?"]), (2, ["42"])]


def test_rich_and_spoken_texts_are_their_words(path):
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_rich_string("A1", "How ", book.add_format({"bold": True}), "bold", " is it?")
    book.close()
    assert cells(path) == [(1, ["How bold is it?"])]


def test_the_first_sheet_that_shows_is_read(path):
    book = openpyxl.Workbook()
    book.active.append(["hidden"])
    book.active.sheet_state = "hidden"
    book.create_sheet("Second").append(["shown"])
    book.save(path)
    assert cells(path) == [(1, ["shown"])]


def test_gaps_keep_columns_and_rows_in_their_place(path):
    book = openpyxl.Workbook()
    book.active["C3"], book.active["A5"] = "c", "a"
    book.save(path)
    assert [row for row in cells(path) if any(row[1])] == [(3, ["", "", "c"]), (5, ["a"])]


def test_rows_that_are_not_there_are_no_rows(path):
    rows = read(written(path, [[], ["question", "n"], ["one", 1], [], ["two", 2], []]))
    assert [(row.question, row.error) for row in rows] == [("one", ""), ("two", "")]


@pytest.mark.parametrize("name", ["word/document.xml", "mimetype", "xl/workbook.bin"])
def test_other_documents_are_refused_with_the_remedy(path, name):
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("[Content_Types].xml", "<x/>")
        packed.writestr(name, "x")
    with pytest.raises(InvalidInput, match=r"Save the questions as \.xlsx or CSV"):
        detection.detect(path, "upload.xlsx")


# Those that mean harm -------------------------------------------------------------------------------------------------

NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def forged(path: Path, **parts: str | bytes) -> Path:
    """A workbook in which these parts are others: sheet, texts or styles."""
    whole = written(path.with_name("whole"))
    names = {"sheet": "xl/worksheets/sheet1.xml", "texts": "xl/sharedStrings.xml", "styles": "xl/styles.xml"}
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            other = next((content for part, content in parts.items() if names[part] == name), None)
            new.writestr(name, old.read(name) if other is None else other)
    return path


def sheet_of(rows: str) -> str:
    return f"<worksheet {NAMESPACE}><sheetData>{rows}</sheetData></worksheet>"


def test_entities_are_refused_before_they_grow(path):
    laughs = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {each} "{f"&{before};" * 10}">' for before, each in zip("abcdefgh", "bcdefghi", strict=True)
    )
    forged(path, texts=f"{laughs}]><sst {NAMESPACE}><si><t>&i;</t></si></sst>")
    with pytest.raises(InvalidInput, match="it declares a document type"):
        read(path)


def test_a_sheet_that_unpacks_to_gigabytes_is_refused(path, monkeypatch):
    monkeypatch.setattr(sheets, "MAX_UNPACKED", 2_000_000)
    forged(path, sheet=sheet_of(" " * 3_000_000))
    with pytest.raises(InvalidInput, match="has more than"):
        read(path)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("sheet", sheet_of('<row><c t="inlineStr"><is><t>' + "x" * 30_000_000 + "</t></is></c></row>")),
        ("texts", f"<sst {NAMESPACE}><si><t>" + "x" * 30_000_000 + "</t></si></sst>"),
        ("sheet", sheet_of("<row>" + '<c r="A1"><v>1</v></c>' * 40_000 + "</row>")),
        ("sheet", sheet_of('<row a="' + "x" * 30_000_000 + '"/>')),
        ("sheet", sheet_of("<row>" + ('<c t="inlineStr"><is><t>' + "x" * 39_000 + "</t></is></c>") * 400 + "</row>")),
    ],
    ids=["a cell", "a text", "a row", "an attribute", "long cells"],
)
def test_nothing_in_it_grows_in_memory(path, part, content):
    forged(path, **{part: content})
    tracemalloc.start()
    with contextlib.suppress(InvalidInput):  # a tag without end, for one
        assert len(read(path, "1")) < 3
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000


def naming_a_text(cells: int, rows: int) -> dict[str, str]:
    """The parts of a workbook each of whose cells names one text of 20,000 characters."""
    return {
        "texts": f"<sst {NAMESPACE}><si><t>" + "w" * 20_000 + "</t></si></sst>",
        "sheet": sheet_of(("<row>" + '<c t="s"><v>0</v></c>' * cells + "</row>") * rows),
    }


def test_a_text_that_rows_name_again_and_again_is_not_in_memory_as_often(path):
    forged(path, **naming_a_text(20, 300))
    tracemalloc.start()
    found = detection.detect(path, "upload.xlsx")
    shown = reading.preview(path, found)
    count = sum(1 for _ in reading.rows(path, found, "Column 1"))
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found.columns, len(shown), count) == ([f"Column {n}" for n in range(1, 21)], 10, 300)
    assert most < 8_000_000


def test_a_row_of_too_many_characters_is_refused_by_its_number(path):
    forged(path, **naming_a_text(500, 8))
    with pytest.raises(InvalidInput, match="Row 1 of the sheet has more than 1,048,576 characters") as refused:
        detection.detect(path, "upload.xlsx")
    assert refused.value.field == "file"


def test_a_workbook_of_many_parts_of_one_name_is_not_read_to_its_end(path):
    written(path)
    with zipfile.ZipFile(path, "a") as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the names
        for _ in range(sheets.MAX_MEMBERS):
            packed.writestr("a", b"")
    with pytest.raises(InvalidInput, match="it has too many parts"):
        cells(path)


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("sheet", sheet_of('<row><c t="s"><v>99</v></c></row>'), "there is no text 99"),
        ("sheet", sheet_of('<row><c t="s"><v>-1</v></c></row>'), "a cell names the text"),
        ("sheet", "<worksheet><sheetData><row>", "no element found"),
        ("sheet", "<worksheet>&x;", "undefined entity"),
        ("sheet", "<a>" * 1000, "more than 100 tags within each other"),
        ("sheet", '<?xml version="1.0" encoding="nonsense"?><worksheet/>', "unknown encoding"),
    ],
)
def test_a_damaged_workbook_is_refused(path, part, content, said):
    forged(path, **{part: content})
    with pytest.raises(InvalidInput, match=f"The workbook is damaged.*{said}"):
        cells(path)


def test_a_number_format_of_endless_digits_is_none(path):
    """Python reads no number of so many digits."""
    number = "9" * 5_000
    forged(
        path,
        styles=f'<styleSheet {NAMESPACE}><numFmts><numFmt numFmtId="{number}" formatCode="d"/></numFmts>'
        f'<cellXfs><xf numFmtId="{number}"/></cellXfs></styleSheet>',
        sheet=sheet_of('<row><c s="0"><v>1</v></c></row>'),
    )
    assert cells(path) == [(1, ["1"])]


@given(st.integers(0, 5_000), st.text('<>/&;=cvrst 0123456789.-eE"A', max_size=30))
@settings(max_examples=60)
def test_a_sheet_with_other_letters_in_it_is_read_or_refused(tmp_path_factory, at, noise):
    path = tmp_path_factory.mktemp("sheet") / "upload"
    with zipfile.ZipFile(written(path.with_name("plain"), TABLE * 3)) as whole:
        sheet = whole.read("xl/worksheets/sheet1.xml").decode()
    at %= len(sheet)
    forged(path, sheet=sheet[:at] + noise + sheet[at + len(noise) :])
    with contextlib.suppress(InvalidInput):
        assert all(number >= 0 for number, _cells in cells(path))


def test_a_cut_workbook_is_refused(path):
    written(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match="its end is missing"):
        detection.detect(path, "upload.xlsx")


def test_memory_does_not_grow_with_the_workbook(path):
    written(path, [["question"], *([f"How do I copy array number {n}?"] for n in range(20_000))])
    found = detection.detect(path, "upload.xlsx")
    tracemalloc.start()
    count = sum(1 for _ in reading.rows(path, found, "question"))
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert most < 3_000_000
