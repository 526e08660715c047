"""An upload becomes the files that chunks are worked on from, all of its rows once and in order."""

import json

import pytest

from webapp.batch import checking, detection, files, reading, uploads
from webapp.batch.models import Job
from webapp.errors import InvalidInput

MOST = 1_000_000


@pytest.fixture
def make_job(owner):
    def make(content: bytes, name: str, column: str = "") -> Job:
        upload = uploads.store_stream([content], name)
        found = detection.detect(upload.path, upload.name)
        job = Job.objects.create(
            owner=owner,
            kind=found.kind,
            name=name,
            format=found.format,
            reading=found.kept(),
            column=reading.column_of(found, column),
            model="faq-javascript",
        )
        files.adopt(job, upload)
        return job

    return make


def lines(count: int) -> bytes:
    return b"".join(json.dumps({"custom_id": f"c{n}", "question": f"q{n}"}).encode() + b"\n" for n in range(count))


def test_each_row_is_in_one_chunk_and_in_order(make_job):
    job = make_job(lines(450), "q.jsonl")
    asked = []
    checked = checking.validate(job, lambda: asked.append(1), most=MOST)
    assert [(part.number, part.first_row, part.rows) for part in checked.parts] == [
        (0, 0, 200),
        (1, 200, 200),
        (2, 400, 50),
    ]
    assert (checked.total, checked.refused) == (450, 0)
    found = [row for part in checked.parts for row in files.read_rows(job, part.number)]
    assert [(row.row, row.id, row.question) for row in found] == [(n, f"c{n}", f"q{n}") for n in range(450)]
    assert len(asked) >= 450, "whether to go on, for each row"


def test_bad_rows_keep_their_place_with_their_reason(make_job):
    job = make_job(b'{"question": "one"}\n{"question": ""}\n"three"\n', "q.jsonl")
    checked = checking.validate(job, lambda: None, most=MOST)
    assert (checked.total, checked.refused) == (3, 1)
    assert [row.error for row in files.read_rows(job, 0)] == ["", "Line 2 has no question.", ""]


def test_a_file_without_a_row_that_can_be_asked_fails_and_names_the_first(make_job):
    job = make_job(b'{"question": ""}\n{"question": 1}\n', "q.jsonl")
    with pytest.raises(
        InvalidInput, match=r"^Not one of its 2 rows can be scored\. The first: Line 1 has no question\.$"
    ):
        checking.validate(job, lambda: None, most=MOST)


def test_a_file_with_too_many_rows_fails(make_job):
    with pytest.raises(InvalidInput, match="more than 300 rows"):
        checking.validate(make_job(lines(301), "q.jsonl"), lambda: None, most=300)


def test_a_validation_that_was_cut_short_can_be_begun_again(make_job):
    job = make_job(lines(1000), "q.jsonl")

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checking.validate(job, killed, most=MOST)
    first = checking.validate(job, lambda: None, most=MOST)
    before = contents(job)
    assert checking.validate(job, lambda: None, most=MOST) == first
    assert contents(job) == before


def contents(job: Job) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (files.folder(job) / "rows").iterdir()}
