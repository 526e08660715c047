"""The reference's one address: its clients' requests, its shapes."""

import re

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import bearer, make_collection, make_key, picture
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods
from webapp.usage.models import ScoringRecord

URL = "/score"


@pytest.fixture
def pods(scoring: Pods) -> Pods:
    make_collection()
    scoring.faq = [(f"js-{number}", f"js-{number}-a", 1 / (number + 1), {}) for number in range(1, 60)]
    scoring.labels = [(f"label {number}", f"n{number}", 0.5 / (number + 1)) for number in range(10)]
    return scoring


@pytest.fixture
def score(client, owner_key, pods):
    def score(body, key=owner_key, **options):
        return client.post(URL, body, headers=bearer(key), **options)

    return score


def ask(score, question, **options):
    return score({"input": question}, content_type="application/json", **options)


def test_a_question_gets_every_original_best_first(score):
    answer = ask(score, "how to copy").json()
    assert len(answer) == 59
    assert answer[0] == ["js-1", "js-1-a", 0.5]
    assert [each[2] for each in answer] == sorted((each[2] for each in answer), reverse=True)


def test_pictures_get_three_categories_under_the_name_of_their_field(score):
    found, time = score({"left": picture(), "right": picture()}).json()
    assert list(found) == ["left", "right"]
    assert found["left"] == [["n0", "label 0", 0.5], ["n1", "label 1", 0.25], ["n2", "label 2", 0.166667]]
    assert re.fullmatch(r"Computed in \d+\.\d\d ms", time)


def test_the_headers_name_the_model_and_the_version_that_answered(score):
    answer = ask(score, "how to copy")
    assert (answer["X-Model"], answer["X-Model-Version"]) == ("faq-javascript", "1")
    answer = score({"left": picture(), "right": picture()})
    assert (answer["X-Model"], answer["X-Model-Version"]) == ("resnet152", "1")


def test_fields_of_the_same_name_are_told_apart(score):
    found, _ = score({"image": [picture(), picture()]}).json()
    assert list(found) == ["image", "image#2"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [({"a#2": 1, "a": 2}, ["a#2", "a", "a#3"]), ({"a#b": 2}, ["a#b", "a#b#2"])],
)
def test_no_picture_is_lost_whatever_the_fields_are_called(score, fields, names):
    found, _ = score({field: [picture() for _ in range(count)] for field, count in fields.items()}).json()
    assert list(found) == names


def test_get_says_who_answers(client, owner_key, pods):
    answer = client.get(URL, headers=bearer(owner_key))
    assert answer.status_code == 200
    assert {"azEnvironment", "location", "osType", "isServer", "version", "uniqueId"} <= set(answer.json())


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": None}, {"input": 1e309}, {"question": "x"}, [1]])
def test_a_question_of_the_wrong_shape_is_a_4xx_problem(score, body):
    answer = score(body, content_type="application/json")
    assert answer.status_code in {400, 422}
    assert answer["Content-Type"] == "application/problem+json"


def test_other_content_is_a_415(score):
    assert_problem(score(b"x", content_type="text/plain"), 415, "unsupported-media-type")


def test_a_large_body_that_is_no_form_is_not_read(score):
    assert_problem(score(b'{"input": "' + b"x" * 2_000_000 + b'"}', content_type="application/json"), 413, "too-large")


def test_one_bad_picture_is_a_problem_of_the_whole_request(score):
    answer = score({"left": picture(), "right": SimpleUploadedFile("notes.txt", b"x")})
    assert "notes.txt" in assert_problem(answer, 422, "invalid-input")["detail"]


def test_each_kind_needs_its_scope(score, owner):
    faq, images = make_key(owner, "faq:read", name="Faq"), make_key(owner, "images:read", name="Images")
    assert ask(score, "how to copy", key=faq).status_code == 200
    assert_problem(ask(score, "how to copy", key=images), 403, "not-allowed")
    assert score({"image": picture()}, key=images).status_code == 200
    assert_problem(score({"image": picture()}, key=faq), 403, "not-allowed")


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_stranger_is_a_401(client, db, method):
    assert_problem(getattr(client, method)(URL), 401, "not-signed-in")


def test_pods_that_are_gone_are_a_503(score, client, owner_key, pods):
    pods.answers(httpx.ConnectError("refused"))
    assert_problem(ask(score, "how to copy"), 503, "scoring-unavailable")
    assert_problem(score({"image": picture()}), 503, "scoring-unavailable")
    assert_problem(client.get(URL, headers=bearer(owner_key)), 503, "scoring-unavailable")


def test_what_was_scored_is_in_the_history(score, pods):
    ask(score, "how to copy")
    record = ScoringRecord.objects.get()
    assert (record.kind, record.source, record.subject) == ("faq", "api", "how to copy")
    assert [each["id"] for each in record.answer] == ["js-1", "js-2"]
