"""Clients that do not get on with it: their connections end, those of the others do not."""

import http.client
import json
import socket

import pytest

from tests.pods import Pod, start_pod
from tests.scoring_service.asking import INFER, question
from tests.scoring_service.conftest import OBEDIENT

BODY = json.dumps(question("hello")).encode()
HEAD = f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


@pytest.fixture
def pod(store):
    """A pod that waits a second for the head of a request."""
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_HEAD_TIMEOUT_S="1") as pod:
        yield pod


def connect(pod: Pod) -> socket.socket:
    return socket.create_connection(("127.0.0.1", pod.port), timeout=30)


def status_of(client: socket.socket) -> int:
    """The status of the answer that comes, once it is whole."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    answer.read()
    return answer.status


def wait_until_closed(client: socket.socket) -> None:
    assert client.recv(1) == b"", "closed without a word"


@pytest.mark.parametrize("sent", [b"", b"P", HEAD[:-2]], ids=["nothing", "a byte", "all but the last line"])
def test_a_connection_whose_request_never_gets_a_whole_head_is_closed(pod, sent):
    with connect(pod) as client:
        client.sendall(sent)
        wait_until_closed(client)


def test_a_second_request_has_no_more_time_than_the_first(pod):
    with connect(pod) as client:
        client.sendall(HEAD + BODY)
        assert status_of(client) == 200
        client.sendall(HEAD[:-2])
        wait_until_closed(client)


def test_a_body_and_an_answer_may_take_longer_than_a_head(pod, gate):
    held = gate.hold(pod)
    with connect(pod) as kept, connect(pod) as slow, connect(pod) as silent:
        kept.sendall(HEAD + BODY)
        slow.sendall(HEAD)
        wait_until_closed(silent)
        slow.sendall(BODY)
        gate.open()
        assert held.response.status_code == 200
        assert [status_of(kept), status_of(slow)] == [200, 200]
