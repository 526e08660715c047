"""Who may commit a chunk: tokens, heartbeats, and what comes late."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from tests.factories import make_user
from tests.webapp.batch.conftest import after
from webapp.batch import claims, files, scoring, shifts, tasks, validation
from webapp.batch.claims import Outcome
from webapp.batch.models import Chunk, Job


@pytest.fixture
def ready(answering, create, lose_messages):
    """Call it for a job whose chunks wait to be claimed, and no worker knows of them."""

    def make(*arguments, **options) -> Job:
        job = create(*arguments, **options)
        validation.run(job.pk)
        lose_messages()
        return after(job)

    return make


def fall_silent() -> None:
    Chunk.objects.filter(state="running").update(heartbeat_at=timezone.now() - timedelta(seconds=31))


def test_a_chunk_is_claimed_once_and_jobs_take_turns(ready):
    large, small = ready(600), ready(250)
    turns = [claims.claim() for _ in range(6)]
    assert turns.pop() is None
    assert [(claim.job.pk, claim.chunk.number) for claim in turns] == [
        (large.pk, 0),
        (small.pk, 0),
        (large.pk, 1),
        (small.pk, 1),
        (large.pk, 2),
    ]


def test_people_take_turns_however_many_jobs_they_have(ready):
    jobs = {ready(600).pk: "many", ready(600).pk: "many", ready(600).pk: "many"}
    jobs[ready(600, owner=make_user("else@example.com")).pk] = "one"
    turns = [jobs[claims.claim().job.pk] for _ in range(6)]
    assert turns == ["many", "one"] * 3


def test_a_chunk_whose_worker_is_silent_is_another_s(ready):
    ready(3)
    first = claims.claim()
    assert claims.reap() == 0
    assert claims.claim() is None
    fall_silent()
    assert claims.reap() == 1
    second = claims.claim()
    assert second.chunk.pk == first.chunk.pk
    assert second.token != first.token


def test_a_heartbeat_keeps_a_chunk(ready):
    ready(3)
    claim = claims.claim()
    fall_silent()
    claims.beat([claim])
    assert claims.reap() == 0


def test_what_is_committed_late_changes_nothing(ready):
    job = ready(250)
    late = claims.claim()
    scored_late = scoring.score(late)
    fall_silent()
    claims.reap()
    again = claims.claim()
    assert again.chunk.pk == late.chunk.pk
    assert claims.commit(late, scored_late) == Outcome.LOST
    assert after(job).completed == 0
    scored = scoring.score(again)
    assert claims.commit(again, scored) == Outcome.DONE
    assert claims.commit(late, scored_late) == Outcome.LOST
    assert after(job).completed == 200
    assert Chunk.objects.get(number=0).result == scored.file


def test_what_comes_late_takes_its_file_along(ready, monkeypatch):
    job = ready(3)
    real = scoring.score

    def slow(claim):
        scored = real(claim)
        if claim.chunk.attempts == 1:
            fall_silent()
            claims.reap()
            connection.close()  # this thread's
        return scored

    monkeypatch.setattr(scoring, "score", slow)
    shifts.work()
    job = after(job)
    assert (job.state, job.completed) == ("completed", 3)
    [chunk] = Chunk.objects.all()
    assert chunk.attempts == 2
    assert [path.name for path in (files.folder(job) / "results").iterdir()] == [chunk.result]


def test_a_commit_whose_answer_got_lost_counts_once_and_keeps_its_file(ready):
    job = ready(250)
    claim = claims.claim()
    scored = scoring.score(claim)
    assert claims.commit(claim, scored) == Outcome.DONE
    assert claims.commit(claim, scored) == Outcome.DONE
    assert after(job).completed == 200


def test_the_last_chunk_is_known_as_the_last(ready):
    job = ready(250)
    one, other = claims.claim(), claims.claim()
    assert claims.commit(other, scoring.score(other)) == Outcome.DONE
    assert claims.commit(one, scoring.score(one)) == Outcome.LAST
    assert after(job).state == Job.State.FINALIZING


@pytest.mark.parametrize("state", ["expired", "cancelled"])
def test_a_job_that_has_ended_takes_no_more_results(ready, state):
    job = ready(3)
    claim = claims.claim()
    scored = scoring.score(claim)
    Job.objects.update(state=state, ended_at=timezone.now())
    assert claims.commit(claim, scored) == Outcome.LOST
    assert after(job).completed == 0
    assert Chunk.objects.get().state == "running"


def test_what_is_being_cancelled_is_begun_no_more_but_finished(ready):
    job = ready(250)
    claim = claims.claim()
    Job.objects.update(state="cancelling", cancelling_at=timezone.now())
    assert claims.claim() is None
    tasks.watch()
    assert after(job).state == "cancelling"
    assert claims.commit(claim, scoring.score(claim)) == Outcome.DONE
    tasks.watch()
    assert (after(job).state, after(job).completed) == ("cancelled", 200)


def test_a_chunk_given_back_waits_for_a_while_and_says_why(ready):
    job = ready(3)
    claims.give_back(claims.claim(), problem="No pod is there.", rest=60)
    assert after(job).problem == "No pod is there."
    assert claims.claim() is None
    assert claims.claimable(10) == 0
    Chunk.objects.update(not_before=timezone.now())
    claim = claims.claim()
    assert claim.chunk.attempts == 2
    claims.commit(claim, scoring.score(claim))
    assert after(job).problem == ""


def test_who_has_lost_a_chunk_cannot_give_it_back(ready):
    job = ready(3)
    late = claims.claim()
    fall_silent()
    claims.reap()
    claim = claims.claim()
    claims.give_back(late, problem="Too late.", rest=60)
    assert after(job).problem == ""
    assert claims.commit(claim, scoring.score(claim)) == Outcome.LAST


def test_what_rests_is_passed_over(ready, collection):
    job = ready(3)
    claim = claims.claim()
    claims.give_back(claim, problem="", rest=0)
    assert claims.claim(avoiding=[claim.target]) is None
    assert claims.claim().job.pk == job.pk


def test_one_message_waits_for_each_chunk_up_to_a_number(ready, work):
    from webapp import queues

    ready(450, owner=make_user("second@example.com"))
    tasks.top_up()
    assert queues.lengths()["batch"] == 3
    tasks.top_up()
    assert queues.lengths()["batch"] == 3
    work()
    tasks.top_up()
    assert queues.lengths()["batch"] == 0
