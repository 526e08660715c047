"""Handing work to the background, by the names in tasks.py. Nothing depends on it: `registry.watch` finds the rest."""

from typing import Any

import structlog
from celery import current_app
from kombu.exceptions import KombuError

log = structlog.get_logger(__name__)


def send(task: str, *arguments: Any, queue: str = "default", expires: float | None = None) -> None:
    """Asks a worker to run the task. Never raises; a broker that is away is logged.

    expires: seconds after which nobody needs it any more.
    """
    try:
        current_app.send_task(task, args=arguments, queue=queue, expires=expires, retry=False)
    except (KombuError, OSError) as error:
        log.warning("task_not_sent", task=task, error=str(error))
