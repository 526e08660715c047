"""A worker with Redis: messages, and a Redis that is away, silent or started again."""

import signal
import time

import pytest
from kombu.exceptions import OperationalError

from tests.worker import wait_until, waiting, worker
from webapp import queues
from webapp.celery import app


def test_what_is_sent_is_done(redis_server, trace):
    for queue in ("default", "batch", "training"):
        assert queues.send("tests.note", str(trace), queue, queue=queue)
    assert queues.lengths() == {"default": 1, "batch": 1, "training": 1}
    assert queues.broker_problem() == ""
    with worker(REDIS_URL=redis_server.url) as running:
        trace.wait_for("default", "batch", "training")
        wait_until(lambda: waiting() == 0)
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in running.log


def test_a_worker_goes_on_after_its_redis_was_away(redis_server, trace):
    with worker(REDIS_URL=redis_server.url) as running:
        queues.send("tests.note", str(trace), "before")
        trace.wait_for("before")
        redis_server.stop()
        assert not queues.send("tests.note", str(trace), "meanwhile")
        wait_until(lambda: "Connection refused" in running.log)
        redis_server.start()
        assert queues.send("tests.note", str(trace), "after")
        trace.wait_for("before", "after")
        assert running.process.poll() is None


def test_a_worker_that_begins_before_its_redis_waits_for_it(redis_server, trace):
    redis_server.stop()
    with worker(REDIS_URL=redis_server.url) as running:
        wait_until(lambda: "Connection refused" in running.log)
        redis_server.start()
        assert queues.send("tests.note", str(trace), "noted")
        trace.wait_for("noted")


@pytest.mark.parametrize("connected", [True, False], ids=["with a connection", "without one"])
@pytest.mark.parametrize("gone", ["stopped", "silent"])
def test_who_sends_does_not_wait_for_the_broker_to_come_back(redis_server, connected, gone):
    if connected:
        assert queues.send("tests.note")
    if gone == "stopped":
        redis_server.stop()
    else:
        redis_server.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            assert queues.send("tests.note") is False
            assert time.monotonic() - began < 5
            began = time.monotonic()
            with pytest.raises(OperationalError):
                app.send_task("tests.note")
            assert time.monotonic() - began < 5
        assert queues.lengths() == {}
        assert queues.broker_problem()
    finally:
        if redis_server.process:
            redis_server.process.send_signal(signal.SIGCONT)


def test_what_a_killed_worker_had_comes_back_once_its_time_is_over(redis_server, trace, monkeypatch):
    monkeypatch.setitem(app.conf.broker_transport_options, "visibility_timeout", 1)
    queues.send("tests.sleep", str(trace), 600)
    with worker(REDIS_URL=redis_server.url) as first:
        trace.wait_for("began")
        first.kill()
    time.sleep(1.1)
    with app.connection_for_read() as connection:
        connection.default_channel.qos.restore_visible(num=10)
    assert queues.lengths()["default"] == 1
