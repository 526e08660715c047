"""Every pod behind a pool's address, as it describes itself."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2 as httpx
import msgspec
import pytest

from scoring_service.contract import PodState, PodVersion
from tests.webapp.pods import Pods
from webapp.scoring import fleet
from webapp.scoring.fleet import PodVersionView, pods


class Pod(ThreadingHTTPServer):
    """A pod that answers nothing but what it is. `answer`: status and body; `delay`: seconds before it."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        state = PodState(
            pod=name, pool="cpu", ready=True, versions=[PodVersion(model="faq", version="1", state="READY")]
        )
        self.answer = (200, msgspec.json.encode(state))
        self.delay = 0.0
        self.heard: list[dict[str, str]] = []
        self.connections: set[tuple[str, int]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Pod

    def do_GET(self) -> None:
        self.server.heard.append(dict(self.headers))
        self.server.connections.add(self.client_address)
        time.sleep(self.server.delay)
        status, body = self.server.answer if self.path == "/v2/pod" else (404, b"")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def two(settings) -> Iterator[list[Pod]]:
    """Two pods, each with an address of its own."""
    fleet.close()
    with ExitStack() as stack:
        running = [stack.enter_context(Pod(f"pod-{number}")) for number in (1, 2)]
        for pod in running:
            threading.Thread(target=pod.serve_forever, args=(0.01,)).start()
            stack.callback(pod.shutdown)
        settings.SCORING_CPU_PODS = [pod.url for pod in running]
        yield running
    fleet.close()


def test_each_pod_tells_of_itself(two, settings):
    settings.SCORING_TOKEN = "a token"
    state = PodState(
        pod="pod-1",
        pool="cpu",
        ready=False,
        reason="it is being loaded",
        started_at="2026-11-23T07:00:00+00:00",
        device="cpu",
        memory=100,
        memory_limit=200,
        store_problem="away",
        versions=[
            PodVersion(model="faq", version="1", state="READY", role="champion", answering=True, load_seconds=1.5),
            PodVersion(model="faq", version="2", state="UNAVAILABLE", reason="corrupt", role="warm"),
        ],
    )
    two[0].answer = (200, msgspec.json.encode(state))
    first, second = pods("cpu")
    assert first.versions == (
        PodVersionView("faq", "1", "READY", "", "champion", True, 1.5),
        PodVersionView("faq", "2", "UNAVAILABLE", "corrupt", "warm", False, None),
    )
    assert (first.pod, first.reachable, first.ready, first.reason) == ("pod-1", True, False, "it is being loaded")
    assert (first.memory, first.memory_limit, first.device, first.store_problem) == (100, 200, "cpu", "away")
    assert first.address in two[0].url
    assert first.version("faq", "2").reason == "corrupt"
    assert first.version("faq", "3") is None
    assert (second.pod, second.ready) == ("pod-2", True)
    assert two[0].heard[0]["Authorization"] == "Bearer a token"


def test_connections_are_kept(two):
    for _ in range(5):
        pods("cpu")
    assert [len(pod.connections) for pod in two] == [1, 1]


def test_a_pod_that_went_and_came_back_is_asked_on_a_new_connection(two):
    pods("cpu")
    fleet._client(kept=True)._transport.close()  # as if the other side had hung up
    assert [pod.reachable for pod in pods("cpu")] == [True, True]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, b'{"error": "no"}'), "SCORING_TOKEN"),
        ((500, b""), "500"),
        ((200, b"<html>"), "cannot be read"),
        ((200, b'{"pod": 5}'), "cannot be read"),
    ],
)
def test_a_pod_that_answers_something_else_is_named_with_its_problem(two, answer, problem):
    two[0].answer = answer
    first, second = pods("cpu")
    assert (first.reachable, first.ready, first.versions) == (False, False, ())
    assert problem in first.problem
    assert second.reachable


def test_a_pod_that_is_gone_or_slow_holds_up_no_answer(two, settings):
    two[1].delay = 5
    settings.SCORING_CPU_PODS = [*settings.SCORING_CPU_PODS, "http://127.0.0.1:9", "http://nowhere.invalid:8001"]
    began = time.monotonic()
    first, slow, gone, nameless = pods("cpu")
    assert time.monotonic() - began < two[1].delay
    assert first.reachable
    assert [each.reachable for each in (slow, gone, nameless)] == [False] * 3
    assert "within 1 s" in slow.problem or "timed out" in slow.problem
    assert "refused" in gone.problem
    assert "nowhere.invalid" in nameless.problem or "looked up" in nameless.problem


def test_all_pods_are_asked_at_once(two):
    for pod in two:
        pod.delay = 0.6
    began = time.monotonic()
    assert [pod.reachable for pod in pods("cpu")] == [True, True]
    assert time.monotonic() - began < 2 * 0.6, "one after the other, it takes at least that"


def test_a_name_with_several_addresses_stands_for_as_many_pods(scoring: Pods, settings, monkeypatch):
    settings.SCORING_CPU_URL = "http://scoring-cpu:8001"
    addresses = {"scoring-cpu": ["10.0.0.1", "10.0.0.2", "fd00::3"]}
    monkeypatch.setattr("webapp.scoring.pods.resolve", lambda host: addresses.get(host, [host]))
    names = {"10.0.0.1": "a", "10.0.0.2": "b", "fd00::3": "c"}

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Host"] == "scoring-cpu:8001"
        return httpx.Response(200, json={"pod": names[request.url.host], "pool": "cpu", "ready": True})

    monkeypatch.setattr(scoring, "behave", answer)
    found = pods("cpu")
    assert [pod.pod for pod in found] == ["a", "b", "c"]
    assert [pod.address for pod in found] == ["10.0.0.1:8001", "10.0.0.2:8001", "[fd00::3]:8001"]


def test_a_pod_that_two_addresses_lead_to_is_told_once(two, settings):
    settings.SCORING_CPU_PODS = [two[0].url, two[0].url.replace("127.0.0.1", "localhost"), two[1].url]
    assert [pod.pod for pod in pods("cpu")] == ["pod-1", "pod-2"]


def test_without_addresses_of_pods_the_pool_s_own_stands_for_them(two, settings):
    settings.SCORING_CPU_PODS = []
    settings.SCORING_CPU_URL = two[0].url
    assert [pod.pod for pod in pods("cpu")] == ["pod-1"]


def test_the_fleet_is_both_pools(scoring: Pods):
    assert [(pod.pool, pod.pod, pod.versions[0].model) for pod in fleet.fleet()] == [
        ("cpu", "cpu-1", "faq-javascript"),
        ("gpu", "gpu-1", "resnet152"),
    ]


def test_names_are_looked_up_once_for_both_kinds_of_address(monkeypatch):
    def both(host, port, **options):
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fd00::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.2", 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0)),
        ]

    from webapp.scoring.pods import resolve

    assert resolve("127.0.0.1") == ["127.0.0.1"]
    assert resolve("::1") == ["::1"]
    assert resolve("localhost") == ["localhost"]
    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert resolve("scoring-cpu") == ["10.0.0.1", "10.0.0.2"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: both("", 0)[:1])
    assert resolve("scoring-cpu") == ["fd00::1"]
