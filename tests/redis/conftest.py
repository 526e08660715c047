"""A Redis of our own on a free port, as the broker of this process."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.product import free_ports
from tests.worker import Trace
from webapp.celery import app


@dataclass
class Redis:
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        with redis.Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert time.monotonic() < until, "Redis does not answer"
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis_server(tmp_path, monkeypatch) -> Iterator[Redis]:
    """A running Redis, to which this process sends."""
    [port] = free_ports(1)
    server = Redis(port, tmp_path)
    server.start()
    monkeypatch.setattr(app.conf, "broker_url", server.url)
    app._after_fork()  # forgets its connections
    yield server
    app._after_fork()
    server.stop()


@pytest.fixture
def trace(tmp_path) -> Trace:
    return Trace(tmp_path / "trace")
