"""Who validates a job: one worker at a time, and another one when that is silent."""

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from tests.webapp.batch.conftest import after
from tests.worker import wait_until
from webapp.batch import checking, files, services, tasks, validation
from webapp.batch.models import Chunk, Job


def fall_silent() -> None:
    Job.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=31))


@contextmanager
def connection_of_its_own() -> Iterator[None]:
    """For what a test does in the thread that reads the file."""
    try:
        yield
    finally:
        connection.close()


def test_a_message_that_comes_twice_is_done_once(answering, create, monkeypatch):
    job = create(3)
    real, again = checking.validate, []

    def validate(*arguments, **options):
        with connection_of_its_own():
            again.append(validation.run(job.pk))  # as another worker would
        return real(*arguments, **options)

    monkeypatch.setattr(checking, "validate", validate)
    validation.run(job.pk)
    validation.run(job.pk)
    assert (after(job).state, after(job).total, Chunk.objects.count(), len(again)) == ("in_progress", 3, 1, 1)


def test_what_a_lost_message_was_about_is_found(answering, create, lose_messages, work):
    job = create(3)
    lose_messages()
    tasks.watch()
    work()
    assert after(job).state == "completed"


def test_a_worker_that_falls_silent_is_replaced_and_comes_too_late(answering, create, monkeypatch):
    job = create(450)
    real = checking.validate

    def validate(*arguments, **options):
        checked = real(*arguments, **options)
        monkeypatch.setattr(checking, "validate", real)
        with connection_of_its_own():
            fall_silent()
            validation.run(job.pk)
            Chunk.objects.filter(number=1).update(state="running")
        return checked

    monkeypatch.setattr(checking, "validate", validate)
    validation.run(job.pk)
    assert (after(job).state, after(job).total) == ("in_progress", 450)
    assert list(Chunk.objects.order_by("number").values_list("state", flat=True)) == ["waiting", "running", "waiting"]


def test_what_is_cancelled_while_it_is_read_stays_so(answering, create, monkeypatch):
    job = create(3)
    real = checking.validate

    def validate(*arguments, **options):
        with connection_of_its_own():
            services.cancel(after(job))
        return real(*arguments, **options)

    monkeypatch.setattr(checking, "validate", validate)
    validation.run(job.pk)
    assert (after(job).state, Chunk.objects.count()) == ("cancelled", 0)


def test_a_file_that_kills_its_workers_is_given_up_and_said_so(answering, create, monkeypatch):
    job = create(3)
    monkeypatch.setattr(checking, "validate", lambda *_arguments, **_options: (_ for _ in ()).throw(SystemExit))
    for _ in range(validation.MOST_ATTEMPTS):
        with pytest.raises(SystemExit):
            validation.run(job.pk)
        fall_silent()
    validation.run(job.pk)
    assert after(job).state == "failed"
    assert "8 workers ended" in after(job).reason


def test_a_database_that_goes_away_while_a_file_is_read_counts_as_no_attempt(answering, create, monkeypatch):
    job = create(3)
    real, queries_refused = checking.validate, 0

    def validate(*arguments, **options):
        nonlocal queries_refused
        queries_refused = 3
        return real(*arguments, **options)

    def refuse(execute, *query):
        nonlocal queries_refused
        if queries_refused:
            queries_refused -= 1
            raise OperationalError("the server went away")
        return execute(*query)

    monkeypatch.setattr(checking, "validate", validate)
    monkeypatch.setattr(validation, "WRITE_FOR", 0.0)
    monkeypatch.setattr(validation, "PAUSE", 0.01)
    with connection.execute_wrapper(refuse):
        for _ in range(validation.MOST_ATTEMPTS + 1):
            validation.run(job.pk)
            assert (after(job).state, after(job).attempts) == ("validating", 0)
            fall_silent()
    monkeypatch.setattr(checking, "validate", real)
    validation.run(job.pk)
    assert (after(job).state, after(job).total) == ("in_progress", 3)


def test_an_error_of_ours_fails_the_job_without_its_text(answering, create, monkeypatch):
    job = create(3)
    monkeypatch.setattr(checking, "validate", lambda *_arguments, **_options: 1 / 0)
    validation.run(job.pk)
    assert after(job).state == "failed"
    assert "division" not in after(job).reason


@pytest.fixture
def slow_disk(create, monkeypatch):
    """A job whose file is being read, and the end at which its bytes are put in."""
    monkeypatch.setattr(validation, "BEAT_EVERY", 0.0)
    monkeypatch.setattr(validation, "LOOK_EVERY", 0.01)
    job = create(3)
    path = files.upload_of_job(job)
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)

    def run() -> None:
        with connection_of_its_own():
            validation.run(job.pk)

    worker = threading.Thread(target=run)
    worker.start()
    with path.open("wb", buffering=0) as disk:
        disk.write(content)
        yield job, disk, worker
    worker.join()


def test_while_a_read_takes_long_its_worker_says_that_it_lives(answering, slow_disk):
    job, disk, worker = slow_disk
    for _ in range(3):
        fall_silent()
        wait_until(lambda: after(job).heartbeat_at > timezone.now() - timedelta(seconds=20))
    assert not validation.run(job.pk)
    disk.write(b'{"question": "The last?"}\n')
    disk.close()
    worker.join()
    assert (after(job).state, after(job).total) == ("in_progress", 4)


def test_what_is_cancelled_while_a_read_takes_long_is_read_no_further(answering, slow_disk):
    job, disk, worker = slow_disk
    services.cancel(after(job))
    write_until_nobody_reads(disk)
    worker.join()
    assert (after(job).state, Chunk.objects.count()) == ("cancelled", 0)


def test_a_worker_thought_dead_that_fails_late_ends_nothing(answering, slow_disk, monkeypatch):
    job, disk, worker = slow_disk
    monkeypatch.setattr(validation, "BEAT_EVERY", 3600)
    Job.objects.filter(pk=job.pk).update(task_token=uuid.uuid4())  # another worker's by now
    disk.write(b"\xff no text\n")
    disk.close()
    worker.join()
    assert (after(job).state, after(job).reason) == ("validating", "")


def test_a_worker_that_is_told_to_end_hands_the_job_on(answering, slow_disk, monkeypatch, work):
    job, disk, worker = slow_disk
    with monkeypatch.context() as ending:
        ending.setattr(validation, "stopping", lambda: True)
        write_until_nobody_reads(disk)
        worker.join()
    assert (after(job).state, after(job).heartbeat_at, after(job).attempts) == ("validating", None, 0)
    files.upload_of_job(job).unlink()
    files.upload_of_job(job).write_bytes(b'{"question": "How?"}\n')
    work()
    assert after(job).state == "completed"


def write_until_nobody_reads(disk) -> None:
    def write() -> None:
        for _ in range(10_000):
            disk.write(b'{"question": "One more?"}\n' * 90)

    with pytest.raises(BrokenPipeError):
        write()
