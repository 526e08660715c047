"""POST /api/v1/faq/match."""

import httpx2 as httpx
import pytest

from tests.factories import bearer, make_collection, make_key
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods, refusal
from webapp.usage.models import ScoringRecord

URL = "/api/v1/faq/match"
TERMS = {"question": ["copy"], "entry": ["copy"]}


@pytest.fixture
def ask(client, owner_key, scoring: Pods):
    """Asks with the owner's key; the pods find the first entry likely and the second not."""
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS), ("js-2", "js-2-a", 0.1, TERMS)]

    def ask(body, key=owner_key, **options):
        return client.post(URL, body, content_type="application/json", headers=bearer(key), **options)

    return ask


def test_the_best_entries_come_first_with_their_answers(ask):
    answer = ask({"question": "how to copy"})
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("duration_ms") > 0
    assert body == {
        "question": "how to copy",
        "collection": "javascript",
        "model": "faq-javascript",
        "version": "1",
        "threshold": 0.5,
        "answered": True,
        "ambiguous": False,
        "matches": [
            {
                "id": "js-1",
                "answer_id": "js-1-a",
                "question": "How do I copy an array?",
                "answer": "Answer **1**",
                "tags": ["arrays"],
                "probability": 0.9,
            },
            {
                "id": "js-2",
                "answer_id": "js-2-a",
                "question": "What is a closure?",
                "answer": "Answer **2**",
                "tags": ["arrays"],
                "probability": 0.1,
            },
        ],
        "request_id": answer["X-Request-ID"],
    }


def test_explain_names_the_words_that_matched(ask):
    assert ask({"question": "how to copy", "explain": True}).json()["matches"][0]["terms"] == TERMS


def test_top_k_and_min_probability_shorten_the_list(ask):
    assert [each["id"] for each in ask({"question": "copy", "top_k": 1}).json()["matches"]] == ["js-1"]
    assert [each["id"] for each in ask({"question": "copy", "min_probability": 0.5}).json()["matches"]] == ["js-1"]


def test_nothing_above_the_threshold_is_said_to_be_no_answer(ask, scoring):
    scoring.faq = [("js-1", "js-1-a", 0.2, TERMS)]
    body = ask({"question": "how to bake bread"}).json()
    assert body["answered"] is False
    assert [each["probability"] for each in body["matches"]] == [0.2]


def test_an_id_that_this_site_does_not_know_is_left_out(ask, scoring):
    scoring.faq = [("unknown", "x", 0.99, TERMS), ("js-1", "js-1-a", 0.9, TERMS)]
    assert [each["id"] for each in ask({"question": "copy"}).json()["matches"]] == ["js-1"]


def test_a_model_trained_on_something_else_is_a_502(ask, scoring):
    scoring.faq = [("unknown", "x", 0.99, TERMS)]
    assert "faq-javascript" in assert_problem(ask({"question": "copy"}), 502, "scoring-failed")["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": ""}, "question"),
        ({"question": "   "}, "question"),
        ({"question": None}, "question"),
        ({"question": ["list"]}, "question"),
        ({"question": 5}, "question"),
        ({"question": "a\0b"}, "question"),
        ({"question": "x" * 10_001}, "question"),
        ({"question": "copy", "top_k": 0}, "top_k"),
        ({"question": "copy", "top_k": 51}, "top_k"),
        ({"question": "copy", "top_k": 10**400}, "top_k"),
        ({"question": "copy", "min_probability": 2}, "min_probability"),
        ({"question": "copy", "min_probability": 10**400}, "min_probability"),
        ({"question": "copy", "explain": "perhaps"}, "explain"),
        ({"question": "copy", "collection": "../etc"}, "collection"),
        ([], "body"),
    ],
)
def test_a_value_out_of_bounds_is_a_422_that_names_the_field(ask, body, field, scoring):
    problem = assert_problem(ask(body), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert not scoring.sent


@pytest.mark.parametrize(
    "body", ["{", '{"question": "\\ud800"}', '{"question": NaN}', "[" * 100_000, "\xff".encode("latin1")]
)
def test_a_body_that_is_no_json_never_breaks_the_site(ask, body):
    assert ask(body).status_code in {400, 422}


def test_other_content_than_json_is_a_415(client, owner_key, scoring):
    answer = client.post(
        URL, "question=copy", content_type="application/x-www-form-urlencoded", headers=bearer(owner_key)
    )
    assert_problem(answer, 415, "unsupported-media-type")


def test_the_longest_question_is_taken(ask):
    assert ask({"question": "é" * 10_000}).status_code == 200


def test_an_unknown_collection_is_a_404(ask):
    assert_problem(ask({"question": "copy", "collection": "cooking"}), 404, "not-found")


def test_a_named_collection_is_searched_with_its_own_model(ask, scoring):
    make_collection(slug="python", name="Python", model_name="faq-python", is_default=False)
    assert ask({"question": "copy", "collection": "python"}).json()["collection"] == "python"
    assert scoring.sent[-1].url.path == "/v2/models/faq-python/infer"


def test_a_site_without_a_collection_says_so(client, owner_key, scoring):
    answer = client.post(URL, {"question": "copy"}, content_type="application/json", headers=bearer(owner_key))
    assert_problem(answer, 404, "not-found")


def test_a_stranger_is_a_401(client, db, scoring):
    assert_problem(client.post(URL, {"question": "copy"}, content_type="application/json"), 401, "not-signed-in")


def test_a_key_without_the_scope_is_a_403(ask, owner):
    assert_problem(ask({"question": "copy"}, key=make_key(owner, "images:read", name="Other")), 403, "not-allowed")


def test_a_slow_model_is_a_504_and_stays_in_the_history(ask, owner, scoring):
    scoring.answers(httpx.ReadTimeout("slow"))
    assert_problem(ask({"question": "copy"}), 504, "scoring-timeout")
    record = ScoringRecord.objects.get(user=owner)
    assert (record.outcome, record.subject, record.answer) == ("scoring-timeout", "copy", [])


def test_pods_that_are_gone_are_a_503_that_says_when_to_come_back(ask, scoring):
    scoring.answers(httpx.ConnectError("refused"))
    answer = ask({"question": "copy"})
    assert_problem(answer, 503, "scoring-unavailable")
    assert int(answer["Retry-After"]) >= 1


def test_a_full_pod_is_a_503_with_its_own_retry_after(ask, scoring):
    scoring.answers(refusal(503, "full", **{"Retry-After": "7"}))
    assert ask({"question": "copy"})["Retry-After"] == "7"


def test_a_question_the_model_refuses_is_a_422_with_its_reason(ask, scoring):
    scoring.answers(refusal(400, "input 'question', row 0: there is no word in it"))
    assert assert_problem(ask({"question": "?!"}), 422, "scoring-refused")["detail"] == "There is no word in it"


def test_what_was_answered_is_in_the_history(ask, owner, owner_key):
    answer = ask({"question": "how to copy"})
    record = ScoringRecord.objects.get()
    assert (record.user, record.key.prefix, record.kind, record.source) == (owner, owner_key.key.prefix, "faq", "api")
    assert (record.subject, record.model, record.version, record.outcome) == (
        "how to copy",
        "faq-javascript",
        "1",
        "ok",
    )
    assert record.answer[0] == {"id": "js-1", "question": "How do I copy an array?", "probability": 0.9}
    assert record.request_id == answer["X-Request-ID"]
    assert record.duration_ms > 0
