"""Questions out of tables, JSON lines and texts, however they were saved."""

import contextlib
import csv
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webapp.batch import detection, reading
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput


def stored(folder: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "upload"
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def read(path: Path, name: str, column: str = "", **known) -> list[InputRow]:
    found = detection.detect(path, name, **known)
    return list(reading.rows(path, found, reading.column_of(found, column)))


def questions(path: Path, name: str, column: str = "", **known) -> list[str]:
    rows = read(path, name, column, **known)
    assert [row.row for row in rows] == list(range(len(rows)))
    assert not any(row.error for row in rows)
    return [row.question for row in rows]


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_says_by_itself_how_it_is_delimited(tmp_path, delimiter):
    table = [["id", "question"], ["a", "How do I copy, or clone?"], ["b", "What; is | a\tclosure?"]]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(table)
    path = stored(tmp_path, text.getvalue())
    found = detection.detect(path, "questions.csv")
    assert (found.delimiter, found.header, found.columns, found.question) == (delimiter, True, table[0], "question")
    assert [(row.id, row.question) for row in read(path, "questions.csv")] == [tuple(row) for row in table[1:]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_an_encoding_is_recognised(tmp_path, encoding):
    text = "question,n\r\nWie lösche ich eine Größe?,1\r\n"
    assert questions(stored(tmp_path, text, encoding), "f.csv") == ["Wie lösche ich eine Größe?"]


def test_bytes_that_are_no_text_spoil_their_row_alone(tmp_path):
    path = stored(tmp_path, "question,n\nö,1\n".encode() * 1 + b"bad \xff here,2\ngood,3\n")
    path.write_bytes(path.read_bytes().replace(b"question", b"\xef\xbb\xbfquestion"))
    bad = read(path, "f.csv")[1]
    assert bad.error == "Line 3 holds bytes that are no text."
    assert bad.question == "bad \ufffd here"
    assert [row.question for row in read(path, "f.csv") if not row.error] == ["ö", "good"]


@pytest.mark.parametrize("name", ["table.csv", "lines.jsonl"])
def test_what_is_no_text_stands_in_no_name_of_a_column_and_in_no_preview(tmp_path, name):
    """Else neither the page nor PostgreSQL could hold them; Shift JIS, taken for Windows-1252, is full of it."""
    text = {
        "table.csv": ("質問,a\0b\n" + "どうやって配列をコピーしますか,\0\n" * 3).encode("shift_jis"),
        "lines.jsonl": b'{"a\\u0000b": "x", "question": "y\\u0000"}\n{"question": "\x8d"}\n',
    }[name]
    path = stored(tmp_path, text)
    found = detection.detect(path, name)
    for shown in [*found.columns, *(cell for row in reading.preview(path, found) for cell in row)]:
        assert "\0" not in shown
        shown.encode()


def test_one_column_needs_no_quotation_marks(tmp_path):
    text = "question\nHow do I copy, say, an array?\nWhat is it; really?\n"
    assert questions(stored(tmp_path, text), "f.csv") == ["How do I copy, say, an array?", "What is it; really?"]


def test_a_table_without_a_header_has_numbered_columns(tmp_path):
    path = stored(tmp_path, "1,How do I copy an array?\n2,What is a closure?\n")
    assert detection.detect(path, "f.csv").columns == ["Column 1", "Column 2"]
    assert questions(path, "f.csv") == ["How do I copy an array?", "What is a closure?"]
    assert questions(path, "f.csv", header=True) == ["What is a closure?"]


def test_a_header_of_unknown_names_is_told_from_what_stands_below(tmp_path):
    path = stored(tmp_path, "nr;frage\n1;Wie kopiere ich ein Array, ohne es zu ändern?\n2;Was ist ein Closure?\n")
    found = detection.detect(path, "f.csv")
    assert (found.header, found.question) == (True, "frage")


def test_cells_may_hold_line_ends_and_quotation_marks(tmp_path):
    path = stored(tmp_path, 'id,question\n1,"two\nlines, ""quoted"""\n2,"one"\n')
    assert questions(path, "f.csv") == ['two\nlines, "quoted"', "one"]


def test_the_preview_shows_the_first_rows_below_the_header(tmp_path):
    path = stored(tmp_path, "question,n\n" + "".join(f"{'q' * 300}{n},{n}\n" for n in range(50)))
    shown = reading.preview(path, detection.detect(path, "f.csv"))
    assert [row[1] for row in shown] == [str(n) for n in range(10)]
    assert {len(row[0]) for row in shown} == {200}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a,,", "has no question"),
        ("a,   ,", "has no question"),
        ("a," + "x" * 10_001 + ",", "has a question of 10,001 characters; 10,000 are the most that is read"),
        ("a,nul\0nul,", "holds a NUL character"),
        ("a,one, two, three", "has 4 cells and the table 3. Put texts with a delimiter in quotation marks"),
        ("x" * 201 + ",q,", "has an id of more than 200 characters"),
        ("twice,second,", "has the custom_id 'twice' of a row before it"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why_and_spoils_no_other(tmp_path, row, why):
    path = stored(tmp_path, f"custom_id,question,note\ntwice,first,\n{row}\nlast,last,\n")
    first, bad, last = read(path, "f.csv", header=True)
    assert bad.error == f"Line 3 {why}."
    assert (first.question, last.question, last.row, last.id) == ("first", "last", 2, "last")


def test_an_id_that_is_not_called_custom_id_may_come_twice(tmp_path):
    path = stored(tmp_path, "id,question\n7,one\n7,two\n")
    assert [(row.id, row.error) for row in read(path, "f.csv")] == [("7", ""), ("7", "")]


def test_empty_rows_count_only_before_others(tmp_path):
    path = stored(tmp_path, "question,n\none,1\n,\n\ntwo,2\n,\n,\n")
    assert [row.error for row in read(path, "f.csv")] == ["", "Line 3 has no question.", ""]


@pytest.mark.parametrize("tail", ["and on\n" * 50, "and on\n" * 300_000])
def test_a_quotation_mark_that_nobody_closes_is_named_by_its_line(tmp_path, tail):
    path = stored(tmp_path, f'question,n\none,1\n"two,2\n{tail}')
    with pytest.raises(InvalidInput, match=r"^Line 3: a quotation mark opens a cell there and none closes it\."):
        read(path, "f.csv", delimiter=",", header=True)


def test_a_row_whose_cells_are_long_and_many_is_refused(tmp_path):
    path = stored(tmp_path, 'question,n\none,1\n"' + '\n","'.join(["x" * 200_000] * 6) + '"\n')
    with pytest.raises(InvalidInput, match=r"^Line 3: a quotation mark"):
        read(path, "f.csv", delimiter=",", header=True)


def test_a_line_without_end_is_no_table(tmp_path):
    path = stored(tmp_path, "question,n\n" + "x" * 2_000_000)
    with pytest.raises(InvalidInput, match=r"^Line 2 has more than 1,048,576 characters"):
        read(path, "f.csv", delimiter=",")


def test_columns_are_found_by_name_or_number_and_else_named(tmp_path):
    path = stored(tmp_path, "nr,Frage,Notiz\n1,wie,was\n2,wo,wann\n")
    found = detection.detect(path, "f.csv", header=True)
    assert reading.column_of(found, "frage") == "Frage" == reading.column_of(found, "2")
    with pytest.raises(InvalidInput, match="There is no column 'question'") as caught:
        reading.column_of(found, "question")
    assert caught.value.field == "column"


def test_columns_of_one_name_are_told_apart(tmp_path):
    path = stored(tmp_path, "question,question,\nfirst,second,third\n")
    assert detection.detect(path, "f.csv").columns == ["question", "question (2)", "Column 3"]
    assert questions(path, "f.csv", "question (2)") == ["second"]


def test_columns_that_differ_in_their_capitals_are_told_apart(tmp_path):
    path = stored(tmp_path, "Question,question\nfirst,second\n")
    assert questions(path, "f.csv", "Question") == ["first"]
    assert questions(path, "f.csv", "question") == ["second"]


def test_an_encoding_that_somebody_knows_better_is_taken(tmp_path):
    path = stored(tmp_path, "question\nчто такое замыкание\n".encode("cp1251"))
    found = detection.detect(path, "f.csv", encoding="cp1251")
    assert reading.preview(path, found) == [["что такое замыкание"]]


# JSON lines -----------------------------------------------------------------------------------------------------------


def test_json_lines_are_objects_or_texts(tmp_path):
    lines = ['{"custom_id": "a", "question": "one"}', '"two"', "", '{"id": 7, "question": "three\\u2028"}']
    rows = read(stored(tmp_path, "\n".join(lines)), "f.jsonl")
    assert [(row.row, row.id, row.question) for row in rows] == [(0, "a", "one"), (1, "", "two"), (2, "7", "three")]


def test_json_lines_are_recognised_without_their_name(tmp_path):
    path = stored(tmp_path, '{"n": 1, "body": "How do I copy an array?"}\n')
    found = detection.detect(path, "upload")
    assert (found.format, found.question, found.columns) == ("jsonl", "body", ["n", "body"])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"question": ', "is no JSON: Input data was truncated"),
        ("[1]", 'must be a text, or an object such as {"question": "…"}'),
        ('{"frage": "x"}', "has no 'question'"),
        ('{"question": 7}', "must have a text as its 'question'"),
        ('{"question": ""}', "has no question"),
        ('{"question": "x", "custom_id": "twice"}', "has the custom_id 'twice' of a row before it"),
        ('{"question": "x", "custom_id": [1]}', "has an id that is neither a text nor a whole number"),
        ('{"question": "nul\\u0000"}', "holds a NUL character"),
        ("[" * 100_000, "is no JSON"),
        ('{"question": "' + "x" * 2_000_000 + '"}', "has more than 1,048,576 characters"),
    ],
)
def test_a_line_that_cannot_be_asked_says_why_and_spoils_no_other(tmp_path, line, why):
    good = '{"question": "%s", "custom_id": "%s"}\n'
    path = stored(tmp_path, good % ("first", "twice") + line + "\n" + good % ("last", "last"))
    first, bad, last = read(path, "f.jsonl", "question")
    assert bad.error.startswith(f"Line 2 {why}")
    assert (first.question, last.question, last.row) == ("first", "last", 2)


@pytest.mark.parametrize("text", ['[{"question": "x"}]', '{\n  "question": "x"\n}'])
def test_one_json_document_is_refused_with_the_remedy(tmp_path, text):
    with pytest.raises(InvalidInput, match="Write one object a line"):
        detection.detect(stored(tmp_path, text), "f.json")


# Texts and what is none -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["f.txt", "f"])
def test_a_text_has_a_question_a_line(tmp_path, name):
    path = stored(tmp_path, "How do I copy, say, an array?\r\n\r\nWhat is a closure?")
    assert questions(path, name) == ["How do I copy, say, an array?", "What is a closure?"]
    assert detection.detect(path, name).format == "txt"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "The file is empty."),
        (b"\xef\xbb\xbf \r\n", "The file is empty."),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "Save it as .xlsx"),
        (b"\x1f\x8b" + bytes(100), "Unpack it first"),
        (b"%PDF-1.7", "This is a PDF"),
        (bytes(range(256)), "This is no text"),
    ],
)
def test_what_holds_no_questions_is_refused_with_the_remedy(tmp_path, content, said):
    with pytest.raises(InvalidInput, match=said) as caught:
        detection.detect(stored(tmp_path, content), "questions.csv")
    assert caught.value.field == "file"


