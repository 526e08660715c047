"""A folder for jobs' files, jobs to start from, and what came of them."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import make_collection
from tests.webapp.batch.browsing import NEW, sent, words
from webapp.accounts.models import User
from webapp.batch import files, queries, scoring, services, shifts, uploads
from webapp.batch.models import Job
from webapp.batch.rows import ResultRow
from webapp.batch.services import Options
from webapp.keys.models import Scope
from webapp.keys.principal import Principal


@pytest.fixture(autouse=True)
def batch_dir(settings, tmp_path) -> Path:
    """A folder of batches for each test."""
    settings.BATCH_DIR = tmp_path / "batches"
    return settings.BATCH_DIR


@pytest.fixture(autouse=True)
def nothing_rests(monkeypatch):
    """Which pods have just failed is remembered in this process; and nobody waits here for pods that have no room."""
    shifts.rests.forget()
    scoring.group_sizes.forget()
    monkeypatch.setattr(scoring, "PAUSES", ())
    monkeypatch.setattr(scoring, "PAUSES_AFTER_DEATH", ())


@pytest.fixture
def collection(db):
    return make_collection()


@pytest.fixture
def answering(transactional_db, scoring, collection):
    """Pods that know the collection's two entries. Chunks are scored in threads: the database must be real to them."""
    scoring.faq = [("js-1", "js-1-a", 0.91, {}), ("js-2", "js-2-a", 0.2, {})]
    return scoring


def principal(user: User) -> Principal:
    return Principal(user, None, frozenset(Scope.values))


def upload(questions: Sequence[str], name: str = "questions.jsonl") -> files.StoredUpload:
    """Questions as a program sends them: each with its number as the id."""
    lines = (json.dumps({"custom_id": f"q{number}", "question": each}) for number, each in enumerate(questions))
    return uploads.store_stream([f"{line}\n".encode() for line in lines], name)


@pytest.fixture
def create(owner, collection) -> Callable[..., Job]:
    """Call it with questions, or how many; it returns the job, which waits to be validated."""

    def make(questions: Sequence[str] | int = 3, *, owner: User = owner, **options: object) -> Job:
        asked = [f"Question {number}?" for number in range(questions)] if isinstance(questions, int) else questions
        return services.create(principal(owner), upload=upload(asked), options=Options(**options))

    return make


def results(job: Job) -> list[ResultRow]:
    return list(files.results_of(job, queries.done_chunks_of(job)))


def after(job: Job) -> Job:
    """The job as it is now."""
    return Job.objects.get(pk=job.pk)


@pytest.fixture
def lose_messages(settings):
    """Call it to have every task forgotten that waits for a worker."""
    return lambda: shutil.rmtree(settings.BROKER_DIR, ignore_errors=True)


@pytest.fixture
def draft(owner_client, collection):
    """Call it with a file to have it uploaded; it returns the draft."""

    def make(file: SimpleUploadedFile | None = None) -> Job:
        answer = owner_client.post(NEW, {"file": file or sent()})
        assert answer.status_code == 302, words(answer)
        return Job.objects.get(pk=answer["Location"].split("/")[2])

    return make
