"""What of a call to the API or a page counts in the traffic of which version."""

import httpx2 as httpx
import pytest

from scoring_service.contract import VERSION_HEADER
from tests.factories import bearer, make_collection, picture
from tests.webapp.pods import Pods, refusal
from webapp.usage import traffic
from webapp.usage.models import ScoringRecord, Traffic

TERMS = {"question": [], "entry": []}


@pytest.fixture
def match(client, owner_key, scoring: Pods):
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS), ("js-2", "js-2-a", 0.1, TERMS)]

    def match(question="how to copy"):
        body = {"question": question}
        return client.post("/api/v1/faq/match", body, content_type="application/json", headers=bearer(owner_key))

    return match


@pytest.fixture
def classify(client, owner_key, scoring: Pods):
    def classify(*files):
        return client.post("/api/v1/images/classify", {"files": files}, headers=bearer(owner_key))

    return classify


def counted() -> list[tuple[str, str, int, int]]:
    """Model, version, requests and errors of all that was counted."""
    traffic.write()
    rows = Traffic.objects.order_by("model", "version", "at")
    return [(row.model, row.version, row.requests, row.errors) for row in rows]


def test_an_answer_counts_for_the_version_that_gave_it(match):
    assert match().status_code == 200
    assert counted() == [("faq-javascript", "1", 1, 0)]
    row = Traffic.objects.get()
    assert row.confidence_sum == pytest.approx(0.9)
    assert sum(row.latency.values()) == 1
    assert not row.pinned


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_failure_counts_for_the_version_that_failed(match, scoring, status):
    scoring.answers(refusal(status, "it broke", **{VERSION_HEADER: "8"}))
    assert match().status_code >= 500
    assert counted() == [("faq-javascript", "8", 1, 1)]
    record = ScoringRecord.objects.get()
    assert (record.model, record.version) == ("faq-javascript", "8")


@pytest.mark.parametrize(
    "content",
    [
        b"no JSON at all",
        b'{"model_name": "faq-javascript", "model_version": "8", "outputs": [], "parameters": {"threshold": 0.5}}',
    ],
)
def test_an_answer_that_cannot_be_read_is_a_failure_of_its_version(match, scoring, content):
    scoring.answers(httpx.Response(200, content=content, headers={VERSION_HEADER: "8"}))
    assert match().status_code == 502
    assert counted() == [("faq-javascript", "8", 1, 1)]


def test_a_failure_of_no_known_version_counts_for_the_model(match, scoring):
    scoring.answers(httpx.ReadTimeout("slow"))
    match()
    assert counted() == [("faq-javascript", "", 1, 1)]


def test_a_version_that_answers_with_unknown_entries_has_failed(match, scoring):
    scoring.faq = [("unknown", "x", 0.9, TERMS)]
    assert match().status_code == 502
    assert counted() == [("faq-javascript", "1", 1, 1)]


def test_a_question_that_the_model_refuses_is_no_error_of_it(match, scoring):
    scoring.answers(refusal(400, "there is no word in it", **{VERSION_HEADER: "8"}))
    assert match("?!").status_code == 422
    assert counted() == [("faq-javascript", "8", 1, 0)]


def test_a_question_that_no_model_sees_is_not_counted(match):
    assert match("").status_code == 422
    assert counted() == []


def test_questions_while_somebody_types_and_pages_shown_again_count_too(owner_client, scoring):
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]
    for options in ({"headers": {"HX-Request": "true"}}, {"headers": {"HX-History-Restore-Request": "true"}}):
        assert owner_client.get("/faq/?q=copy&live=1", **options).status_code == 200
    assert sum(row[2] for row in counted()) == 2


def test_each_picture_counts(classify):
    assert classify(picture(name="a.png"), picture(name="b.png"), picture(name="c.png")).status_code == 200
    assert counted() == [("resnet152", "1", 3, 0)]
    assert Traffic.objects.get().confidence_sum == pytest.approx(2.7)


def test_a_picture_that_fails_counts_for_the_version_that_failed(classify, scoring):
    scoring.answers(refusal(500, "out of memory", **{VERSION_HEADER: "9"}))
    assert classify(picture()).status_code == 502
    assert counted() == [("resnet152", "9", 1, 1)]
    assert ScoringRecord.objects.get().version == "9"


def test_a_file_that_is_no_picture_never_reaches_a_version(classify):
    from django.core.files.uploadedfile import SimpleUploadedFile

    assert classify(SimpleUploadedFile("notes.txt", b"text")).status_code == 422
    assert counted() == []
    assert ScoringRecord.objects.get().version == ""


def test_the_address_of_the_reference_counts_too(client, owner_key, scoring):
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]
    client.post("/score", {"input": "copy"}, content_type="application/json", headers=bearer(owner_key))
    client.post("/score", {"image": picture()}, headers=bearer(owner_key))
    assert [row[:3] for row in counted()] == [("faq-javascript", "1", 1), ("resnet152", "1", 1)]
