"""Tasks for the workers that tests start: `celery --include tests.tasks`. Each leaves a line in a file as its trace."""

import os
import signal
import time
from pathlib import Path

from celery import shared_task

from webapp.celery import stopping
from webapp.request_ids import current_request_id


@shared_task(name="tests.note")
def note(file: str, line: str) -> None:
    _append(file, line)


@shared_task(name="tests.request_id")
def request_id(file: str) -> None:
    _append(file, current_request_id())


@shared_task(name="tests.fail")
def fail(secret: str) -> None:
    raise ValueError("it was meant to fail")


@shared_task(name="tests.sleep")
def sleep(file: str, seconds: float) -> None:
    _append(file, "began")
    time.sleep(seconds)
    _append(file, "ended")


@shared_task(name="tests.sleep_until_told")
def sleep_until_told(file: str) -> None:
    _append(file, "began")
    while not stopping():
        time.sleep(0.05)
    _append(file, "told")


@shared_task(name="tests.kill")
def kill(file: str) -> None:
    _append(file, "began")
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task(name="tests.threads")
def threads(file: str, others: int) -> None:
    """Ends when so many of it are at work at the same time."""
    _append(file, "began")
    until = time.monotonic() + 20
    while len(Path(file).read_text().splitlines()) < others:
        assert time.monotonic() < until
        time.sleep(0.02)


def _append(file: str, line: str) -> None:
    with Path(file).open("a") as trace:
        trace.write(f"{line}\n")
