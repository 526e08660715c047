"""Workers that come, end and are killed, without Redis: what becomes of the messages."""

import os
import time

from tests.worker import lines_about, wait_until, waiting, worker
from webapp import queues


def test_what_was_sent_while_no_worker_was_there_is_done_when_one_comes(trace):
    for queue in ("default", "batch", "training"):
        assert queues.send("tests.note", str(trace), queue, queue=queue)
    assert queues.lengths() == {"default": 1, "batch": 1, "training": 1}
    with worker() as running:
        trace.wait_for("default", "batch", "training")
        wait_until(lambda: waiting() == 0)
        assert queues.send("tests.note", str(trace), "later")
        trace.wait_for("default", "batch", "training", "later")
        assert running.stop() == 0
        assert "Traceback" not in running.log
    assert waiting() == 0


def test_what_a_killed_worker_had_is_done_by_the_next_one(trace):
    queues.send("tests.sleep", str(trace), 600)
    with worker() as first:
        trace.wait_for("began")
        assert waiting() == 0
        first.kill()
    queues.send("tests.note", str(trace), "noted")
    with worker() as second:
        trace.wait_for("began", "began", "noted")
        second.kill()


def test_a_message_that_kills_its_workers_is_given_up_and_said_so(trace, settings):
    queues.send("tests.kill", str(trace))
    for number in range(1, 4):
        with worker() as running:
            trace.wait_for(*["began"] * number)
            assert running.process.wait(timeout=60) == -9
    queues.send("tests.note", str(trace), "noted")
    with worker() as running:
        trace.wait_for("began", "began", "began", "noted")
        [line] = lines_about(running.log, "message_given_up")
        assert line["level"] == "error"
    [given_up] = (settings.BROKER_DIR / "given-up" / "default").iterdir()
    assert "tests.kill" in given_up.read_text()


def test_what_was_given_up_long_ago_is_deleted(trace, settings):
    given_up = settings.BROKER_DIR / "given-up" / "default"
    given_up.mkdir(parents=True)
    for name, days in (("old.json", 8), ("recent.json", 6)):
        (given_up / name).touch()
        os.utime(given_up / name, (time.time() - days * 86400,) * 2)
    queues.send("tests.note", str(trace), "noted")
    with worker():
        trace.wait_for("noted")
    assert [path.name for path in given_up.iterdir()] == ["recent.json"]


def test_a_message_that_cannot_be_read_for_a_while_is_done_when_it_can(trace, settings, tmp_path):
    queues.send("tests.note", str(trace), "first")
    [message] = (settings.BROKER_DIR / "default").iterdir()
    message.rename(tmp_path / "kept")
    message.symlink_to(tmp_path / "away")
    queues.send("tests.note", str(trace), "second")
    with worker() as running:
        trace.wait_for("second")
        wait_until(lambda: lines_about(running.log, "broker_unreadable"))
        (tmp_path / "kept").rename(tmp_path / "away")
        trace.wait_for("second", "first")
        assert len(lines_about(running.log, "broker_unreadable")) == 1


def test_told_to_end_it_finishes_what_it_has_begun(trace):
    queues.send("tests.sleep", str(trace), 1.5)
    with worker() as running:
        trace.wait_for("began")
        assert running.stop() == 0
        assert trace.lines == ["began", "ended"]
    assert waiting() == 0


def test_a_long_task_learns_that_its_worker_ends(trace):
    queues.send("tests.sleep_until_told", str(trace))
    with worker() as running:
        trace.wait_for("began")
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 5
        assert trace.lines == ["began", "told"]


def test_what_came_too_late_is_not_done(trace):
    queues.send("tests.note", str(trace), "too late", expires=0.1)
    queues.send("tests.note", str(trace), "in time", expires=600)
    time.sleep(0.2)
    with worker():
        trace.wait_for("in time")
        wait_until(lambda: waiting() == 0)
    assert trace.lines == ["in time"]
