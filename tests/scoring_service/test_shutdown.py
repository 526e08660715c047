"""How a pod ends: politely, without losing a request, and what happens when it is killed."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from tests.pods import CLIENT, start_pod
from tests.scoring_service.asking import INFER, answers, ask, question
from tests.scoring_service.conftest import OBEDIENT


def test_a_pod_told_to_stop_is_not_ready_first_and_answers_on(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_NOT_READY_S="1") as pod:
        held = gate.hold(pod)
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_until("is not ready", lambda pod: pod.readiness == (503, "the pod is shutting down"))
        assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 200
        late = ask(pod, "late", headers={"X-Request-Deadline-Ms": "1"})
        assert late.status_code == 504, "it still takes requests: load balancers need a moment"
        pod.wait_until("has closed its door", lambda pod: pod.readiness[0] == 0)
        assert not held.done
        gate.open()
        assert answers(held.response) == [gate.row]
        assert pod.wait() == 0


def test_stopping_under_load_loses_no_request(store):
    answered: list[httpx.Response] = []

    def ask_until_told_to_leave(url: str) -> None:
        """As a load balancer does: a connection that the pod closes is not opened again."""
        with httpx.Client(verify=False, trust_env=False) as client:
            told = False
            while not told:
                answered.append(answer := client.post(f"{url}{INFER}", json=question("hello")))
                told = answer.headers.get("Connection") == "close"

    with (
        start_pod(store, "cpu", command=OBEDIENT, SCORING_NOT_READY_S="1") as pod,
        ThreadPoolExecutor(8) as threads,
    ):
        askers = [threads.submit(ask_until_told_to_leave, pod.url) for _ in range(8)]
        pod.wait_until("is under load", lambda _: len(answered) > 50)
        assert pod.stop() == 0
        assert [asker.result() for asker in askers] == [None] * 8
    assert {answer.status_code for answer in answered} == {200}


def test_a_pod_that_is_stopping_asks_clients_to_connect_anew(store):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_NOT_READY_S="1") as pod:
        assert "Connection" not in ask(pod, "hello").headers
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_until("is not ready", lambda pod: pod.readiness[0] == 503)
        assert ask(pod, "hello").headers["Connection"] == "close"


def test_a_connection_that_has_grown_old_is_closed_after_its_answer(store):
    with (
        start_pod(store, "cpu", command=OBEDIENT, SCORING_CONNECTION_AGE_S="1") as pod,
        httpx.Client(verify=False, trust_env=False) as client,
    ):
        first = client.post(f"{pod.url}{INFER}", json=question("hello"))
        assert "Connection" not in first.headers
        answered = [first]
        while "Connection" not in answered[-1].headers:
            answered.append(client.post(f"{pod.url}{INFER}", json=question("hello")))
        assert answered[-1].headers["Connection"] == "close"
        assert {answer.status_code for answer in answered} == {200}
        assert "Connection" not in client.post(f"{pod.url}{INFER}", json=question("hello")).headers, "a new one"


def test_a_killed_pod_closes_its_connections(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT) as pod:
        held = gate.hold(pod)
        pod.process.kill()
        with pytest.raises(httpx.RemoteProtocolError):
            _ = held.response
        pod.process.wait()


def test_a_second_signal_ends_a_pod_at_once(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_NOT_READY_S="60") as pod:
        gate.hold(pod)
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_until("is not ready", lambda pod: pod.readiness[0] == 503)
        assert pod.stop() == -signal.SIGTERM


def test_requests_that_take_longer_than_the_drain_are_sent_to_another_pod(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_DRAIN_S="0") as pod:
        held = gate.hold(pod)
        pod.process.send_signal(signal.SIGTERM)
        assert held.response.status_code == 503
        assert held.response.headers["Retry-After"]
        gate.open()
        assert pod.wait() == 0
        assert "Traceback" not in pod.log


def test_a_model_that_never_returns_does_not_keep_the_pod(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_DRAIN_S="0") as pod:
        held = gate.hold(pod)
        pod.process.send_signal(signal.SIGTERM)
        assert held.response.status_code == 503
        assert pod.wait() == 1
        [line] = [json.loads(line) for line in pod.log.splitlines() if "threads busy" in line]
        assert any(name.startswith("obedient-1") for name in line["threads"])
