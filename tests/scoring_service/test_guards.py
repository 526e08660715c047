"""The pod's token, request ids, and what the log says and keeps to itself."""

import json

import pytest

from tests.pods import CLIENT, start_pod
from tests.scoring_service.asking import INFER, answers, ask, error_of, metric, question
from tests.scoring_service.conftest import OBEDIENT, TOKEN

SECRET_QUESTION = "why does my diary say so"


@pytest.fixture
def closed_pod(store, tmp_path):
    """A pod that wants a token, which it has read from a mounted file."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_TOKEN_FILE=str(tmp_path / "token")) as pod:
        yield pod


def test_a_pod_with_a_token_answers_only_those_who_have_it(closed_pod):
    for path in ("/v2", "/v2/models/obedient", "/score", "/nowhere"):
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = CLIENT.get(f"{closed_pod.url}{path}", headers=given)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
            assert "token" in error_of(refused)
    assert answers(ask(closed_pod, "hello", headers={"Authorization": f"Bearer {TOKEN}"})) == ["hello"]
    assert ask(closed_pod, "hello", headers={"Authorization": b"Bearer \xff"}).status_code == 401
    for path in ("/v2/health/live", "/v2/health/ready", "/metrics"):
        assert CLIENT.get(f"{closed_pod.url}{path}").status_code == 200


def test_the_log_has_no_token_and_no_question(closed_pod):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    ask(closed_pod, SECRET_QUESTION, headers=headers)
    ask(closed_pod, "refuse", SECRET_QUESTION, headers=headers)
    CLIENT.post(f"{closed_pod.url}/score", json={"input": SECRET_QUESTION}, headers=headers)
    CLIENT.get(f"{closed_pod.url}/score", params={"q": SECRET_QUESTION}, headers=headers)
    assert closed_pod.stop() == 0
    assert closed_pod.log.count('"event": "request"') + closed_pod.log.count('"event":"request"') == 4
    assert TOKEN not in closed_pod.log
    assert "diary" not in closed_pod.log


def test_a_failing_model_is_logged_with_the_request_id_and_without_local_variables(pod):
    failed = ask(pod, "crash", SECRET_QUESTION, headers={"X-Request-ID": "failing-1"})
    assert failed.headers["X-Request-ID"] == "failing-1"
    [line] = [json.loads(line) for line in pod.log.splitlines() if "scoring failed" in line]
    assert line["request_id"] == "failing-1"
    assert "RuntimeError" in line["exception"]
    assert "diary" not in pod.log


def test_the_console_log_too_keeps_local_variables_to_itself(store):
    with start_pod(store, "cpu", command=OBEDIENT, LOG_FORMAT="console") as pod:
        ask(pod, "crash", SECRET_QUESTION)
        assert pod.stop() == 0
        assert "RuntimeError" in pod.log
        assert "diary" not in pod.log


def whole_lines(pod) -> list[str]:
    return pod.log.splitlines()[: pod.log.count("\n")]


def test_a_request_id_is_echoed_and_logged(pod):
    assert ask(pod, "hello", headers={"X-Request-ID": "abc-1.2_3"}).headers["X-Request-ID"] == "abc-1.2_3"
    # The line is written once the answer is out, so it may be there a moment later.
    pod.wait_until("has logged the request", lambda pod: any("abc-1.2_3" in line for line in whole_lines(pod)))
    [line] = [json.loads(line) for line in whole_lines(pod) if "abc-1.2_3" in line]
    assert {name: line[name] for name in ("event", "level", "method", "path", "status")} == {
        "event": "request",
        "level": "info",
        "method": "POST",
        "path": INFER,
        "status": 200,
    }
    assert line["ms"] > 0


@pytest.mark.parametrize("unfit", ["", "two words", "x" * 101, "a\tb", "é"])
def test_a_request_id_that_is_not_fit_for_a_log_is_replaced(pod, unfit):
    answer = ask(pod, "hello", headers={"X-Request-ID": unfit.encode()})
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] not in {unfit, ""}


@pytest.mark.parametrize("given", ["order-2027.03:17_b", "x" * 100])
def test_every_id_that_the_site_keeps_is_kept_by_the_pod(pod, given):
    assert ask(pod, "hello", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


def test_errors_carry_a_request_id_too(pod):
    assert len(CLIENT.get(f"{pod.url}/nowhere").headers["X-Request-ID"]) == 32


def test_the_id_in_the_body_comes_back(pod):
    assert ask(pod, "hello", id="mine").json()["id"] == "mine"


def test_metrics_name_routes_and_never_what_a_client_made_up(pod):
    CLIENT.get(f"{pod.url}/made-up")
    CLIENT.get(f"{pod.url}/v2/models/made-up")
    CLIENT.request("BREW", f"{pod.url}/made-up")
    assert metric(pod, "scoring_requests_total", route="none") >= 2
    assert metric(pod, "scoring_requests_total", route="/v2/models/{model}", status="404") >= 1
    metrics = CLIENT.get(f"{pod.url}/metrics").text
    assert "made-up" not in metrics
    assert "BREW" not in metrics


def test_metrics_measure_requests_rows_batches_and_waiting(pod):
    of_version = {"model": "obedient", "version": "1"}
    before = metric(pod, "scoring_rows_total", outcome="scored", **of_version)
    CLIENT.post(f"{pod.url}{INFER}", json=question("one", "two"))
    assert metric(pod, "scoring_rows_total", outcome="scored", **of_version) == before + 2
    for name in ("scoring_model_seconds_sum", "scoring_queue_seconds_sum", "scoring_batch_rows_sum"):
        assert metric(pod, name, **of_version) > 0
    assert metric(pod, "scoring_version_loaded", **of_version) == 1
    assert metric(pod, "scoring_version_load_seconds", **of_version) > 0


def test_metrics_tell_how_the_pod_stands(pod):
    assert metric(pod, "scoring_ready") == 1
    assert metric(pod, "scoring_memory_bytes") > 2**20
    assert metric(pod, "scoring_requests_in_flight") == 1, "the one that asks"


def test_a_crash_of_the_model_is_logged_by_its_place_and_without_what_was_asked(pod):
    asked = "crash for my aunt's birthday"
    request_id = ask(pod, asked).headers["X-Request-ID"]
    [line] = [line for line in pod.log.splitlines() if request_id in line and "scoring failed" in line]
    assert "RuntimeError" in line
    assert "obedient.py" in line
    assert "aunt" not in pod.log
