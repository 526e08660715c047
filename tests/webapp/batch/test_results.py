"""What came of a job, as JSON lines, CSV and workbooks: every row once, in order, and nothing in them that runs."""

import csv
import io
import json
import os
import shutil
import time
import tracemalloc
import uuid

import openpyxl
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webapp import queues
from webapp.batch import detection, exports, files, reading, results
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import Answer, ResultRow
from webapp.errors import Conflict, FilesError, InvalidInput, NotFound, Unavailable


@pytest.fixture
def make_job(owner):
    """A job that has ended with these rows, `size` in a chunk; `left` chunks after them were never done."""

    def make(rows: list[ResultRow], *, size: int = 2, left: int = 0, **fields: object) -> Job:
        ended = {"state": "completed", "ended_at": timezone.now()}
        about = {"kind": "faq", "name": "Fragen.csv", "format": "csv", "model": "faq-javascript", "top_k": 2}
        job = Job.objects.create(owner=owner, **{**about, **ended, **fields})
        files.folder(job).mkdir(parents=True)
        for number, first in enumerate(range(0, len(rows), size)):
            part = rows[first : first + size]
            failed = sum(bool(row.error) for row in part)
            Chunk.objects.create(
                job=job,
                number=number,
                first_row=first,
                rows=len(part),
                state="done",
                completed=len(part) - failed,
                failed=failed,
                result=files.write_result(job, number, uuid.uuid4(), part),
            )
        for number in range(left):
            Chunk.objects.create(job=job, number=1000 + number, first_row=1000, rows=1)
        return job

    return make


def answered(row: int, question: str = "How?", *best: float, **fields: object) -> ResultRow:
    answers = [Answer(f"js-{number}", f"Entry {number}", each) for number, each in enumerate(best or (0.75, 0.5), 1)]
    return ResultRow(row, question=question, version="3", answers=answers, **fields)


ROWS = [answered(0, id="a"), ResultRow(1, id="b", question="", error="Line 3 has no question."), answered(2, "Größe?")]


def read_csv(job: Job, which: results.Which = "results") -> list[dict[str, str]]:
    text = b"".join(results.as_csv(job, which)).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_jsonl(job: Job, which: results.Which = "results") -> list[dict[str, object]]:
    return [json.loads(line) for line in b"".join(results.jsonl(job, which)).splitlines()]


# What stands in them --------------------------------------------------------------------------------------------------


def test_json_lines_hold_every_row_once_and_in_order(make_job):
    first, bad, last = read_jsonl(make_job(ROWS))
    assert first == {
        "row": 1,
        "id": "a",
        "question": "How?",
        "version": "3",
        "answers": [
            {"id": "js-1", "label": "Entry 1", "probability": 0.75},
            {"id": "js-2", "label": "Entry 2", "probability": 0.5},
        ],
        "error": None,
    }
    assert (bad["row"], bad["answers"], bad["error"]) == (2, [], "Line 3 has no question.")
    assert (last["row"], last["question"]) == (3, "Größe?")


def test_a_table_has_a_column_for_each_answer(make_job):
    job = make_job(ROWS, top_k=3)
    assert list(read_csv(job)[0].items()) == [
        ("row", "1"),
        ("id", "a"),
        ("question", "How?"),
        ("answer_1_id", "js-1"),
        ("answer_1", "Entry 1"),
        ("probability_1", "0.75"),
        ("answer_2_id", "js-2"),
        ("answer_2", "Entry 2"),
        ("probability_2", "0.5"),
        ("answer_3_id", ""),
        ("answer_3", ""),
        ("probability_3", ""),
        ("version", "3"),
        ("error", ""),
    ]
    assert [row["error"] for row in read_csv(job)] == ["", "Line 3 has no question.", ""]
    assert b"".join(results.as_csv(job, "results")).startswith(b"\xef\xbb\xbfrow,id,question,"), (
        "so that Excel sees UTF-8"
    )


def test_pictures_are_named_by_their_file(make_job):
    job = make_job([ResultRow(0, name="dogs/1.jpg", answers=[Answer("n1", "Samoyed", 0.9)])], kind="image", top_k=1)
    assert read_csv(job)[0]["file"] == read_jsonl(job)[0]["file"] == "dogs/1.jpg"


def test_the_errors_hold_only_what_failed(make_job):
    job = make_job(ROWS)
    assert read_csv(job, "errors") == [
        {"row": "2", "id": "b", "question": "", "version": "", "error": "Line 3 has no question."}
    ]
    assert [row["row"] for row in read_jsonl(job, "errors")] == [2]


