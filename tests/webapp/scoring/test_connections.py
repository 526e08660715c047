"""The client over real connections: pods that die, go away, hang, or are not there."""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2 as httpx
import pytest

from tests.webapp.pods import Pods
from webapp.errors import ScoringTimeout, ScoringUnavailable
from webapp.scoring.client import ScoringClient

NOBODY = "http://127.0.0.1:9"


class Server(ThreadingHTTPServer):
    """One pod on a free port. Does what `plan` says for the next requests, else answers as a healthy one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pods = Pods()
        self.pods.faq = [("js-1", "js-1-a", 0.9, {})]
        self.plan: list[str] = []
        self.connections: set[tuple[str, int]] = set()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.connections.add(self.client_address)
        step = self.server.plan.pop(0) if self.server.plan else "answer"
        if step == "hang":
            self.server.released.wait(10)
        # "leave": answers and hangs up without a word, as a pod that was killed while idle.
        self.close_connection = step != "answer"
        if step in {"die", "hang"}:
            return
        answer = self.server.pods.behave(
            httpx.Request("POST", f"http://cpu.test:8001{self.path}", content=body, headers=dict(self.headers))
        )
        self.send_response(200)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if step == "drip":
            self.drip(answer.content)
        else:
            self.wfile.write(answer.content)

    def drip(self, content: bytes) -> None:
        """Sends a byte at a time, never silent for long, until nobody listens."""
        with suppress(OSError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.released.wait(0.05):
                    return

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def pod() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def client(pod) -> Iterator[ScoringClient]:
    with closing(ScoringClient(cpu_url=pod.url, gpu_url=NOBODY, token="")) as client:
        yield client


def match(client: ScoringClient, timeout: float = 10.0) -> str:
    return client.match_faq("how to copy", model="faq-javascript", timeout=timeout).scores[0].faq_id


def test_a_connection_is_kept_for_the_next_request(client, pod):
    assert [match(client) for _ in range(3)] == ["js-1"] * 3
    assert len(pod.connections) == 1


def test_a_pod_that_dies_mid_request_is_asked_again_on_another_connection(client, pod):
    match(client)
    pod.plan = ["die"]
    assert match(client) == "js-1"
    assert len(pod.connections) == 2


def test_pods_that_die_again_and_again_are_given_up(client, pod):
    pod.plan = ["die"] * 4
    with pytest.raises(ScoringUnavailable):
        match(client)


def test_a_connection_that_was_closed_while_idle_does_no_harm(client, pod):
    pod.plan = ["leave"]
    assert match(client) == "js-1"
    assert match(client) == "js-1"


def test_a_pod_that_hangs_is_given_up_at_the_deadline(client, pod):
    pod.plan = ["hang"]
    with pytest.raises(ScoringTimeout):
        match(client, timeout=0.2)


def test_a_pod_that_drips_its_answer_is_given_up_at_the_deadline(client, pod):
    pod.plan = ["drip"]
    with pytest.raises(ScoringTimeout):
        match(client, timeout=0.3)


def test_where_nobody_listens_nothing_can_be_reached(client):
    with pytest.raises(ScoringUnavailable):
        client.classify_image(b"picture", model="resnet152", timeout=10.0)
