"""A Redis of our own on a free port, as the broker of this process."""

from collections.abc import Iterator

import pytest

from tests.servers import Redis, a_redis
from tests.worker import Trace
from webapp.celery import app


@pytest.fixture
def redis_server(tmp_path, monkeypatch) -> Iterator[Redis]:
    """A running Redis, to which this process sends."""
    with a_redis(tmp_path) as server:
        monkeypatch.setattr(app.conf, "broker_url", server.url)
        app._after_fork()  # forgets its connections
        yield server
        app._after_fork()


@pytest.fixture
def trace(tmp_path) -> Trace:
    return Trace(tmp_path / "trace")
