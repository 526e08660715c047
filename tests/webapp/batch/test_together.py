"""Several workers at the same moment, each with its own connection to the database."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.test import Client
from django.test.client import FakePayload
from django.utils import timezone

from tests.factories import bearer, make_key
from tests.webapp.batch.conftest import after, principal, results, upload
from webapp.batch import claims, files, retention, scoring, services, shifts, validation
from webapp.batch.claims import Claim, Outcome
from webapp.batch.models import Chunk, Job
from webapp.batch.services import Options
from webapp.errors import Conflict


def at_once(count: int, work: Callable[[], object]) -> list[object]:
    """What each of so many threads returns that begin together, or the Conflict that it met."""
    ready, done = threading.Barrier(count), []

    def run() -> None:
        try:
            ready.wait(20)
            done.append(work())
        except Conflict as error:
            done.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == count, "one has failed"
    return done


def claim_all() -> list[Claim]:
    """Claims until there is nothing left."""
    return list(iter(claims.claim, None))


def test_no_chunk_is_claimed_by_two(answering, create):
    jobs = [create(2000), create(1000), create(5)]
    for job in jobs:
        validation.run(job.pk)
    claimed = Counter(claim.chunk.pk for found in at_once(6, claim_all) for claim in found)
    # Who found a job's last chunks locked by others may have gone home early; what is left is there for the next.
    claimed.update(claim.chunk.pk for claim in claim_all())
    assert set(claimed.values()) == {1}
    assert len(claimed) == Chunk.objects.count() == 16


def test_of_those_who_hold_a_chunk_one_commits_it(answering, create):
    job = create(3)
    validation.run(job.pk)
    held = []
    for _ in range(4):
        held.append(claims.claim())
        Chunk.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=31))
        if len(held) < 4:
            claims.reap()
    turns = iter([(claim, scoring.score(claim)) for claim in held])
    outcomes = at_once(4, lambda: claims.commit(*next(turns)))
    assert Counter(outcomes) == {Outcome.LAST: 1, Outcome.LOST: 3}
    assert after(job).completed == 3


def test_a_chunk_that_is_committed_just_as_its_worker_is_given_up_counts_once(answering, create):
    job = create(1000)
    validation.run(job.pk)
    held = [(claim, scoring.score(claim)) for claim in claim_all()]
    Chunk.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=31))
    turns = iter([*held, None, None, None])

    def commit_or_reap() -> object:
        turn = next(turns)
        return claims.commit(*turn) if turn else claims.reap()

    at_once(len(held) + 3, commit_or_reap)
    done = Chunk.objects.filter(state="done")
    assert after(job).completed == sum(done.values_list("completed", flat=True))
    Chunk.objects.filter(state="waiting").update(not_before=None)
    shifts.work()
    job = after(job)
    assert (job.state if job.state == "completed" else job.completed) in {"completed", 1000}
    assert [row.row for row in results(job)] == list(range(1000))


def test_workers_together_score_every_row_once(answering, create):
    jobs = [create(900), create(450), create(30)]
    for job in jobs:
        validation.run(job.pk)
    at_once(3, shifts.work)
    shifts.work()
    for job, rows in zip(jobs, (900, 450, 30), strict=True):
        assert (after(job).state, after(job).completed) == ("completed", rows)
        assert [row.row for row in results(job)] == list(range(rows))


def test_two_uploads_at_once_do_not_both_get_the_last_room(answering, owner, settings):
    settings.BATCH_OPEN_JOBS = 3
    stored = iter([upload(["How?"]) for _ in range(6)])
    made = at_once(6, lambda: services.create(principal(owner), upload=next(stored), options=Options()))
    assert Counter(type(each) for each in made) == {Job: 3, Conflict: 3}


def test_an_upload_that_comes_slowly_keeps_no_other_waiting(answering, owner):
    key = make_key(owner, "batch")
    begun, other_is_there = threading.Event(), threading.Event()
    statuses = []

    class Slow(FakePayload):
        def read(self, *size: int) -> bytes:
            begun.set()
            other_is_there.wait(30)
            return super().read(*size)

    def send(body: FakePayload) -> None:
        about = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "text/csv", "wsgi.input": body}
        statuses.append(Client().generic("POST", "/api/v1/batches", headers=bearer(key), **about).status_code)
        connection.close()

    csv = b"question\nHow?\n"
    slow = threading.Thread(target=send, args=[Slow(csv)])
    slow.start()
    assert begun.wait(10)
    other = threading.Thread(target=send, args=[FakePayload(csv)])
    other.start()
    other.join(20)
    answered_meanwhile = list(statuses)
    other_is_there.set()
    slow.join()
    other.join()
    assert answered_meanwhile == [202]
    assert statuses == [202, 202]


def test_who_deletes_a_batch_and_who_gives_a_chunk_of_it_back_wait_in_one_order(answering, create):
    job = create(3)
    validation.run(job.pk)
    claim = claims.claim()
    Job.objects.update(state="expired", ended_at=timezone.now())
    has_chunk, has_job = threading.Event(), threading.Event()

    def holding_the_chunk(execute, sql, *rest):
        done = execute(sql, *rest)
        if sql.startswith('UPDATE "batch_chunk"'):
            has_chunk.set()
            has_job.wait(0.5)
        return done

    def taking_the_job(execute, sql, *rest):
        done = execute(sql, *rest)
        if sql.endswith("FOR UPDATE") and 'FROM "batch_job"' in sql:
            has_job.set()
        return done

    def give_back() -> None:
        with connection.execute_wrapper(holding_the_chunk):
            claims.give_back(claim, problem="No pod answers.", rest=1)

    def delete() -> None:
        assert has_chunk.wait(20)
        with connection.execute_wrapper(taking_the_job):
            services.delete(job)

    turns = iter([give_back, delete])

    def turn() -> None:
        next(turns)()

    assert at_once(2, turn) == [None, None]
    assert not Job.objects.exists()


def test_a_draft_that_is_started_just_as_it_would_go_is_whole_or_gone(answering, owner):
    draft = services.create_draft(principal(owner), upload=upload(["How?"]))
    Job.objects.update(created_at=timezone.now() - timedelta(days=2))
    looked, started = threading.Event(), threading.Event()
    looks = []

    def looking(execute, sql, *rest):
        done = execute(sql, *rest)
        if sql.startswith("SELECT") and 'FROM "batch_job"' in sql:
            looks.append(sql)
            if len(looks) == 3:  # for those that have ended, for old drafts, at this one
                looked.set()
                started.wait(0.5)
        return done

    def delete() -> None:
        with connection.execute_wrapper(looking):
            retention.delete_old()

    def start() -> Job:
        assert looked.wait(20)
        try:
            return services.start(draft, options=Options())
        finally:
            started.set()

    turns = iter([delete, start])

    def turn() -> object:
        return next(turns)()

    kept = any(isinstance(each, Job) for each in at_once(2, turn))
    assert (Job.objects.exists(), files.upload_of_job(draft).exists()) == (kept, kept)
