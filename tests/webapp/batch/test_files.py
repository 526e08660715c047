"""What lies in the folder of a job, and that nothing stays there that belongs to nobody."""

import os
import time
import uuid

import pytest

from webapp.batch import files, uploads
from webapp.batch.models import Job
from webapp.batch.rows import Answer, InputRow, ResultRow
from webapp.errors import FilesError

CSV = b"question\nHow do I copy an array?\n"


def incoming(batch_dir) -> list[str]:
    return [path.name for path in (batch_dir / "incoming").glob("*")]


@pytest.fixture
def job(owner) -> Job:
    return Job.objects.create(owner=owner, kind="faq", name="Mine", format="csv", model="faq-javascript")


def test_a_job_takes_an_upload(job, batch_dir):
    upload = uploads.store_stream([CSV], "questions.csv")
    files.adopt(job, upload)
    assert files.upload_of_job(job).read_bytes() == CSV
    assert incoming(batch_dir) == []
    assert files.folder(job).stat().st_mode & 0o777 == 0o700
    assert files.upload_of_job(job).stat().st_mode & 0o777 == 0o600


def test_rows_and_results_come_back_as_they_were_written(job):
    files.adopt(job, uploads.store_stream([CSV], "questions.csv"))
    rows = [InputRow(0, "a", "Größe\n?"), InputRow(1, error="Line 2 has no question.")]
    files.write_rows(job, 0, rows)
    assert files.read_rows(job, 0) == rows
    results = [ResultRow(0, "a", "q", version="3", answers=[Answer("js-1", "How?", 0.5)]), ResultRow(1, error="bad")]
    name = files.write_result(job, 0, token := uuid.uuid4(), results)
    assert name == f"0-{token}.jsonl.gz"
    assert list(files.results_of(job, [type("Chunk", (), {"result": name})])) == results


def test_rows_that_are_written_again_are_whole_at_any_moment(job):
    path = files.write_rows(job, 0, [InputRow(0, question="x")])
    before = path.read_bytes()
    with path.open("rb") as reading:
        files.write_rows(job, 0, [InputRow(0, question="y" * 100)])
        assert reading.read() == before
    assert files.read_rows(job, 0)[0].question == "y" * 100
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_that_is_missing_or_damaged_is_an_error_of_ours(job):
    files.adopt(job, uploads.store_stream([CSV], "questions.csv"))
    with pytest.raises(FilesError, match="is missing"):
        files.read_rows(job, 0)
    path = files.write_rows(job, 0, [InputRow(0, question="x")])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FilesError, match=r"is damaged: 0\.jsonl\.gz"):
        files.read_rows(job, 0)


def test_an_upload_that_is_lent_outlives_the_first_job(job, owner):
    files.adopt(job, uploads.store_stream([CSV], "questions.csv"))
    again = Job.objects.create(owner=owner, kind="faq", name="Again", format="csv", model="faq-javascript")
    files.lend_upload(again, job)
    files.delete(job)
    assert files.upload_of_job(again).read_bytes() == CSV


def test_a_deleted_job_has_no_files(job, batch_dir):
    files.adopt(job, uploads.store_stream([CSV], "questions.csv"))
    files.delete(job)
    files.delete(job)
    assert not files.folder(job).exists()
    assert incoming(batch_dir) == []


def test_what_was_left_behind_is_removed_after_some_hours(job, owner, batch_dir):
    files.adopt(job, uploads.store_stream([CSV], "questions.csv"))
    new = uploads.store_stream([CSV], "new.csv")
    left = uploads.store_stream([CSV], "left.csv")
    gone = Job(pk=uuid.uuid4(), owner=owner)
    files.adopt(gone, uploads.store_stream([CSV], "gone.csv"))
    old = time.time() - 7 * 3600
    unfinished = [files.folder(job) / ".book", files.folder(job) / "results" / ".result"]
    at_work = files.folder(job) / ".another"
    unfinished[1].parent.mkdir()
    for path in (*unfinished, at_work):
        path.touch()
    unfinished[0].unlink()
    unfinished[0].mkdir()
    (unfinished[0] / "results.xlsx").touch()
    for path in (left.path, *unfinished, files.folder(job), files.folder(gone)):
        os.utime(path, (old, old))
    files.tidy()
    assert not any(path.exists() for path in unfinished)
    assert at_work.exists()
    assert not left.path.exists()
    assert not files.folder(gone).exists()
    assert new.path.exists()
    assert files.upload_of_job(job).exists()
