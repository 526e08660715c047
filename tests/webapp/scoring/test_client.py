"""The client of the pods: what it sends, what it reads, and what becomes of each failure."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import msgspec
import pytest
import structlog

from tests.webapp.pods import Pods, refusal
from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.scoring.answers import FaqScore, Prediction, Terms
from webapp.scoring.client import BatchOptions, scoring_client

TERMS = {"question": ["copy"], "entry": ["copy"]}


def match(question="how to copy", **options):
    return scoring_client().match_faq(question, **{"model": "faq-javascript", "timeout": 2.0, **options})


def classify(data=b"picture"):
    return scoring_client().classify_image(data, model="resnet152", timeout=2.0)


@pytest.fixture(autouse=True)
def matches(scoring: Pods):
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS), ("js-2", "js-2-a", 0.1, TERMS)]


def test_a_question_comes_back_as_scores():
    answer = match()
    assert answer.scores == [FaqScore("js-1", "js-1-a", 0.9), FaqScore("js-2", "js-2-a", 0.1)]
    assert (answer.model, answer.version, answer.threshold, answer.model_ms) == ("faq-javascript", "1", 0.5, 0.7)


def test_the_words_that_matched_come_when_asked_for(scoring):
    assert match(explain=True).scores[0].terms == Terms(["copy"], ["copy"])
    assert "terms" in [output.name for output in scoring.inferences()[0].outputs]


def test_a_heatmap_comes_when_asked_for(scoring):
    assert classify().heatmap is None
    scoring.heatmap = bytes(range(256))
    answer = scoring_client().classify_image(b"picture", model="resnet152", top_k=2, explain=True, timeout=2.0)
    assert answer.heatmap == scoring.heatmap
    assert [each.label for each in answer.predictions] == ["Samoyed", "white wolf"]


def test_a_picture_travels_as_it_is(scoring):
    data = bytes(range(256))
    answer = classify(data)
    assert answer.predictions == [Prediction("Samoyed", "n02111889", 0.9), Prediction("white wolf", "n02114548", 0.05)]
    assert scoring.inferences()[0].inputs[0].data == [data]
    assert data in scoring.sent[0].content


def test_a_request_carries_its_id_the_time_left_and_the_token(settings, scoring):
    settings.SCORING_TOKEN = "a token"
    scoring_client.cache_clear()
    with structlog.contextvars.bound_contextvars(request_id="request-1"):
        match(timeout=1.5)
    headers = scoring.sent[0].headers
    assert headers["X-Request-ID"] == "request-1"
    assert 0 < int(headers["X-Request-Deadline-Ms"]) <= 1500
    assert headers["Authorization"] == "Bearer a token"


def test_a_model_name_cannot_lead_elsewhere(scoring):
    scoring.answers(refusal(404, "no such model"))
    with pytest.raises(ScoringUnavailable):
        match(model="../../score?x=")
    assert scoring.sent[0].url.raw_path == b"/v2/models/..%2F..%2Fscore%3Fx%3D/infer"


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.WriteError("pipe"),
    ],
)
def test_a_connection_that_breaks_is_tried_again(scoring, failure):
    scoring.answers(failure, scoring.behave)
    assert match().scores[0].faq_id == "js-1"
    assert len(scoring.sent) == 2


def test_pods_that_refuse_connections_are_tried_three_times_more(scoring):
    refused = httpx.ConnectError("refused")
    scoring.answers(refused, refused, refused, scoring.behave)
    assert match().scores[0].faq_id == "js-1"
    scoring.sent.clear()
    scoring.answers(refused)
    with pytest.raises(ScoringUnavailable) as error:
        match()
    assert len(scoring.sent) == 4
    assert error.value.retry_after > 0


def test_a_request_that_pods_may_have_died_of_is_sent_only_once_more(scoring):
    scoring.answers(httpx.ReadError("reset"))
    with pytest.raises(ScoringUnavailable):
        match()
    assert len(scoring.sent) == 2


def test_no_attempt_begins_after_the_deadline(scoring):
    scoring.answers(httpx.ConnectError("refused"))
    with pytest.raises(ScoringUnavailable):
        match(timeout=0.05)
    assert len(scoring.sent) == 2, "the second at once, the third would come too late"


def test_a_pod_without_room_is_left_for_another_one(scoring):
    scoring.answers(refusal(503, "full"), scoring.behave)
    assert match().scores[0].faq_id == "js-1"


def test_the_pod_is_told_to_give_up_a_little_sooner_than_we_do(scoring):
    match(timeout=1.0)
    match(timeout=0.1)
    told = [int(request.headers["X-Request-Deadline-Ms"]) for request in scoring.sent]
    assert 940 <= told[0] <= 950
    assert 85 <= told[1] <= 90


def test_an_error_names_the_version_where_the_pod_does(scoring):
    scoring.answers(refusal(504, "too late", **{"X-Model-Version": "7"}))
    with pytest.raises(ScoringTimeout) as error:
        match()
    assert error.value.model_version == "7"
    scoring.answers(httpx.ReadTimeout("slow"))
    with pytest.raises(ScoringTimeout) as error:
        match()
    assert error.value.model_version == ""


def test_a_version_can_be_named_and_callers_be_told_apart(scoring):
    match(version="7/8")
    match(routing_key="user:5")
    named, keyed = scoring.sent
    assert named.url.raw_path == b"/v2/models/faq-javascript/versions/7%2F8/infer"
    assert keyed.url.path == "/v2/models/faq-javascript/infer"
    assert [asked.parameters.get("routing_key") for asked in scoring.inferences()] == [None, "user:5"]


def test_several_questions_come_back_as_an_answer_each(scoring):
    scoring.by_question = {"second": [("js-2", "js-2-a", 0.8, TERMS), ("js-1", "js-1-a", 0.2, TERMS)]}
    answers = scoring_client().match_many(["first", "second"], model="faq-javascript", version="1", timeout=2.0)
    assert [[score.faq_id for score in answer.scores] for answer in answers] == [["js-1", "js-2"], ["js-2", "js-1"]]
    assert answers[1].scores[0].probability == 0.8
    assert len(scoring.sent) == 1


def test_several_pictures_come_back_as_an_answer_each(scoring):
    answers = scoring_client().classify_many([b"one", b"two", b"three"], model="resnet152", timeout=2.0)
    assert [answer.predictions[0].label for answer in answers] == ["Samoyed"] * 3


def match_batch(*questions, **options):
    how = BatchOptions(**{"model": "faq-javascript", "top_k": 10, "timeout": 2.0, **options})
    return scoring_client().match_batch(questions, how)


def classify_batch(*pictures, **options):
    how = BatchOptions(**{"model": "resnet152", "top_k": 5, "timeout": 2.0, **options})
    return scoring_client().classify_batch(pictures, how)


def test_rows_of_a_batch_are_asked_for_at_low_priority_with_an_error_a_row(scoring):
    match_batch("first", version="7", top_k=3, routing_key="job:5")
    classify_batch(b"one", top_k=2)
    questions, pictures = scoring.inferences()
    assert questions.parameters == {"top_k": 3, "routing_key": "job:5", "priority": 2, "row_errors": True}
    assert pictures.parameters == {"top_k": 2, "priority": 2, "row_errors": True}
    assert scoring.sent[0].url.path == "/v2/models/faq-javascript/versions/7/infer"


def test_each_row_of_a_batch_has_its_answer_or_its_error_in_its_place(scoring):
    scoring.refused = {"": "the question is empty.", "?!": "there is no word in it"}
    scoring.by_question = {"last": [("js-9", "js-9-a", 0.7, TERMS), ("js-1", "js-1-a", 0.2, TERMS)]}
    empty, first, wordless, last = match_batch("", "first", "?!", "last", version="7")
    assert first.scores == [FaqScore("js-1", "js-1-a", 0.9), FaqScore("js-2", "js-2-a", 0.1)]
    assert (last.scores[0], last.model, last.version, last.threshold) == (
        FaqScore("js-9", "js-9-a", 0.7),
        "faq-javascript",
        "7",
        0.5,
    )
    assert [type(each) for each in (empty, wordless)] == [ScoringRefused] * 2
    assert [each.detail for each in (empty, wordless)] == ["The question is empty.", "There is no word in it"]
    assert (empty.said, empty.model_version) == ("the question is empty.", "7")


def test_each_picture_of_a_batch_has_its_answer_or_its_error_in_its_place(scoring):
    scoring.refused = {b"text": "this is no picture"}
    good, bad, other = classify_batch(b"one", b"text", b"two")
    assert [each.predictions[0].label for each in (good, other)] == ["Samoyed"] * 2
    assert bad.detail == "This is no picture"


def test_a_batch_may_have_no_good_row_and_no_row_at_all(scoring):
    scoring.refused = {"": "the question is empty", b"text": "this is no picture"}
    assert [each.detail for each in match_batch("", "")] == ["The question is empty"] * 2
    assert [each.detail for each in classify_batch(b"text")] == ["This is no picture"]
    scoring.sent.clear()
    assert match_batch() == []
    assert classify_batch() == []
    assert not scoring.sent


def test_large_pictures_of_a_batch_are_spread_over_requests(scoring, monkeypatch):
    monkeypatch.setattr("webapp.scoring.client.REQUEST_BYTES", 10)
    scoring.refused = {b"12": "this is no picture"}
    answers = classify_batch(b"12345", b"67890", b"1", b"a single one that is too large", b"12", b"3")
    assert [len(asked.inputs[0].data) for asked in scoring.inferences()] == [2, 1, 1, 2]
    assert [isinstance(each, ScoringRefused) for each in answers] == [False, False, False, False, True, False]


def test_a_picture_too_large_for_a_pod_is_the_one_that_has_the_error(scoring, monkeypatch):
    monkeypatch.setattr("webapp.scoring.client.REQUEST_BYTES", 10)
    scoring.answers(scoring.behave, refusal(413, "the body is larger than 100 MB"), scoring.behave)
    first, large, last = classify_batch(b"12345", b"a single one that is too large", b"3")
    assert [each.predictions[0].label for each in (first, last)] == ["Samoyed"] * 2
    assert large.detail == "The body is larger than 100 MB"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(400, "there is no output 'faq_id'"), ScoringRefused),
        (refusal(503, "the queue is full"), ScoringUnavailable),
        (refusal(504, "too late"), ScoringTimeout),
        (httpx.ReadTimeout("slow"), ScoringTimeout),
        (refusal(500, "broken"), ScoringError),
    ],
)
def test_what_concerns_all_rows_of_a_batch_is_raised(scoring, answer, error):
    scoring.answers(answer)
    with pytest.raises(ScoringError) as raised:
        match_batch("first", "second")
    assert type(raised.value) is error


@pytest.mark.parametrize("reasons", ['{"2": "no such row"}', '{"0": "it is missing, and there"}', "{", '{"a": ""}', 7])
def test_row_errors_that_do_not_fit_the_rows_are_a_scoring_error(scoring, reasons):
    answer = scoring.behave

    def changed(request):
        response = answer(request)
        length = int(response.headers["Inference-Header-Content-Length"])
        head = msgspec.json.decode(response.content[:length])
        head["parameters"]["row_errors"] = reasons
        written = msgspec.json.encode(head)
        headers = {"Inference-Header-Content-Length": str(len(written))}
        return httpx.Response(200, content=written + response.content[length:], headers=headers)

    scoring.answers(changed)
    with pytest.raises(ScoringError, match="cannot be read"):
        match_batch("first", "second")


def test_a_version_tells_what_it_takes_in_and_gives_out():
    details = scoring_client().describe("cpu", "faq-javascript", "1")
    assert details.inputs == [{"name": "question", "datatype": "BYTES", "shape": [-1]}]
    assert [each["name"] for each in details.outputs] == ["faq_id", "probability"]


def test_any_version_scores_one_element_of_its_first_input(scoring):
    scoring_client().score_one("cpu", "faq-javascript", "1", "how to copy", timeout=2.0)
    [asked] = scoring.inferences()
    assert (asked.inputs[0].name, asked.inputs[0].data) == ("question", [b"how to copy"])


def test_nothing_is_tried_again_when_the_time_is_up(scoring):
    scoring.answers(httpx.ReadTimeout("slow"))
    with pytest.raises(ScoringTimeout):
        match()
    assert len(scoring.sent) == 1


def test_no_request_goes_out_without_time(scoring):
    with pytest.raises(ScoringTimeout):
        match(timeout=0)
    assert not scoring.sent


@pytest.mark.parametrize(
    ("answer", "error", "retry_after"),
    [
        (refusal(400, "input 'question', row 0: there is no word in it"), ScoringRefused, None),
        (refusal(413, "too large"), ScoringRefused, None),
        (refusal(401, "wrong token"), ScoringError, None),
        (refusal(404, "no such model"), ScoringUnavailable, 2),
        (refusal(429, "full", **{"Retry-After": "9"}), ScoringUnavailable, 9),
        (refusal(503, "full", **{"Retry-After": "4"}), ScoringUnavailable, 4),
        (refusal(503, "full", **{"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), ScoringUnavailable, 2),
        (refusal(503, "full", **{"Retry-After": "86400"}), ScoringUnavailable, 300),
        (refusal(504, "too late"), ScoringTimeout, None),
        (refusal(500, "broken"), ScoringError, None),
        (httpx.Response(302, headers={"Location": "http://elsewhere.test"}), ScoringError, None),
        (httpx.Response(502, content=b"<html>"), ScoringUnavailable, 2),
    ],
)
def test_each_answer_of_a_pod_has_its_error(scoring, answer, error, retry_after):
    scoring.answers(answer)
    with pytest.raises(ScoringError) as raised:
        match()
    assert type(raised.value) is error
    assert raised.value.retry_after == retry_after
    assert len(scoring.sent) == (2 if answer.status_code == 503 else 1)
    assert not re.search(r"http|cpu\.test|token", raised.value.detail)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"model_name": "m", "outputs": []}',
        b'{"model_name": "m", "outputs": [{"name": "faq_id", "shape": [1, 2], "datatype": "BYTES", "data": ["a"]}]}',
    ],
)
def test_an_answer_that_breaks_the_protocol_is_a_scoring_error(scoring, answer):
    scoring.answers(httpx.Response(200, content=answer))
    with pytest.raises(ScoringError):
        match()


def test_every_way_a_transport_fails_has_an_error_of_ours(scoring):
    def below(kind):
        return {kind, *(each for child in kind.__subclasses__() for each in below(child))}

    for failure in below(httpx.TransportError):
        scoring.answers(failure("failed"))
        with pytest.raises(ScoringError):
            match()


def test_the_models_of_all_pods_are_listed():
    found = scoring_client().models()
    assert [(each.name, each.kind, each.title, each.ready) for each in found.models] == [
        ("faq-javascript", "faq", "JavaScript FAQ", True),
        ("resnet152", "image", "ResNet-152", True),
    ]
    assert not found.unreachable


def test_a_pod_that_is_gone_hides_no_other(scoring, monkeypatch):
    def without_gpu(request):
        if request.url.port == 8002:
            raise httpx.ConnectError("refused")
        return Pods.behave(scoring, request)

    monkeypatch.setattr(scoring, "behave", without_gpu)
    found = scoring_client().models()
    assert [each.name for each in found.models] == ["faq-javascript"]
    assert len(found.unreachable) == 1
    assert "image" in found.unreachable[0]


def test_a_model_that_is_not_ready_says_why(scoring):
    scoring.models["gpu"] = [
        {"name": "resnet152", "version": "3", "state": "UNAVAILABLE", "reason": "weights.bin is missing"}
    ]
    [model] = scoring_client().models().of_kind("image")
    assert (model.ready, model.reason, model.version) == (False, "weights.bin is missing", "")


def test_of_several_versions_the_one_that_answers_stands_for_the_model(scoring):
    others = [{"version": "9"}, {"version": "11"}, {"version": "12", "state": "UNAVAILABLE", "reason": "damaged"}]
    scoring.models["cpu"][0] |= {"version": "10", "others": others}
    [model] = scoring_client().models().of_kind("faq")
    assert (model.version, model.ready, model.title) == ("10", True, "JavaScript FAQ")


def test_a_model_of_which_only_other_versions_are_loaded_is_not_ready(scoring):
    scoring.models["cpu"][0] |= {"version": "2", "state": "LOADING", "others": [{"version": "3"}]}
    [model] = scoring_client().models().of_kind("faq")
    assert (model.version, model.ready, model.reason) == ("", False, "faq-javascript version 2 is being loaded")


def test_metadata_without_a_version_spoil_no_list(scoring, monkeypatch):
    def without_versions(request):
        answer = Pods.behave(scoring, request)
        return httpx.Response(200, json={**answer.json(), "versions": []}) if request.method == "GET" else answer

    monkeypatch.setattr(scoring, "behave", without_versions)
    assert [model.ready for model in scoring_client().models().models] == [False, False]


def test_the_list_of_models_is_not_asked_for_again_at_once(scoring):
    scoring_client().models()
    asked = len(scoring.sent)
    scoring_client().models()
    assert len(scoring.sent) == asked


def test_a_pool_that_swallows_requests_does_not_hold_up_the_models_of_another(scoring, monkeypatch):
    swallowed, released = threading.Event(), threading.Event()

    def without_cpu(request):
        if request.url.port == 8001:
            swallowed.set()
            released.wait(30)
            raise httpx.ConnectTimeout("no answer")
        return Pods.behave(scoring, request)

    monkeypatch.setattr(scoring, "behave", without_cpu)
    with ThreadPoolExecutor(1) as thread:
        everything = thread.submit(scoring_client().models)
        assert swallowed.wait(10)
        assert [each.name for each in scoring_client().models_of("image").models] == ["resnet152"]
        assert not everything.done()
        released.set()
        assert "FAQ" in everything.result().unreachable[0]


def test_while_one_caller_renews_the_list_others_get_the_one_before(scoring, monkeypatch):
    monkeypatch.setattr("webapp.scoring.listing.FRESH", 0.0)
    before = scoring_client().models_of("image")
    asked, released = threading.Event(), threading.Event()

    def slowly(request):
        asked.set()
        assert released.wait(30)
        return Pods.behave(scoring, request)

    monkeypatch.setattr(scoring, "behave", slowly)
    with ThreadPoolExecutor(1) as thread:
        renewed = thread.submit(scoring_client().models_of, "image")
        assert asked.wait(10)
        requests = len(scoring.sent)
        assert scoring_client().models_of("image") is before
        assert len(scoring.sent) == requests, "the list is fetched by one caller only"
        released.set()
        assert renewed.result() == before


def test_callers_of_a_first_list_wait_for_the_same_one(scoring, monkeypatch):
    asked, released = threading.Event(), threading.Event()

    def slowly(request):
        asked.set()
        assert released.wait(30)
        return Pods.behave(scoring, request)

    monkeypatch.setattr(scoring, "behave", slowly)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(scoring_client().models_of, "image")
        assert asked.wait(10)
        others = [threads.submit(scoring_client().models_of, "image") for _ in range(3)]
        released.set()
        assert {id(each.result()) for each in others} == {id(first.result())}
    assert len([request for request in scoring.sent if request.url.path.endswith("/index")]) == 1


def test_metadata_of_several_models_are_fetched_together(scoring, monkeypatch):
    scoring.models["gpu"] = [{"name": name, "kind": "image", "title": name} for name in ("one", "two", "three")]
    together = threading.Barrier(3, timeout=10)

    def wait_for_all(request):
        if request.method == "GET":
            together.wait()
        return Pods.behave(scoring, request)

    monkeypatch.setattr(scoring, "behave", wait_for_all)
    assert [each.title for each in scoring_client().models_of("image").models] == ["one", "two", "three"]


def test_many_threads_share_it(scoring):
    together = threading.Barrier(8, timeout=10)

    def wait_for_all(request):
        together.wait()
        return scoring.behave(request)

    scoring.answers(wait_for_all)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: match(), range(8)))
    assert {answer.scores[0].faq_id for answer in answers} == {"js-1"}
