"""The queues of background work, as the site sees them: sending without waiting for anybody, and what waits."""

from typing import Any

import structlog
from kombu.exceptions import KombuError, OperationalError

from webapp.celery import app

log = structlog.get_logger(__name__)


def send(name: str, *args: Any, queue: str = "default", expires: float | None = None, **kwargs: Any) -> bool:
    """Queues the task of that name; False, with a line in the log, when the broker does not take it within a second.

    expires: seconds after which nobody wants it done any more.
    """
    try:
        app.send_task(name, args=args, kwargs=kwargs, queue=queue, expires=expires)
    except (KombuError, OperationalError, OSError) as error:
        log.warning("task_not_sent", task=name, queue=queue, error=str(error))
        return False
    return True
