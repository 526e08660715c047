"""What people may do with jobs, and when they may not."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from tests.factories import make_key, make_model, make_user, make_version
from tests.webapp.batch.conftest import after, principal, results, upload
from webapp.batch import files, queries, services, tasks, uploads
from webapp.batch.models import Chunk, Job
from webapp.batch.services import Options
from webapp.errors import Conflict, InvalidInput, NotAllowed, NotFound
from webapp.keys.principal import principal_of_key

# Starting -------------------------------------------------------------------------------------------------------------


def test_a_draft_waits_until_it_is_told_what_to_do(answering, owner, work):
    draft = services.create_draft(principal(owner), upload=upload(["How?", "Why?"]), name="  My questions ")
    assert (draft.state, draft.name, draft.kind, draft.format) == ("draft", "My questions", "faq", "jsonl")
    assert work() == []
    started = services.start(draft, options=Options(top_k=2))
    assert (started.state, started.collection, started.model, started.column) == (
        *("validating", "javascript", "faq-javascript"),
        "question",
    )
    with pytest.raises(Conflict, match="started already"):
        services.start(draft, options=Options())
    work()
    assert after(draft).state == "completed"


def test_the_file_s_name_is_the_job_s_and_the_caller_s_own_texts_are_kept(owner, collection):
    job = services.create(
        principal(owner), upload=upload(["How?"], "spring.jsonl"), options=Options(), metadata={"team": "blue"}
    )
    assert (job.name, job.metadata) == ("spring.jsonl", {"team": "blue"})


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (Options(collection="none"), "collection"),
        (Options(kind="image"), "kind"),
        (Options(top_k=0), "top_k"),
        (Options(top_k=21), "top_k"),
        (Options(version="9"), "version"),
    ],
)
def test_what_cannot_be_done_is_said_at_once_and_nothing_is_kept(owner, collection, options, field, batch_dir):
    stored = upload(["How?"])
    with pytest.raises(InvalidInput) as refused:
        services.create(principal(owner), upload=stored, options=options)
    assert refused.value.field == field
    assert Job.objects.count() == 0
    uploads.discard(stored)
    assert [path for path in batch_dir.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("metadata", [{"": "x"}, {"n" * 65: "x"}, {"n": "x" * 513}, {str(n): "" for n in range(17)}])
def test_a_caller_s_own_texts_have_their_limits(owner, collection, metadata):
    with pytest.raises(InvalidInput) as refused:
        services.create(principal(owner), upload=upload(["How?"]), options=Options(), metadata=metadata)
    assert refused.value.field == "metadata"


def test_who_may_not_ask_for_a_version_may_not_in_a_batch(owner, collection):
    make_version(make_model(), "7", "champion")
    who = principal_of_key(make_key(owner, "batch").key)
    with pytest.raises(NotAllowed):
        services.create(who, upload=upload(["How?"]), options=Options(version="7"))


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_person_has_so_many_jobs_at_work_and_no_more(answering, create, work, settings):
    settings.BATCH_OPEN_JOBS = 2
    create(1), create(1)
    with pytest.raises(Conflict, match="2 batches at work"):
        create(1)
    create(1, owner=make_user("second@example.com"))
    work()
    create(1)


@pytest.mark.django_db(transaction=True)
def test_of_those_who_want_the_last_place_at_the_same_moment_one_gets_it_and_the_others_leave_nothing(
    create, settings, batch_dir
):
    settings.BATCH_OPEN_JOBS, together = 1, Barrier(3)

    def try_it(_number: int) -> bool:
        together.wait()
        try:
            create(1)
        except Conflict:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(try_it, range(3))) == [False, False, True]
    job = Job.objects.get()
    assert {path.name for path in batch_dir.iterdir()} == {str(job.pk), files.INCOMING}


def test_a_draft_counts_when_it_is_started(answering, create, owner, settings):
    settings.BATCH_OPEN_JOBS = 1
    draft = services.create_draft(principal(owner), upload=upload(["How?"]))
    create(1)
    with pytest.raises(Conflict, match="1 batches at work"):
        services.start(draft, options=Options())


def test_a_person_s_uploads_have_room_for_so_much(answering, create, work, settings):
    first = create(3)
    settings.BATCH_BYTES = first.size + 10
    with pytest.raises(Conflict, match="Delete some"):
        create(3)
    work()
    services.delete(after(first))
    create(3)


# Trying again ---------------------------------------------------------------------------------------------------------


def test_rows_that_failed_are_tried_again_alone(answering, create, work, owner):
    answering.refused["???"] = "it has no word in it"
    job = create(["one", "???", " ", "four"])
    work()
    answering.refused.clear()
    again = services.retry_failed(after(job), principal(owner))
    assert (again.state, again.retry_of, again.model, again.top_k) == ("validating", job, job.model, job.top_k)
    work()
    again = after(again)
    assert (again.state, again.total, again.completed) == ("completed", 1, 1)
    assert [(row.row, row.id, row.question) for row in results(again)] == [(0, "q1", "???")]


def test_rows_without_an_id_are_known_by_their_first_number_however_often_they_are_tried(answering, work, owner):
    answering.refused.update(dict.fromkeys(["two", "four"], "it has no word in it"))
    stored = uploads.store_stream([b"one\ntwo\nthree\nfour\n"], "questions.txt")
    job = services.create(principal(owner), upload=stored, options=Options())
    work()
    again = services.retry_failed(after(job), principal(owner))
    work()
    del answering.refused["four"]
    once_more = services.retry_failed(after(again), principal(owner))
    work()
    assert [(row.row, row.id, row.question) for row in results(after(again))] == [(0, "2", "two"), (1, "4", "four")]
    assert [(row.id, bool(row.answers)) for row in results(after(once_more))] == [("2", False), ("4", True)]


def test_the_version_of_a_batch_is_asked_for_again_only_while_it_is_loaded_by_who_may(answering, create, work, owner):
    make_version(make_model(), "7", "champion")
    answering.refused["???"] = "it has no word in it"
    job = create(["one", "???"], version="7")
    work()
    with pytest.raises(NotAllowed, match="models:pin"):
        services.retry_failed(after(job), principal_of_key(make_key(owner, "batch").key))
    job.refresh_from_db()
    Job.objects.filter(pk=job.pk).update(version="6")
    with pytest.raises(Conflict, match="not loaded any more"):
        services.retry_failed(after(job), principal(owner))


def test_what_was_never_scored_is_tried_again_too(answering, create, work, owner):
    job = create(450)
    work()
    Job.objects.update(state="expired", completed=200)
    Chunk.objects.filter(number__gt=0).update(state="waiting", result="")
    again = services.retry_failed(after(job), principal(owner))
    work()
    assert (after(again).state, after(again).completed) == ("completed", 250)
    assert [row.id for row in results(after(again))] == [f"q{number}" for number in range(200, 450)]


def test_what_was_refused_when_it_was_read_is_not_tried_again(answering, create, work, owner):
    job = create(["one", " "])
    work()
    again = services.retry_failed(after(job), principal(owner))
    work()
    assert after(again).state == "failed"
    assert "refused when the file was read" in after(again).reason


def test_there_must_be_something_to_try_again(answering, create, work, owner):
    job = create(2)
    with pytest.raises(Conflict, match="not ended"):
        services.retry_failed(job, principal(owner))
    work()
    with pytest.raises(Conflict, match="has its answer"):
        services.retry_failed(after(job), principal(owner))
    unread = create(["", " "])
    work()
    with pytest.raises(Conflict, match="no rows"):
        services.retry_failed(after(unread), principal(owner))


# Deleting -------------------------------------------------------------------------------------------------------------


def test_what_is_deleted_is_gone_with_its_files(answering, create, work, owner):
    job = create(3)
    with pytest.raises(Conflict, match="Cancel it first"):
        services.delete(job)
    work()
    services.delete(after(job))
    assert not files.folder(job).exists()
    with pytest.raises(NotFound):
        queries.job_of(owner, job.pk)
    assert Chunk.objects.count() == 0


def test_a_draft_can_be_deleted(owner, collection):
    draft = services.create_draft(principal(owner), upload=upload(["How?"]))
    services.delete(draft)
    assert not files.folder(draft).exists()


# Looking --------------------------------------------------------------------------------------------------------------


def test_a_stranger_finds_nothing(create, owner, stranger):
    job = create(1)
    assert queries.job_of(owner, str(job.pk)) == job
    assert queries.jobs_of(owner).items == [job]
    for wanted in (job.pk, uuid.uuid4(), "no id"):
        with pytest.raises(NotFound):
            queries.job_of(stranger, wanted)
    assert queries.jobs_of(stranger).items == []


def test_jobs_are_listed_in_pages_newest_first(create, owner):
    jobs = [create(1) for _ in range(5)]
    services.create_draft(principal(owner), upload=upload(["How?"]))
    first = queries.jobs_of(owner, limit=3)
    second = queries.jobs_of(owner, limit=3, cursor=first.next_cursor)
    assert [*first.items, *second.items] == jobs[::-1]
    assert second.next_cursor is None
    assert len(queries.jobs_of(owner, drafts=True).items) == 6
    with pytest.raises(InvalidInput):
        queries.jobs_of(owner, cursor="not made here")


def test_jobs_are_listed_by_state_and_kind(answering, create, owner, work):
    done = create(1)
    work()
    waiting = create(1)
    assert queries.jobs_of(owner, state="completed").items == [done]
    assert queries.jobs_of(owner, state="validating").items == [waiting]
    assert queries.jobs_of(owner, kind="image").items == []
    tasks.watch()