# All of them ----------------------------------------------------------------------------------------------------------

LETTERS = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t")
TEXTS = st.text(LETTERS, min_size=1, max_size=40).map(str.strip)


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=20), st.sampled_from(",;\t"))
@example(["=1+1", '"', "a\nb", "\ufeff", "'"], ",")
@settings(max_examples=60)
def test_whatever_is_written_as_csv_is_read_again(tmp_path_factory, texts, delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([["question", "n"], *([text, "1"] for text in texts)])
    path = stored(tmp_path_factory.mktemp("csv"), text.getvalue())
    assert questions(path, "f.csv", delimiter=delimiter) == texts


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=20), st.booleans())
@settings(max_examples=60)
def test_whatever_is_written_as_json_is_read_again(tmp_path_factory, texts, escaped):
    text = "".join(json.dumps({"question": text}, ensure_ascii=escaped) + "\n" for text in texts)
    assert questions(stored(tmp_path_factory.mktemp("json"), text), "f.jsonl") == texts


@given(st.binary(max_size=2000), st.sampled_from([".csv", ".tsv", ".txt", ".jsonl", ".xlsx", ".zip", ""]))
@settings(max_examples=100)
def test_whatever_is_sent_is_read_or_refused(tmp_path_factory, content, suffix):
    path = stored(tmp_path_factory.mktemp("any"), content)
    with contextlib.suppress(InvalidInput):
        found = detection.detect(path, f"f{suffix}")
        assert len(reading.preview(path, found)) <= 10
        rows = list(reading.rows(path, found, reading.column_of(found, "")))
        assert all(row.question or row.error for row in rows)


@pytest.mark.parametrize(("form", "count"), [("csv", 100_000), ("jsonl", 20_000), ("txt", 20_000)])
def test_memory_does_not_grow_with_the_file(tmp_path, form, count):
    lines = {
        "csv": lambda n: f"c{n},How do I copy array number {n}?\n",
        "jsonl": lambda n: f'{{"custom_id": "c{n}", "question": "How do I copy array number {n}?"}}\n',
        "txt": lambda n: f"How do I copy array number {n}?\n",
    }[form]
    path = tmp_path / "upload"
    with path.open("w") as file:
        file.write("custom_id,question\n" if form == "csv" else "")
        file.writelines(map(lines, range(count)))
    found = detection.detect(path, f"f.{form}")
    tracemalloc.start()
    found_rows = sum(1 for _ in reading.rows(path, found, reading.column_of(found, "")))
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found_rows == count
    assert most < 8_000_000
