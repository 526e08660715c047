"""POST /api/v1/images/classify."""

import base64
import threading

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import bearer, make_key, picture
from tests.webapp.answers import assert_problem
from tests.webapp.images.bombs import png_of
from tests.webapp.pods import Pods, refusal
from webapp.usage.models import ScoringRecord

URL = "/api/v1/images/classify"
TEXT = SimpleUploadedFile("notes.txt", b"not a picture")


@pytest.fixture
def classify(client, owner_key, scoring: Pods):
    def classify(fields, key=owner_key):
        return client.post(URL, fields, headers=bearer(key))

    return classify


@pytest.fixture
def classify_raw(client, owner_key, scoring: Pods):
    def classify_raw(body, content_type="image/png", query=""):
        return client.post(URL + query, body, content_type=content_type, headers=bearer(owner_key))

    return classify_raw


def test_a_picture_gets_its_categories_best_first(classify):
    answer = classify({"files": picture()})
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("duration_ms") > 0
    assert body == {
        "model": "resnet152",
        "version": "1",
        "results": [
            {
                "field": "files",
                "filename": "dog.png",
                "version": "1",
                "predictions": [
                    {"label": "Samoyed", "label_id": "n02111889", "probability": 0.9},
                    {"label": "white wolf", "label_id": "n02114548", "probability": 0.05},
                ],
                "error": None,
            }
        ],
        "request_id": answer["X-Request-ID"],
    }


@pytest.mark.parametrize("how", ["in the form", "in the address"])
def test_explain_shows_where_each_first_category_was_seen(classify, classify_raw, scoring, how):
    if how == "in the form":
        answer = classify({"files": [picture(name="a.png"), picture(name="b.png")], "explain": "true"})
    else:
        answer = classify_raw(picture().read(), query="?explain=true")
    results = answer.json()["results"]
    assert [base64.b64decode(result["heatmap"]) for result in results] == [scoring.heatmap] * len(results)
    assert results[0]["predictions"][0]["label"] == "Samoyed"


def test_a_bad_file_among_explained_ones_has_no_heatmap(classify):
    bad, good = classify({"files": [TEXT, picture()], "explain": "true"}).json()["results"]
    assert "heatmap" not in bad
    assert good["heatmap"]


def test_a_model_that_cannot_explain_says_so(classify, scoring):
    [model] = scoring.models["gpu"]
    model["tensors"] = {"inputs": [], "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1, -1]}]}
    answer = classify({"files": picture(), "explain": "true"})
    problem = assert_problem(answer, 422, "invalid-input")
    assert problem["errors"] == [{"field": "explain", "detail": problem["detail"]}]
    assert "ResNet-152 cannot show where it saw something" in problem["detail"]
    assert classify({"files": picture()}).status_code == 200


def test_a_version_that_cannot_explain_beside_one_that_can_says_so_too(classify, scoring):
    scoring.answers(refusal(400, "there is no output 'heatmap'; this model has label, label_id, probability"))
    answer = classify({"files": picture(), "explain": "true"})
    assert "no output 'heatmap'" in assert_problem(answer, 422, "scoring-refused")["detail"]


def test_fields_may_have_any_names(classify):
    results = classify({"left": picture(name="a.png"), "right": [picture(name="b.png"), picture(name="c.png")]}).json()[
        "results"
    ]
    assert [(each["field"], each["filename"]) for each in results] == [
        ("left", "a.png"),
        ("right", "b.png"),
        ("right", "c.png"),
    ]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_all_formats_go_to_the_pod_as_they_came(classify, scoring, form):
    file = picture(form=form)
    assert classify({"files": file}).status_code == 200
    file.seek(0)
    assert scoring.inferences()[0].inputs[0].data == [file.read()]


def test_a_raw_body_is_one_picture(classify_raw):
    answer = classify_raw(picture().read(), query="?top_k=1")
    assert answer.status_code == 200
    [result] = answer.json()["results"]
    assert (result["field"], result["filename"], len(result["predictions"])) == ("body", "picture.png", 1)


def test_a_bad_file_says_why_and_spoils_no_other(classify, scoring):
    TEXT.seek(0)
    results = classify({"files": [picture(name="a.png"), TEXT, picture(name="b.png")]}).json()["results"]
    assert [bool(each["predictions"]) for each in results] == [True, False, True]
    assert results[1]["predictions"] is None
    assert results[1]["error"]["type"] == "/problems/invalid-input"
    assert "notes.txt" in results[1]["error"]["detail"]
    assert len(scoring.inferences()) == 2


def test_a_file_that_the_pod_refuses_spoils_no_other(classify, scoring):
    first, refused = scoring.behave, refusal(400, "input 'image', row 0: this file ends too early")
    good = picture(name="good.png", width=9)
    content = good.read()
    good.seek(0)
    scoring.answers(lambda request: first(request) if content in request.content else refused)
    results = classify({"files": [picture(name="bad.png"), good]}).json()["results"]
    assert results[0]["error"]["detail"] == "This file ends too early"
    assert results[1]["error"] is None


def test_files_are_scored_together(classify, scoring):
    together = threading.Barrier(8, timeout=10)

    def wait_for_all(request):
        together.wait()
        return scoring.behave(request)

    scoring.answers(wait_for_all)
    answer = classify({"files": [picture(name=f"{number}.png") for number in range(8)]})
    assert [each["filename"] for each in answer.json()["results"]] == [f"{number}.png" for number in range(8)]
    assert {request.headers["X-Request-ID"] for request in scoring.sent if "infer" in request.url.path} == {
        answer["X-Request-ID"]
    }


def test_when_all_files_are_bad_it_is_a_422_that_says_why_for_each(classify):
    TEXT.seek(0)
    problem = assert_problem(classify({"files": [TEXT, SimpleUploadedFile("x.png", b"x")]}), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == ["files[0]", "files[1]"]


@pytest.mark.parametrize(
    ("file", "kind", "words"),
    [
        (SimpleUploadedFile("empty.png", b""), (422, "invalid-input"), "empty.png is empty"),
        (SimpleUploadedFile("page.svg", b"<svg/>"), (422, "invalid-input"), "JPEG, PNG, WebP, GIF or BMP"),
        (SimpleUploadedFile("cut.png", picture().read()[:20]), (422, "invalid-input"), "cut.png"),
        (
            SimpleUploadedFile("big.png", b"\x89PNG" + bytes(10_000_001)),
            (413, "too-large"),
            "big.png is larger than 10 MB",
        ),
        (SimpleUploadedFile("bomb.png", png_of(60_000, 60_000)), (413, "too-large"), "3600 megapixels; at most 50"),
        (SimpleUploadedFile("wide.png", png_of(50_000_001, 1)), (413, "too-large"), "megapixels"),
    ],
)
def test_a_file_that_will_not_do_never_reaches_a_pod(classify, scoring, file, kind, words):
    file.seek(0)
    assert words in assert_problem(classify({"files": file}), *kind)["detail"]
    assert not scoring.inferences()


def test_the_same_holds_for_a_raw_body(classify_raw):
    assert_problem(classify_raw(b"nothing"), 422, "invalid-input")
    assert_problem(classify_raw(bytes(10_000_001)), 413, "too-large")


def test_a_request_without_a_picture_is_a_422(classify, classify_raw):
    assert_problem(classify({"model": "resnet152"}), 422, "invalid-input")
    assert_problem(classify_raw(b""), 422, "invalid-input")


def test_more_than_eight_pictures_are_refused_together(classify, scoring):
    answer = classify({"files": [picture(name=f"{number}.png") for number in range(9)]})
    assert_problem(answer, 422, "invalid-input")
    assert not scoring.inferences()


@pytest.mark.parametrize(
    ("fields", "field"), [({"top_k": "0"}, "top_k"), ({"top_k": "many"}, "top_k"), ({"model": "a\0b"}, "model")]
)
def test_a_value_out_of_bounds_is_a_422_that_names_the_field(classify, fields, field):
    problem = assert_problem(classify({"files": picture(), **fields}), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"not multipart", "multipart/form-data; boundary=x", 422),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        (b"anything", "multipart/form-data", 400),
        (b"{}", "application/json", 415),
        (b"x", "text/plain", 415),
        (b"x", "image", 422),
        (b"x", "image/", 422),
        (b"x", "image/../../etc/passwd", 422),
    ],
)
def test_a_broken_body_never_breaks_the_site(classify_raw, body, content_type, status):
    assert classify_raw(body, content_type).status_code == status


