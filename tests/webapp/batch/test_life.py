"""What becomes of a job, from its upload to its end."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from tests.factories import make_model, make_version
from tests.webapp.batch.conftest import after, results
from tests.webapp.pods import refusal
from webapp.batch import endings, files, queries, services, tasks
from webapp.batch.models import Chunk, Job
from webapp.batch.rows import Answer
from webapp.errors import Conflict
from webapp.usage import ledger, traffic
from webapp.usage.models import ScoringRecord, Traffic, Use
from webapp.webhooks import events
from webapp.webhooks.models import Delivery, Endpoint, EventType


def test_every_question_is_answered_once_and_in_order(answering, create, work):
    job = create(450)
    assert job.state == Job.State.VALIDATING
    work()
    job = after(job)
    assert (job.state, job.total, job.completed, job.failed) == ("completed", 450, 450, 0)
    found = results(job)
    assert [row.row for row in found] == list(range(450))
    assert [row.id for row in found] == [f"q{number}" for number in range(450)]
    assert found[449].answers[0] == Answer("js-1", "How do I copy an array?", 0.91, "js-1-a")
    assert found[0].version == "1"


def test_rows_are_asked_at_low_priority_in_few_requests_and_as_one_caller(answering, create, work):
    job = create(450, top_k=1)
    work()
    asked = answering.inferences()
    assert [request.inputs[0].shape for request in asked] == [[200], [200], [50]]
    assert {request.parameters["priority"] for request in asked} == {2}
    assert {request.parameters["routing_key"] for request in asked} == {f"batch:{job.pk}"}
    assert all(len(row.answers) == 1 for row in results(job))


def test_the_page_learns_how_far_a_job_is_and_how_sure_its_answers_are(answering, create, work):
    job = create(250)
    assert queries.progress_of(job).share == 0
    work()
    progress = queries.progress_of(after(job))
    assert (progress.total, progress.done, progress.share, progress.seconds_left) == (250, 250, 1.0, None)
    histogram = queries.histogram_of(job)
    assert (len(histogram), histogram[18], sum(histogram)) == (20, 250, 250)


def test_while_it_is_at_work_its_rate_tells_how_long_it_will_take(answering, create, work):
    job = create(600)
    work()
    moved = timezone.now() - timedelta(seconds=10)
    Job.objects.update(state="in_progress", in_progress_at=moved, completed=400, ended_at=None)
    Chunk.objects.filter(number=2).update(state="waiting", done_at=None)
    progress = queries.progress_of(after(job))
    assert progress.rate == pytest.approx(40, rel=0.1)
    assert progress.seconds_left == pytest.approx(5, rel=0.1)


def test_a_row_that_cannot_be_scored_fails_alone_and_says_why(answering, create, work):
    answering.refused["???"] = "it has no word in it"
    job = create(["How do I copy?", "???", "What is this?"])
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed) == ("completed", 2, 1)
    assert [row.error for row in results(job)] == ["", "It has no word in it", ""]
    assert [bool(row.answers) for row in results(job)] == [True, False, True]


def test_a_pod_that_refuses_a_whole_request_is_asked_for_its_rows_in_parts(answering, create, work):
    def too_large(request):
        asked = answering.inferences()[-1]
        return refusal(413, "the request is too large") if len(asked.inputs[0].data) > 1 else answering.behave(request)

    answering.answers(too_large)
    job = create(5)
    work()
    assert (after(job).state, after(job).completed) == ("completed", 5)
    assert [row.row for row in results(job)] == list(range(5))


def test_a_row_that_is_refused_at_reading_is_in_the_results_with_its_line(answering, create, work):
    job = create(["How do I copy?", " "])
    work()
    job = after(job)
    assert (job.state, job.completed, job.failed) == ("completed", 1, 1)
    assert "Line 2" in results(job)[1].error


def test_a_file_of_which_nothing_can_be_scored_fails_the_job_with_the_reason(answering, create, work):
    job = create(["", " "])
    work()
    job = after(job)
    assert job.state == "failed"
    assert "Line 1" in job.reason
    assert job.ended_at
    assert job.kept_until > timezone.now() + timedelta(days=29)


def test_more_rows_than_allowed_fail_the_job(answering, create, work, settings):
    settings.BATCH_ROWS = 2
    job = create(3)
    work()
    assert after(job).state == "failed"
    assert "more than 2 rows" in after(job).reason


def test_rows_count_as_traffic_and_not_as_history(answering, create, work):
    create(450)
    work()
    traffic.write()
    assert ScoringRecord.objects.count() == 0
    assert sum(Traffic.objects.values_list("requests", flat=True)) == 3
    assert set(Traffic.objects.values_list("model", "version", "pinned")) == {("faq-javascript", "1", True)}


@pytest.fixture
def hook(owner, monkeypatch) -> Endpoint:
    """An endpoint of the owner; what is written for it is sent nowhere."""
    monkeypatch.setattr(events, "send", lambda: None)
    wanted = " ".join(EventType.values)
    return Endpoint.objects.create(owner=owner, url="https://example.org/hook", events=wanted)


@pytest.mark.usefixtures("hook")
def test_who_has_a_webhook_is_told_of_the_end(answering, create, work):
    job = create(3)
    work()
    [told] = Delivery.objects.all()
    assert told.type == "batch.completed"
    assert str(job.pk) in told.body
    assert '"completed":3' in told.body


def test_rows_count_as_their_owner_s_use_and_the_job_as_one_request(answering, create, work, owner):
    answering.refused["???"] = "it has no word in it"
    create(["???", *(f"Question {number}?" for number in range(299))])
    work()
    ledger.write()
    counted = Use.objects.aggregate(Sum("requests"), Sum("rows"), Sum("errors"))
    assert counted == {"requests__sum": 1, "rows__sum": 300, "errors__sum": 1}
    assert set(Use.objects.values_list("user", "source", "model", "version")) == {
        (owner.pk, "batch", "faq-javascript", "1")
    }


# Cancelling -----------------------------------------------------------------------------------------------------------


def test_what_is_cancelled_before_it_is_read_is_never_read(answering, create, work):
    job = services.cancel(create(3))
    assert job.state == Job.State.CANCELLED
    work()
    assert (after(job).state, after(job).total, answering.sent) == ("cancelled", 0, [])


def test_what_is_cancelled_half_way_keeps_what_is_done(answering, create, work):
    job = create(600)

    def cancel(request):
        services.cancel(after(job))
        connection.close()  # this thread's
        return answering.behave(request)

    answering.answers(cancel)
    work()
    tasks.watch()
    job = after(job)
    assert job.state == "cancelled"
    assert 0 < job.completed < 600
    assert [row.row for row in results(job)] == list(range(job.completed))
    assert services.cancel(job).state == "cancelled"


def test_what_has_ended_cannot_be_cancelled(answering, create, work):
    job = create(3)
    work()
    with pytest.raises(Conflict, match="ended already"):
        services.cancel(after(job))


# Expiry ---------------------------------------------------------------------------------------------------------------


def test_what_takes_too_long_expires_and_keeps_what_is_done(answering, create, work):
    job = create(250)
    work()
    Job.objects.update(state="in_progress", ended_at=None, completed=200, expires_at=timezone.now())
    Chunk.objects.filter(number=1).update(state="waiting", result="", done_at=None)
    tasks.watch()
    work()
    job = after(job)
    assert (job.state, job.completed) == ("expired", 200)
    assert "24 hours" in job.reason
    assert len(results(job)) == 200


def test_what_is_never_read_expires_and_says_to_upload_it_again(create, work):
    job = create(3)
    Job.objects.update(expires_at=timezone.now(), heartbeat_at=timezone.now())
    tasks.watch()
    work()
    assert after(job).state == "expired"
    assert "Upload it again" in after(job).reason


# Completing -----------------------------------------------------------------------------------------------------------


def test_results_that_have_got_lost_are_made_once_more(answering, create, work):
    job = create(450)
    work()
    Job.objects.update(state="finalizing", ended_at=None, finalizing_at=timezone.now() - timedelta(minutes=1))
    lost = Chunk.objects.get(number=1)
    (files.folder(job) / "results" / lost.result).unlink()
    tasks.watch()
    work()
    tasks.watch()
    work()
    job = after(job)
    assert (job.state, job.completed) == ("completed", 450)
    assert [row.row for row in results(job)] == list(range(450))


def test_of_results_only_those_that_count_are_kept(answering, create, work):
    job = create(3)
    stray = files.folder(job) / "results" / "0-stray.jsonl.gz"
    stray.parent.mkdir()
    stray.touch()
    work()
    [chunk] = Chunk.objects.all()
    assert [path.name for path in stray.parent.iterdir()] == [chunk.result]


@pytest.mark.parametrize("state", ["in_progress", "cancelling"])
def test_of_a_job_that_is_cut_short_only_results_that_count_are_kept(answering, create, work, state):
    job = create(250)
    work()
    done = Chunk.objects.get(number=0)
    Chunk.objects.filter(number=1).update(state="waiting", result="", done_at=None)
    Job.objects.update(state=state, ended_at=None, completed=200, expires_at=timezone.now())
    folder = files.folder(job) / "results"
    assert len(list(folder.iterdir())) == 2
    tasks.watch()
    assert after(job).has_ended
    assert [path.name for path in folder.iterdir()] == [done.result]


@pytest.mark.usefixtures("hook")
def test_a_job_is_completed_once_however_often_it_is_tried(answering, create, work):
    job = create(3)
    work()
    endings.finalize(job.pk)
    assert not endings.end(job.pk, Job.State.FAILED, was=[Job.State.FINALIZING])
    assert Delivery.objects.count() == 1


# Versions -------------------------------------------------------------------------------------------------------------


def test_a_version_that_is_asked_for_is_asked_of_the_pods(answering, create, work):
    make_version(make_model(), "7", "champion")
    job = create(3, version="7")
    work()
    assert {request.url.path for request in answering.sent} == {"/v2/models/faq-javascript/versions/7/infer"}
    assert results(job)[0].version == "7"
