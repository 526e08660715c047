"""Background work in tests: all that waits, done in this thread; or a worker as it runs in production, in a process."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.environment import SCRATCH
from tests.product import ROOT
from webapp import queues
from webapp.celery import app

# As docs/operations.md has it, with the tests' own tasks.
COMMAND = (
    *("-m", "celery", "--quiet", "--app", "webapp.celery", "worker", "--include", "tests.tasks"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
WITHIN = 30  # seconds, on a busy machine


def run_waiting_tasks(most: int = 1000) -> list[str]:
    """Does what waits in the queues, what it sends in turn too, and returns the tasks' names in their order.

    A task that fails fails the test. Fails after `most` tasks: they would go on for ever.
    """
    app.autodiscover_tasks(force=True)
    done: list[str] = []
    with app.connection_for_read() as connection:
        queues = [queue(connection.default_channel) for queue in settings.CELERY_TASK_QUEUES]
        while message := next(filter(None, (queue.get() for queue in queues)), None):
            message.ack()
            args, kwargs, _ = message.decode()
            name = message.headers["task"]
            done.append(name)
            app.tasks[name].apply(args, kwargs, task_id=message.headers["id"], throw=True)
            assert len(done) < most, f"no end to {done[-3:]}"
    return done


@dataclass
class Worker:
    """A running worker on the broker of this test."""

    process: subprocess.Popen[bytes]
    output: BufferedRandom

    @property
    def log(self) -> str:
        return os.pread(self.output.fileno(), 1 << 30, 0).decode()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=WITHIN)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def worker(**env: str) -> Iterator[Worker]:
    """Starts a worker and stops it on the way out; it works on what waits as soon as it is up."""
    given = {"VAR_DIR": str(SCRATCH), "LOG_FORMAT": "json"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *COMMAND], cwd=ROOT, env={**os.environ, **given, **env}, stdout=output, stderr=output
        )
        started = Worker(process, output)
        try:
            yield started
        finally:
            try:
                started.stop()
            except subprocess.TimeoutExpired:
                started.kill()
                raise AssertionError(f"the worker did not end by itself:\n{started.log[-4000:]}") from None


class Trace:
    """The file in which the tests' tasks leave their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, *lines: str, within: float = WITHIN) -> None:
        """Returns when the file has just these lines, in any order."""
        until = time.monotonic() + within
        while sorted(self.lines) != sorted(lines):
            assert time.monotonic() < until, f"{self.lines} and not {list(lines)}"
            time.sleep(0.02)


def waiting() -> int:
    """How many messages wait in all queues."""
    return sum(queues.lengths().values())


def wait_until(holds: Callable[[], Any], within: float = WITHIN) -> None:
    until = time.monotonic() + within
    while not holds():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.05)


def lines_about(log: str, event: str) -> list[dict[str, Any]]:
    """The lines of a worker's log whose event begins so."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"].startswith(event)]