def test_an_unknown_model_is_a_404_that_names_the_others(classify):
    problem = assert_problem(classify({"files": picture(), "model": "alexnet"}), 404, "not-found")
    assert "resnet152" in problem["detail"]


def test_the_model_may_be_chosen(classify, scoring):
    scoring.models["gpu"].append({"name": "digits", "kind": "image", "title": "Digits", "sample": True})
    assert classify({"files": picture()}).json()["model"] == "resnet152"
    assert classify({"files": picture(), "model": "digits"}).json()["model"] == "digits"


def test_pods_that_are_gone_are_a_503_that_says_when_to_come_back(classify, scoring):
    scoring.answers(httpx.ConnectError("refused"))
    answer = classify({"files": [picture(), picture()]})
    assert_problem(answer, 503, "scoring-unavailable")
    assert "Retry-After" in answer


def test_a_slow_pod_is_a_504(classify, scoring):
    scoring.answers(httpx.ReadTimeout("slow"))
    assert_problem(classify({"files": picture()}), 504, "scoring-timeout")


def test_a_stranger_is_a_401_and_a_key_without_the_scope_a_403(client, owner, classify):
    assert_problem(client.post(URL, {"files": picture()}), 401, "not-signed-in")
    assert_problem(classify({"files": picture()}, key=make_key(owner, "faq:read", name="Other")), 403, "not-allowed")


def test_each_picture_counts_in_the_rate_limit(classify, settings):
    settings.RATE_LIMITS_PER_KEY = {**settings.RATE_LIMITS_PER_KEY, "images": 3}
    assert classify({"files": [picture(), picture()]}).status_code == 200
    assert_problem(classify({"files": [picture(), picture()]}), 429, "rate-limited")


def test_each_file_is_in_the_history_also_the_bad_ones(classify, owner):
    TEXT.seek(0)
    classify({"files": [picture(), TEXT]})
    rows = {record.subject: record for record in ScoringRecord.objects.filter(user=owner, kind="image", source="api")}
    assert rows["dog.png"].answer[0] == {"id": "n02111889", "label": "Samoyed", "probability": 0.9}
    assert (rows["dog.png"].outcome, rows["dog.png"].version) == ("ok", "1")
    assert rows["notes.txt"].outcome == "invalid-input"
