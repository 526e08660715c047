"""Background work: the Celery app that runs the tasks of all apps (their tasks.py).

Its settings stand in settings.py under CELERY_; docs/operations.md says which process works on which queue.
"""

import os
import threading
import time
import warnings
from contextlib import ExitStack
from typing import Any

import structlog
from celery import Celery
from celery.beat import EmbeddedService
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.signals import (
    before_task_publish,
    setup_logging,
    task_postrun,
    task_prerun,
    task_revoked,
    worker_init,
    worker_ready,
    worker_shutting_down,
)
from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES

from webapp import liveness, metrics, tracing
from webapp.request_ids import current_request_id

log = structlog.get_logger(__name__)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
TRANSPORT_ALIASES["files"] = "webapp.filebroker:Transport"
# The first is of workers that run as root: what could harm them, pickled messages, none of ours accepts. The second is
# of tasks whose broker has gone meanwhile: they end as they would have, and stand being run twice.
for of_no_use in (SecurityWarning, CPendingDeprecationWarning):
    warnings.simplefilter("ignore", of_no_use)

app = Celery("webapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["consumer"].add(liveness.NoteRounds)


# The end of a worker --------------------------------------------------------------------------------------------------

_stopping = threading.Event()


def stopping() -> bool:
    """Whether this worker has been told to end: long tasks look between their steps, and leave the rest to the next."""
    return _stopping.is_set()


@worker_shutting_down.connect
def note_that_it_stops(**_options: object) -> None:
    _stopping.set()


# Its beginning --------------------------------------------------------------------------------------------------------


@worker_ready.connect
def start_beat(**_options: object) -> None:
    """Starts the schedule in a thread of this worker, where WORKER_BEAT says so: it then lives and dies with it."""
    if app.conf.worker_beat:
        beat: Any = EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler)
        beat.start()


# Metrics --------------------------------------------------------------------------------------------------------------


@task_revoked.connect
def count_what_came_too_late(request: Any, expired: bool, **_options: object) -> None:
    metrics.tasks.labels(request.task_name, "EXPIRED" if expired else "REVOKED").inc()


# Log lines ------------------------------------------------------------------------------------------------------------


@setup_logging.connect
def leave_logs_alone(**_options: object) -> None:
    """Without a receiver Celery would set up logs of its own; Django has set up ours."""


@before_task_publish.connect
def name_the_request(headers: dict[str, Any], **_options: object) -> None:
    """Sends the request's id and the time along, and nothing of the arguments to show in logs: they hold people's
    questions.
    """
    headers.update(
        request_id=current_request_id(), sent_at=time.time(), argsrepr="", kwargsrepr="", **tracing.headers()
    )


@task_prerun.connect
def begin_its_lines(task: Any, task_id: str, **_options: object) -> None:
    """Gives all lines of the task the id of the request that it was sent in, and its own."""
    known = {"request_id": task.request.get("request_id"), "task": task.name, "task_id": task_id}
    task.request.bound = structlog.contextvars.bind_contextvars(
        **{name: value for name, value in known.items() if value}
    )
    _begin_its_span(task, task_id)
    task.request.began = time.perf_counter()
    if sent_at := task.request.get("sent_at"):  # by another machine's clock, which may be ahead of ours
        queue = (task.request.delivery_info or {}).get("routing_key", "")
        metrics.task_wait.labels(queue).observe(max(0.0, time.time() - sent_at))


@task_postrun.connect
def end_its_lines(task: Any, state: str | None, **_options: object) -> None:
    """One line a task, but for those that run all the time."""
    if state == "FAILURE" and hasattr(task.request, "span"):
        task.request.span.note({}, failed=True)
    seconds = time.perf_counter() - task.request.began
    metrics.tasks.labels(task.name, state or "UNKNOWN").inc()
    metrics.task_seconds.labels(task.name).observe(seconds)
    duration = round(seconds * 1000, 1)
    (log.debug if task.name in settings.QUIET_TASKS else log.info)("task_finished", state=state, duration_ms=duration)
    structlog.contextvars.reset_contextvars(**task.request.bound)
    task.request.spans.close()


# Traces ---------------------------------------------------------------------------------------------------------------


@worker_init.connect
def start_traces(**_options: object) -> None:
    tracing.start(settings.TRACES_ENDPOINT, "scorepod-worker")


def _begin_its_span(task: Any, task_id: str) -> None:
    """Makes the task a part of the trace that it was sent in. What runs all the time, for nobody, is in none."""
    task.request.spans = ExitStack()
    parent = task.request.get(tracing.HEADER) or ""
    if parent or task.name not in settings.QUIET_TASKS:
        span = tracing.span(task.name, "CONSUMER", {"task_id": task_id}, parent=parent)
        task.request.span = task.request.spans.enter_context(span)
