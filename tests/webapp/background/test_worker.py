"""A worker without Redis: what it does with messages."""

import shutil
import time
from collections.abc import Iterator

import pytest
import structlog

from tests.worker import Worker, lines_about, wait_until, waiting, worker
from webapp import queues
from webapp.filebroker import MOST_GIVEN_UP


@pytest.fixture(scope="module")
def running() -> Iterator[Worker]:
    """A worker for all tests here."""
    with worker() as running:
        yield running


def test_a_worker_takes_one_message_after_another(trace, running):
    queues.send("tests.note", str(trace), "first")
    trace.wait_for("first")
    queues.send("tests.note", str(trace), "second")
    trace.wait_for("first", "second")


def test_eight_tasks_run_at_the_same_time(trace, running):
    for _ in range(8):
        queues.send("tests.threads", str(trace), 8)
    trace.wait_for(*["began"] * 8)
    wait_until(lambda: waiting() == 0)


def test_what_no_task_knows_is_dropped_without_its_content_in_the_log(trace, running):
    queues.send("tests.of_another_release", "a person's question")
    queues.send("tests.note", str(trace), "noted")
    trace.wait_for("noted")
    wait_until(lambda: lines_about(running.log, "Received unregistered task"))
    assert "person's question" not in running.log
    assert waiting() == 0


def test_a_task_that_fails_leaves_a_traceback_without_its_arguments_and_the_worker_goes_on(trace, running):
    queues.send("tests.fail", "a person's question")
    queues.send("tests.note", str(trace), "noted")
    trace.wait_for("noted")
    wait_until(lambda: "it was meant to fail" in running.log)
    assert "person's question" not in running.log
    assert waiting() == 0


def test_the_lines_of_a_task_have_the_id_of_the_request_that_sent_it(trace, running):
    with structlog.contextvars.bound_contextvars(request_id="request-1"):
        queues.send("tests.request_id", str(trace))
    trace.wait_for("request-1")
    wait_until(lambda: [line for line in lines_about(running.log, "task_finished") if "request_id" in line])
    [line] = [line for line in lines_about(running.log, "task_finished") if "request_id" in line]
    assert (line["task"], line["request_id"], line["state"]) == ("tests.request_id", "request-1", "SUCCESS")
    assert line["duration_ms"] >= 0


def test_the_broker_s_folder_may_go_and_come_back_under_a_running_worker(trace, running, settings):
    queues.send("tests.note", str(trace), "before")
    trace.wait_for("before")
    shutil.rmtree(settings.BROKER_DIR)
    time.sleep(0.3)
    queues.send("tests.note", str(trace), "after")
    trace.wait_for("before", "after")
    assert running.process.poll() is None


def test_messages_that_cannot_be_read_are_set_aside(trace, running, settings):
    queues.send("tests.note", str(trace), "first")
    trace.wait_for("first")
    contents = [b"", b"not json", b"[]", b'{"properties": {}}']
    for number, content in enumerate(contents):
        (settings.BROKER_DIR / "default" / f"0-damaged-{number}.json").write_bytes(content)
    queues.send("tests.note", str(trace), "second")
    trace.wait_for("first", "second")
    set_aside = settings.BROKER_DIR / "given-up" / "default"
    assert sorted(path.read_bytes() for path in set_aside.iterdir()) == sorted(contents)
    assert len(lines_about(running.log, "message_given_up")) == len(contents)


def test_of_messages_set_aside_only_the_last_are_kept(trace, running, settings):
    queues.send("tests.note", str(trace), "first")
    trace.wait_for("first")
    set_aside = settings.BROKER_DIR / "given-up" / "default"
    names = [f"0-damaged-{number:03}.json" for number in range(MOST_GIVEN_UP + 5)]
    for name in names:
        (settings.BROKER_DIR / "default" / name).write_bytes(b"not json")
    queues.send("tests.note", str(trace), "second")
    trace.wait_for("first", "second")
    assert sorted(path.name for path in set_aside.iterdir()) == names[-MOST_GIVEN_UP:]
