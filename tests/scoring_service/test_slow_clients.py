"""Clients that do not get on with it: their connections end, those of the others do not."""

import http.client
import json
import select
import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.pods import CLIENT, Pod, start_pod
from tests.scoring_service.asking import INFER, Asking, answers, ask, metric, question, wait_for_queue
from tests.scoring_service.conftest import OBEDIENT

BODY = json.dumps(question("hello")).encode()
HEAD = f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()


LARGE = question("many 300000")  # its answer is larger than what the kernel keeps of it for a client
IMPATIENT = {"SCORING_HEAD_TIMEOUT_S": "1", "SCORING_SEND_TIMEOUT_S": "1", "SCORING_MAX_BODY_MB": "1"}


@pytest.fixture(params=["1", "2"], ids=["one process", "two processes"])
def pod(store, request):
    """A pod that waits a second for the head of a request, and for a client to take some of its answer."""
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_PROCESSES=request.param, **IMPATIENT) as pod:
        pod.wait_until("has all", lambda pod: metric(pod, "scoring_processes") == int(request.param))
        yield pod


def connect(pod: Pod, *, small: bool = False) -> socket.socket:
    """small: with room for little of an answer."""
    client = socket.socket()
    client.settimeout(30)
    if small:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**15)
    client.connect(("127.0.0.1", pod.port))
    return client


def request_of(asked: dict) -> bytes:
    body = json.dumps(asked).encode()
    return f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def status_of(client: socket.socket) -> int:
    """The status of the answer that comes, once it is whole."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    answer.read()
    return answer.status


def has_ended(client: socket.socket) -> bool:
    """Whether the pod has closed it by now."""
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def wait_until_closed(client: socket.socket) -> None:
    assert is_closed(client), "closed without a word"


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


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


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(pod):
    with connect(pod, small=True) as client:
        client.sendall(request_of(LARGE))
        broken = select.poll()
        broken.register(client, 0)  # which tells of errors alone
        pod.wait_until("lets it go", lambda _: broken.poll(100))
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            status_of(client)


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(pod):
    with connect(pod, small=True) as client:
        client.sendall(request_of(LARGE))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        read = 0
        while part := answer.read(2**18):
            read += len(part)
            time.sleep(0.1)  # which makes several seconds
        assert read == int(answer.getheader("Content-Length")) > 2**22


def test_a_client_that_goes_on_sending_after_its_refusal_is_let_go(pod):
    with connect(pod) as client:
        client.sendall(HEAD.replace(str(len(BODY)).encode(), b"9999999"))
        assert status_of(client) == 413
        client.settimeout(0.05)
        with suppress(BrokenPipeError, ConnectionResetError):
            while not has_ended(client):
                client.sendall(b"x")


def test_a_body_that_does_not_come_in_time_is_504_and_the_connection_ends(pod):
    with connect(pod) as client:
        client.sendall(HEAD.replace(b"Host: pod", b"Host: pod\r\nX-Request-Deadline-Ms: 100"))
        assert status_of(client) == 504
        wait_until_closed(client)


def test_many_slow_clients_keep_nobody_else_waiting(pod):
    with ExitStack() as stack:
        for sent in (b"", HEAD[:-2], HEAD + BODY[:-1]):
            for _ in range(40):
                stack.enter_context(connect(pod)).sendall(sent)
        for _ in range(10):
            stack.enter_context(connect(pod, small=True)).sendall(request_of(LARGE))
        for number in range(20):
            assert answers(ask(pod, f"question {number}")) == [f"question {number}"]


@pytest.mark.parametrize("processes", [1, 2])
def test_for_another_connection_that_goes_which_has_been_silent_for_the_longest_time(store, processes):
    few = {"SCORING_MAX_CONNECTIONS": "8", "SCORING_PROCESSES": str(processes)}
    with start_pod(store, "cpu", command=OBEDIENT, **few) as pod, ExitStack() as stack:
        pod.wait_until("has all", lambda pod: metric(pod, "scoring_processes") == processes)
        clients = []
        for sent in (b"", HEAD[:-2], HEAD + BODY[:-1]):
            for _ in range(8 * processes):
                clients.append(stack.enter_context(connect(pod)))
                clients[-1].sendall(sent)
        assert answers(ask(pod, "hello")) == ["hello"]
        wait_until_closed(clients[0])
        clients[-1].sendall(BODY[-1:])
        assert status_of(clients[-1]) == 200, "who came last is still there"


def test_where_all_connections_are_busy_another_one_is_told_so_and_they_are_answered(store, gate):
    few = {"SCORING_MAX_CONNECTIONS": "3"}
    with start_pod(store, "cpu", command=OBEDIENT, **few) as pod:
        busy = [gate.hold(pod), Asking(pod, "hello")]
        wait_for_queue(pod, 1)
        with connect(pod) as third:
            third.sendall(HEAD + BODY)
            refused = CLIENT.get(f"{pod.url}/v2/health/live")
            gate.open()
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
            assert [each.response.status_code for each in busy] == [200, 200]
            assert status_of(third) == 200
