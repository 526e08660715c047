"""More than a pod can do: who would wait too long is refused at once, cheaply, and all others are answered."""

import http.client
import json
import signal

import pytest

from tests.pods import CLIENT, Pod, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, Asking, answers, ask, error_of, metric, question, wait_for_queue
from tests.scoring_service.conftest import OBEDIENT, TOKEN

# Each row takes a fifth of a second by itself, and all may take two: ten are let in where the machine is not busy.
SLOW = {"SCORING_MAX_ROWS": "1", "SCORING_TARGET_P99_MS": "2000"}
LOW = {"priority": 2}


@pytest.fixture
def slow_store(tmp_path):
    obedient.write(tmp_path / "store", parameters={"slow_ms": 200})
    return tmp_path / "store"


@pytest.fixture
def pod(slow_store):
    with start_pod(slow_store, "cpu", command=OBEDIENT, **SLOW) as pod:
        yield pod


def overload(pod: Pod, gate, headers: dict[str, str] | None = None) -> list[Asking]:
    """Asks until no more are let in; those who are, the first of them being scored until the gate is opened.

    headers: of each request.
    """
    for _ in range(3):  # it learns what a row takes
        assert ask(pod, "before", headers=headers).status_code == 200
    let_in = [Asking(pod, gate.row, headers=headers)]
    pod.wait_until("takes the row", lambda pod: metric(pod, "scoring_queue_seconds_count") == 4)
    while is_let_in(pod, waiting := Asking(pod, f"waits {len(let_in) - 1}", headers=headers), len(let_in)):
        let_in.append(waiting)
        assert len(let_in) < 20
    return let_in


def is_let_in(pod: Pod, asking: Asking, rows: int) -> bool:
    """Whether it waits, as the last one of so many rows, rather than having been refused."""
    pod.wait_until("lets it in or not", lambda pod: asking.done or metric(pod, "scoring_queued_rows") == rows)
    return not asking.done


def test_who_would_wait_too_long_is_refused_at_once_and_all_who_are_let_in_are_answered(pod, gate):
    let_in = overload(pod, gate)
    assert 2 <= len(let_in) <= 11
    refused = ask(pod, "too many")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] in {"1", "2"}, "as long as those who wait take"
    assert "longer than this pod lets anybody wait" in error_of(refused)
    assert not any(each.done for each in let_in)
    gate.open()
    assert [answers(each.response)[0] for each in let_in[1:]] == [
        f"waits {number}" for number in range(len(let_in) - 1)
    ]
    assert answers(ask(pod, "afterwards")) == ["afterwards"]


def test_the_body_of_one_who_is_refused_is_not_even_decoded(pod, gate):
    overload(pod, gate)
    large = b"x" * 100_000  # more than is looked through before it has been read as a whole
    for body in (b"no JSON", large):
        assert CLIENT.post(f"{pod.url}{INFER}", content=body).status_code == 503
    gate.open()
    pod.wait_until("is through with them", lambda pod: metric(pod, "scoring_queued_rows") == 0)
    for body in (b"no JSON", large):
        assert CLIENT.post(f"{pod.url}{INFER}", content=body).status_code == 400


def test_a_connection_outlives_a_refusal(pod, gate):
    overload(pod, gate)
    connection = http.client.HTTPConnection("127.0.0.1", pod.port)
    statuses = []
    for _ in range(3):
        connection.request("POST", INFER, json.dumps(question("too many")), {"X-Request-ID": "mine"})
        answer = connection.getresponse()
        assert answer.getheader("Connection") is None
        assert answer.getheader("X-Request-ID") == "mine"
        assert answer.getheader("X-Model-Version") == "1"
        answer.read()
        statuses.append(answer.status)
    gate.open()
    connection.request("GET", "/v2/health/live")
    assert connection.getresponse().status == 200
    assert statuses == [503] * 3
    connection.close()


def test_a_refusal_is_logged_and_counted_as_any_other_answer(pod, gate):
    overload(pod, gate)
    before = metric(pod, "scoring_requests_total", route="/v2/models/{model}/infer", status="503")
    assert ask(pod, "too many", headers={"X-Request-ID": "refused-1"}).status_code == 503
    assert metric(pod, "scoring_requests_total", route="/v2/models/{model}/infer", status="503") == before + 1
    pod.wait_until("has logged it", lambda pod: '"refused-1"' in pod.log)
    [line] = [json.loads(line) for line in pod.log.splitlines() if '"refused-1"' in line]
    assert (line["event"], line["status"], line["path"], line["version"]) == ("request", 503, INFER, "1")


def test_rows_of_low_priority_wait_as_long_as_it_takes(pod, gate):
    let_in = overload(pod, gate)
    low = [Asking(pod, text, parameters=LOW) for text in ("low", "long" * 50_000)]
    wait_for_queue(pod, len(let_in) + 1)
    gate.open()
    assert [answers(each.response) for each in low] == [["low"], ["long" * 50_000]]


def test_the_parts_of_a_request_may_come_one_by_one(pod, gate):
    overload(pod, gate)
    for parameters, status in (({}, 503), (LOW, 200)):
        body = json.dumps(question("low", parameters=parameters)).encode()
        connection = http.client.HTTPConnection("127.0.0.1", pod.port)
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        for part in (body[:20], body[20:-30], body[-30:-9], body[-9:]):
            CLIENT.get(f"{pod.url}/v2/health/live")  # what was sent before has come by then
            connection.send(part)
        if status == 200:
            gate.open()
        assert connection.getresponse().status == status
        connection.close()


def test_whoever_has_no_token_is_told_so_first(slow_store, gate):
    with start_pod(slow_store, "cpu", command=OBEDIENT, SCORING_TOKEN=TOKEN, **SLOW) as pod:
        overload(pod, gate, headers={"Authorization": f"Bearer {TOKEN}"})
        assert ask(pod, "too many").status_code == 401
        gate.open()


def test_a_pod_that_stops_while_it_refuses_ends_as_any_other(slow_store, gate):
    with start_pod(slow_store, "cpu", command=OBEDIENT, SCORING_NOT_READY_S="1", **SLOW) as pod:
        let_in = overload(pod, gate)
        body = json.dumps(question("too many")).encode()
        connection = http.client.HTTPConnection("127.0.0.1", pod.port)
        connection.putrequest("POST", INFER)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        CLIENT.get(f"{pod.url}/v2/health/live")
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_until("has closed its door", lambda pod: pod.readiness[0] == 0)
        connection.send(body)
        refused = connection.getresponse()
        assert (refused.status, refused.getheader("Connection")) == (503, "close")
        gate.open()
        assert {each.response.status_code for each in let_in} == {200}
        assert pod.wait() == 0


def test_each_version_has_its_own_room(pod, gate):
    obedient.write(pod.store, "quick")
    pod.wait_until("has both", lambda pod: pod.role("quick", "1") == "READY champion")
    overload(pod, gate)
    quick = CLIENT.post(f"{pod.url}/v2/models/quick/infer", json=question("hello"))
    assert answers(quick) == ["hello"]