def test_a_job_that_ended_early_has_the_rows_that_were_scored(make_job):
    job = make_job(ROWS, left=2, state="cancelled")
    assert [row["row"] for row in read_jsonl(job)] == [1, 2, 3]
    assert results.count(job, "results") == 3


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_no_cell_is_run_as_a_formula(make_job, start):
    evil = f"{start}cmd|' /C calc'!A0"
    job = make_job([answered(0, evil, id=evil)])
    row = read_csv(job)[0]
    assert row["question"] == row["id"] == f"'{evil}"
    assert read_jsonl(job)[0]["question"] == evil, "no spreadsheet opens it"
    exports.make(job, "results")
    cell = openpyxl.load_workbook(exports.xlsx(job, "results"))["Results"]["C2"]
    assert cell.data_type == "s"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30).map(str.strip).filter(bool),
        min_size=1,
        max_size=10,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_questions_come_back_as_they_were_sent(make_job, tmp_path_factory, texts):
    """From CSV, through rows and results, to CSV; but for the apostrophe before what looks like a formula."""
    path = tmp_path_factory.mktemp("trip") / "upload"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question", "n"], *([text, 1] for text in texts)])
    found = detection.detect(path, "f.csv", delimiter=",")
    job = make_job([ResultRow(row.row, row.id, row.question) for row in reading.rows(path, found, "question")])
    back = [row["question"] for row in read_csv(job)]
    assert [cell if cell in texts else cell[1:] for cell in back] == texts


def test_memory_does_not_grow_with_the_results(make_job):
    job = make_job([answered(number, "x" * 100) for number in range(4_000)], size=200)
    tracemalloc.start()
    for pieces in (results.jsonl, results.as_csv):
        assert sum(map(len, pieces(job, "results"))) > 400_000
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


# Downloads ------------------------------------------------------------------------------------------------------------


def content(answer) -> bytes:
    data = b"".join(answer.streaming_content)
    if file := getattr(answer, "file_to_stream", None):
        file.close()
    return data


def test_a_download_has_a_name_and_a_type(make_job):
    answer = exports.download(make_job(ROWS, name='../Größe "1".csv'), "errors", "csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201-errors.csv"
    assert content(answer).count(b"\r\n") == 2
    assert exports.download(make_job(ROWS, name="?"), "results", "jsonl")["Content-Disposition"] == (
        'attachment; filename="batch-results.jsonl"'
    )


def test_results_are_there_when_the_job_has_ended_and_until_they_are_deleted(make_job):
    with pytest.raises(Conflict, match="still at work"):
        exports.download(make_job(ROWS, state="in_progress", ended_at=None), "results", "csv")
    with pytest.raises(NotFound, match="have been deleted"):
        exports.download(make_job(ROWS, deleted_at=timezone.now()), "results", "csv")
    with pytest.raises(InvalidInput, match="jsonl, csv, xlsx"):
        exports.download(make_job(ROWS), "results", "pdf")
    lost = make_job(ROWS)
    shutil.rmtree(files.folder(lost) / "results")
    with pytest.raises(FilesError, match="is missing"):
        exports.download(lost, "results", "jsonl")


def test_a_workbook_is_made_by_a_worker_once_for_all_who_ask(make_job, work):
    job = make_job(ROWS)
    for _ in range(3):
        with pytest.raises(Conflict, match="is being made"):
            exports.download(job, "results", "xlsx")
    assert queues.lengths()["default"] == 1
    assert work() == ["batch.export"]
    answer = exports.download(job, "results", "xlsx")
    sheet = openpyxl.load_workbook(io.BytesIO(content(answer)))["Results"]
    table = [[cell.value for cell in row] for row in sheet.iter_rows()]
    assert table[0] == results.header(job, "results")
    assert table[1] == [1, "a", "How?", "js-1", "Entry 1", 0.75, "js-2", "Entry 2", 0.5, "3", None]
    assert table[2][-1] == "Line 3 has no question."
    assert [row[0] for row in table[1:]] == [1, 2, 3]
    assert sorted(path.name for path in files.folder(job).iterdir()) == ["results", "results.xlsx"]


def test_a_workbook_whose_worker_died_is_begun_anew(make_job, work):
    job = make_job(ROWS)
    assert exports.xlsx(job, "errors") is None
    work()  # which ended in the middle, leaving its marker:
    (files.folder(job) / "errors.xlsx").rename(files.folder(job) / ".half.xlsx")
    marker = exports._marker_of(job, "errors")
    marker.touch()
    assert exports.xlsx(job, "errors") is None
    assert work() == [], "it may still be at it"
    os.utime(marker, (time.time() - 100, time.time() - 100))
    assert exports.xlsx(job, "errors") is None
    assert work() == ["batch.export"]
    assert exports.xlsx(job, "errors") is not None


def test_a_workbook_of_more_rows_than_excel_opens_is_refused_with_the_remedy(make_job, monkeypatch):
    monkeypatch.setattr(exports, "MAX_XLSX_ROWS", 2)
    with pytest.raises(InvalidInput, match="Take CSV or JSON lines") as caught:
        exports.xlsx(make_job(ROWS), "results")
    assert caught.value.field == "format"


def test_without_a_broker_no_workbook_is_promised(make_job, monkeypatch):
    monkeypatch.setattr(queues, "send", lambda *_, **__: False)
    job = make_job(ROWS)
    with pytest.raises(Unavailable):
        exports.xlsx(job, "results")
    monkeypatch.undo()
    assert exports.xlsx(job, "results") is None
    assert queues.lengths()["default"] == 1


def test_a_full_disk_leaves_half_a_workbook_behind_for_nobody(make_job, monkeypatch):
    job = make_job(ROWS)
    exports._marker_of(job, "results").touch()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "_write_row", full)
    with pytest.raises(FilesError, match="full"):
        exports.make(job, "results")
    assert sorted(path.name for path in files.folder(job).iterdir()) == ["results"]
