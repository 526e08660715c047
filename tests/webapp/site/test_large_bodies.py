"""Bodies that are refused: unread from strangers, and without a surprise for the next request on the connection."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.test import Client

from tests.factories import bearer
from tests.product import free_ports
from tests.webapp.answers import assert_problem

ROOT = Path(__file__).resolve().parents[3]
MEGABYTE = 1_000_000
UPLOADS = ["/images/", "/score", "/api/v1/images/classify"]


def announce(client: Client, path: str, length: int, **options):
    """Posts a form of which nothing is there to read: who tries gets an error."""
    form = "multipart/form-data; boundary=x"
    return client.generic("POST", path, b"", CONTENT_TYPE=form, CONTENT_LENGTH=str(length), **options)


@pytest.mark.django_db
class TestStrangers:
    @pytest.mark.parametrize("path", UPLOADS)
    def test_a_strangers_pictures_are_not_read(self, path):
        answer = announce(Client(enforce_csrf_checks=True), path, 20 * MEGABYTE)
        assert answer.status_code == 401

    @pytest.mark.parametrize("path", UPLOADS)
    def test_nor_are_those_of_somebody_with_a_bad_key(self, path):
        answer = announce(Client(enforce_csrf_checks=True), path, 20 * MEGABYTE, headers=bearer("sp_nope"))
        assert answer.status_code == 401

    def test_a_page_does_not_open_for_a_key(self, owner_key):
        answer = announce(Client(enforce_csrf_checks=True), "/images/", 20 * MEGABYTE, headers=bearer(owner_key))
        assert answer.status_code == 401

    def test_a_key_still_opens_the_api(self, client, owner_key, scoring):
        data = bytes(5 * MEGABYTE)
        answer = client.post("/api/v1/images/classify", data, "image/png", headers=bearer(owner_key))
        assert_problem(answer, 422, "invalid-input")

    def test_people_signed_in_may_send_large_pictures(self, owner_client, scoring):
        large = "x" * 2 * MEGABYTE
        assert owner_client.post("/api/v1/images/classify", large, "image/png").status_code == 422


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    """The site behind its real server."""
    host, port = "127.0.0.1", free_ports(1)[0]
    command = [sys.executable, "-m", "gunicorn", "--config", "webapp/gunicorn_conf.py", "--bind", f"{host}:{port}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        until = time.monotonic() + 60
        while time.monotonic() < until and server.poll() is None:
            try:
                socket.create_connection((host, port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield host, port
        server.terminate()


class TestConnections:
    def test_after_a_refused_body_the_connection_serves_the_next_request(self, address):
        connection = HTTPConnection(*address, timeout=30)
        connection.request("POST", "/api/v1/faq/match", bytes(3 * MEGABYTE), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert json.load(answer)["status"] == 413
        assert not answer.will_close
        own_socket = connection.sock
        connection.request("GET", "/health/live")
        assert connection.getresponse().status == 200
        assert connection.sock is own_socket
        connection.close()

    def test_where_more_is_left_unread_the_answer_says_that_the_connection_ends(self, address):
        connection = HTTPConnection(*address, timeout=30)
        connection.putrequest("POST", "/score")
        connection.putheader("Content-Length", str(50 * MEGABYTE))
        connection.endheaders(b"the beginning")
        answer = connection.getresponse()
        assert answer.status == 401
        assert answer.getheader("Connection") == "close"
        assert answer.read()
        connection.close()
