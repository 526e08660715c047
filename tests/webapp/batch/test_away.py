"""Pods, disks and the database go and come back: nothing is lost, nothing counts twice, nobody is blamed for it."""

import threading
import time
from datetime import timedelta

import httpx2 as httpx
import pytest
from django.db import OperationalError
from django.utils import timezone

from tests.webapp.batch.conftest import after, results
from tests.webapp.pods import refusal
from webapp.batch import claims, files, scoring, shifts, tasks, validation
from webapp.batch.models import Chunk, Job
from webapp.usage import traffic
from webapp.usage.models import Traffic


@pytest.fixture
def resume():
    """Call it when what was away is back: what rests may be tried at once."""

    def now() -> None:
        shifts.rests.forget()
        Chunk.objects.update(not_before=None)
        tasks.watch()

    return now


AWAY = {
    "gone": httpx.ConnectError("nobody listens"),
    "full": refusal(503, "the queue is full"),
    "slow": httpx.ReadTimeout("no answer"),
    "broken": refusal(500, "it broke"),
    "not loaded": refusal(404, "no such model"),
}


@pytest.mark.parametrize("how", AWAY)
def test_while_pods_are_away_a_job_waits_says_so_and_blames_no_row(answering, create, work, resume, how):
    job = create(450)
    answering.answers(AWAY[how])
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed) == ("in_progress", 0, 0)
    assert job.problem
    answering.answers(answering.behave)
    resume()
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed, job.problem) == ("completed", 450, 0, "")
    assert [row.row for row in results(job)] == list(range(450))


def test_a_pod_that_has_no_room_for_a_moment_is_asked_again_at_once(answering, create, work, monkeypatch):
    monkeypatch.setattr(scoring, "PAUSES", (0.0, 0.0))
    answering.answers(*[AWAY["full"]] * 4, answering.behave)  # the client itself asks twice
    job = create(3)
    work()
    assert (after(job).state, Chunk.objects.get().attempts) == ("completed", 1)


def test_while_pods_are_away_few_chunks_find_out(answering, create, work):
    create(4000)
    answering.answers(AWAY["gone"])
    work()
    assert Chunk.objects.filter(attempts__gt=0).count() < 8


def test_each_further_attempt_comes_later_but_not_much_later(answering, create, work):
    create(3)
    answering.answers(AWAY["full"])
    rests = []
    for _ in range(8):
        work()
        rests.append((Chunk.objects.get().not_before - timezone.now()).total_seconds())
        shifts.rests.forget()
        Chunk.objects.update(not_before=None)
        tasks.top_up()
    assert rests[0] < 2 < rests[3] < rests[-1] <= shifts.LONGEST_REST


def test_another_model_s_jobs_go_on_meanwhile(answering, create, work, collection):
    from tests.factories import make_collection

    make_collection("Why?", slug="other", model_name="faq-other", is_default=False)
    stuck, other = create(3), create(3, collection="other")

    def only_other(request):
        return answering.behave(request) if "faq-other" in request.url.path else AWAY["full"]

    answering.answers(only_other)
    work()
    assert (after(stuck).state, after(other).state) == ("in_progress", "completed")


def test_a_row_that_makes_the_model_fail_again_and_again_is_told_so_alone(answering, create, work, resume):
    def breaks(request):
        asked = answering.inferences()[-1].inputs[0].data
        return AWAY["broken"] if "poison" in map(str, asked) else answering.behave(request)

    answering.answers(breaks)
    job = create(["one", "two", "poison", "four", "five"])
    for _ in range(scoring.MOST_FAULTS):
        work()
        assert after(job).state == "in_progress"
        resume()
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed) == ("completed", 4, 1)
    assert [bool(row.error) for row in results(job)] == [False, False, True, False, False]


def test_a_row_is_not_blamed_for_the_times_that_no_pod_was_there(answering, create, work, resume):
    create(["one", "two"])
    for _ in range(scoring.MOST_FAULTS + 1):
        answering.answers(AWAY["gone"])
        work()
        resume()
    answering.answers(AWAY["broken"])
    work()
    assert (Job.objects.get().state, Job.objects.get().failed) == ("in_progress", 0)
    resume()
    answering.answers(answering.behave)
    work()
    assert (Job.objects.get().state, Job.objects.get().completed) == ("completed", 2)


def test_what_pods_refused_and_what_they_broke_at_counts_as_traffic(answering, create, work):
    create(3)
    answering.answers(AWAY["gone"])
    work()
    traffic.write()
    assert [(each.requests, each.errors) for each in Traffic.objects.all()] == [(1, 1)]


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_disk_that_takes_nothing_makes_a_job_wait(answering, create, work, resume, monkeypatch):
    job = create(3)
    validation.run(job.pk)
    results_folder = files.folder(job) / "results"
    results_folder.write_text("in the way")
    work()
    assert (after(job).state, bool(after(job).problem)) == ("in_progress", True)
    results_folder.unlink()
    resume()
    work()
    assert (after(job).state, after(job).problem) == ("completed", "")


def test_a_disk_that_takes_nothing_makes_a_validation_wait(answering, create, work):
    job = create(3)
    rows = files.folder(job) / "rows"
    rows.write_text("in the way")
    work()
    assert (after(job).state, bool(after(job).problem)) == ("validating", True)
    rows.unlink()
    Job.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    tasks.watch()
    work()
    assert (after(job).state, after(job).problem) == ("completed", "")


# The database ---------------------------------------------------------------------------------------------------------


def test_while_the_database_is_away_what_is_scored_waits_to_be_committed(answering, create, work, monkeypatch):
    job = create(3)
    validation.run(job.pk)
    real, failures = claims.commit, iter(range(3))

    def away(*arguments):
        if next(failures, None) is not None:
            raise OperationalError("the server went away")
        return real(*arguments)

    monkeypatch.setattr(claims, "commit", away)
    monkeypatch.setattr(shifts, "PAUSE", 0.01)
    work()
    assert (after(job).state, after(job).completed) == ("completed", 3)
    assert len(answering.inferences()) == 1


def test_what_cannot_be_committed_for_too_long_is_scored_again_by_whoever_comes(
    answering, create, work, resume, monkeypatch
):
    job = create(3)
    validation.run(job.pk)
    with monkeypatch.context() as patched:
        patched.setattr(claims, "commit", lambda *_: (_ for _ in ()).throw(OperationalError("away")))
        patched.setattr(shifts, "COMMIT_FOR", 0.0)
        work()
    assert Chunk.objects.get().state == "running"
    Chunk.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=31))
    resume()
    work()
    job = after(job)
    assert (job.state, job.completed, Chunk.objects.get().attempts) == ("completed", 3, 2)


def test_while_a_chunk_takes_long_its_worker_says_that_it_lives(answering, create, work, monkeypatch):
    monkeypatch.setattr(shifts, "BEAT_EVERY", 0.0)
    monkeypatch.setattr(shifts, "LOOK_EVERY", 0.02)
    job = create(3)
    validation.run(job.pk)
    begun, go_on = threading.Event(), threading.Event()

    def slow(request):
        begun.set()
        assert go_on.wait(20)
        return answering.behave(request)

    answering.answers(slow)
    beats = []
    real = claims.beat

    def beat(held):
        real(held)
        beats.append(time.monotonic())
        if len(beats) == 2:
            go_on.set()

    monkeypatch.setattr(claims, "beat", beat)
    work()
    assert begun.is_set()
    assert len(beats) >= 2
    assert after(job).state == "completed"
