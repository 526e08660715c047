"""Pods, disks and the database go and come back: nothing is lost, nothing counts twice, nobody is blamed for it."""

import struct
import threading
import time
from datetime import timedelta

import httpx2 as httpx
import pytest
from django.db import OperationalError
from django.utils import timezone

from scoring_service.contract import text_of
from tests.webapp.batch.conftest import after, results
from tests.webapp.pods import refusal
from webapp.batch import claims, files, scoring, shifts, tasks, validation
from webapp.batch.models import Chunk, Job
from webapp.scoring import client
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


def asked_by(answering) -> list[str]:
    """The questions of the last request."""
    return list(map(text_of, answering.inferences()[-1].inputs[0].data))


def ends_blaming_the_poison(job, work, resume) -> bool:
    """Whether it is given up on the one row after a few attempts, not before."""
    for _ in range(scoring.MOST_FAULTS):
        work()
        assert after(job).state == "in_progress"
        resume()
    work()
    job = after(job)
    return (job.state, [row.question for row in results(job) if row.error]) == ("completed", ["poison"])


@pytest.mark.parametrize("how", [AWAY["broken"], httpx.RemoteProtocolError("the server disconnected")])
def test_a_row_that_makes_the_model_fail_again_and_again_is_told_so_alone(answering, create, work, resume, how):
    def breaks(request):
        if "poison" not in asked_by(answering):
            return answering.behave(request)
        if isinstance(how, Exception):
            raise how
        return how

    answering.answers(breaks)
    job = create(["one", "two", "poison", "four", "five"])
    assert ends_blaming_the_poison(job, work, resume)
    assert after(job).completed == 4


def test_a_probability_that_is_no_number_fails_its_row_alone(answering, create, work, resume):
    answering.by_question["poison"] = [("js-1", "js-1-a", float("nan"), {})]
    assert ends_blaming_the_poison(create(["one", "poison", "two"], top_k=1), work, resume)


def test_what_nobody_has_foreseen_fails_its_row_alone(answering, create, work, resume, monkeypatch):
    real = client.text_of

    def breaks(value):
        if "poison" in asked_by(answering):
            raise struct.error("unforeseen")
        return real(value)

    monkeypatch.setattr(client, "text_of", breaks)
    assert ends_blaming_the_poison(create(["one", "poison", "two"]), work, resume)


def test_pods_that_died_of_a_row_are_waited_for(answering, create, work, monkeypatch):
    """Else whoever asks the next row finds nobody, and all begins anew."""
    monkeypatch.setattr(scoring, "PAUSES_AFTER_DEATH", (0.0, 0.0))
    away = 0

    def dies(request):
        nonlocal away
        if away:
            away -= 1
            raise AWAY["gone"]
        if "poison" in asked_by(answering):
            away = 5  # the client itself asks four times
            raise httpx.ReadError("reset by peer")
        return answering.behave(request)

    answering.answers(dies)
    job = create(["poison", "one", "two"])
    validation.run(job.pk)
    Chunk.objects.update(faults=scoring.MOST_FAULTS)
    work()
    assert after(job).state == "completed"
    assert [bool(row.error) for row in results(job)] == [True, False, False]


def test_an_innocent_row_that_a_dying_pod_takes_with_it_is_not_blamed(answering, create, work):
    validation.run(create(["one"]).pk)
    Chunk.objects.update(faults=scoring.MOST_FAULTS)
    died = httpx.ReadError("reset by peer")
    answering.answers(died, died, answering.behave)  # the client itself asks twice
    work()
    assert (Job.objects.get().state, Job.objects.get().completed) == ("completed", 1)


def test_rows_that_take_too_long_together_are_asked_in_smaller_groups(answering, create, work):
    def slow(request):
        if len(asked_by(answering)) > 3:
            raise AWAY["slow"]
        return answering.behave(request)

    answering.answers(slow)
    job = create(40)
    work()
    job = after(job)
    assert (job.state, job.completed, Chunk.objects.get().attempts) == ("completed", 40, 1)
    assert [row.row for row in results(job)] == list(range(40))
    answering.sent.clear()
    create(3)
    work()
    assert len(answering.inferences()) < 4  # what is known of one chunk helps the next


def test_a_row_that_alone_takes_too_long_is_not_blamed(answering, create, work):
    validation.run(create(["one"]).pk)
    Chunk.objects.update(faults=scoring.MOST_FAULTS)
    answering.answers(AWAY["slow"])
    work()
    assert (Job.objects.get().state, Chunk.objects.get().faults) == ("in_progress", scoring.MOST_FAULTS)


def test_a_group_grows_again_when_pods_are_quick_again(answering, create, work, resume):
    create(64)
    answering.answers(AWAY["slow"])
    work()
    answering.answers(answering.behave)
    answering.sent.clear()
    resume()
    work()
    assert [len(each.inputs[0].data) for each in answering.inferences()] == [1, 2, 4, 8, 16, 32, 1]


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

    def later() -> None:
        Job.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=1))
        tasks.watch()
        work()

    work()
    for _ in range(validation.MOST_ATTEMPTS):
        later()
    assert (after(job).state, bool(after(job).problem)) == ("validating", True), (
        "it may take the disk as long as it likes"
    )
    rows.unlink()
    later()
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
