"""Watching pods while they check a version: those that end again and again stop the check."""

import httpx2 as httpx
import pytest

from tests.webapp.connections import forget_connections
from webapp.registry.models import ScoringModel
from webapp.registry.podwatch import PodWatch, Unfit

NAMES = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five"}  # by port


@pytest.fixture
def pods(settings, monkeypatch):
    """Pod addresses to what they say of themselves; one that is missing does not answer."""
    said = {"one": {"started_at": "1"}, "two": {"started_at": "1"}}

    def answer(request: httpx.Request) -> httpx.Response:
        name = NAMES[request.url.port]
        if name not in said:
            raise httpx.ConnectError("nobody listens")
        state = {"pod": name, "pool": "cpu", "ready": True, "versions": [], **said[name]}
        return httpx.Response(200, json=state)

    settings.SCORING_CPU_PODS = [f"http://127.0.0.1:{port}" for port in NAMES]
    monkeypatch.setattr("webapp.scoring.pods.new_transport", lambda _limits: httpx.MockTransport(answer))
    forget_connections()
    yield said
    forget_connections()


@pytest.fixture
def watch(pods) -> PodWatch:
    return PodWatch(ScoringModel(name="faq", kind="faq", pool="cpu"), "7", lambda why, since: None)


def test_pods_that_end_again_and_again_stop_the_check(pods, watch):
    watch.look()
    for restarts in ("2", "3"):
        pods["one"]["started_at"] = restarts
        watch.look()
    pods["two"]["started_at"] = "2"
    with pytest.raises(Unfit, match="Pods ended 3 times while they had it"):
        watch.look()


def test_pods_that_are_slow_or_new_are_no_loss(pods, watch):
    watch.look()
    slow = pods.pop("one")
    assert [pod.pod for pod in watch.look()] == ["two"]
    pods["one"] = slow
    watch.look()
    for name in ("three", "four", "five"):
        pods[name] = {"started_at": "9"}
    assert len(watch.look()) == 5


def failing(reason: str, store_problem: str = "") -> dict[str, object]:
    version = {"model": "faq", "version": "7", "state": "UNAVAILABLE", "reason": reason}
    return {"started_at": "1", "store_problem": store_problem, "versions": [version]}


def test_a_pod_that_cannot_load_it_is_named(pods, watch):
    pods["two"] = failing("it needs about 900 MB of memory; 100 of 500 MB are free")
    with pytest.raises(Unfit, match="two cannot load it: it needs about 900 MB of memory"):
        watch.look()


def test_a_pod_that_is_not_ready_is_not_asked_for_it(pods, watch):
    pods["two"] = {**failing("no room"), "ready": False}
    assert [pod.pod for pod in watch.look()] == ["one"]


def test_a_failure_while_the_store_is_away_may_pass(pods, watch, monkeypatch):
    pods["two"] = failing("words.txt is missing", store_problem="the store cannot be read")
    watch.look()
    pods["two"]["store_problem"] = ""
    watch.look()
    monkeypatch.setattr("webapp.registry.podwatch.LOAD_RETRY", 0)
    with pytest.raises(Unfit, match=r"words\.txt is missing"):
        watch.look()
