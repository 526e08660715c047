"""The queues of background work, as the site sees them: sending without waiting for anybody, and what waits."""

from typing import Any

import structlog
from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from webapp import metrics
from webapp.celery import app

log = structlog.get_logger(__name__)

AWAY = (KombuError, RedisError, OSError)  # how a broker is away; the last is every error of a network or a file


def send(name: str, *args: Any, queue: str = "default", expires: float | None = None, **kwargs: Any) -> bool:
    """Queues the task of that name; False, with a line in the log, when the broker does not take it within a second.

    expires: seconds after which nobody wants it done any more.
    """
    try:
        app.send_task(name, args=args, kwargs=kwargs, queue=queue, expires=expires)
    except AWAY as error:
        metrics.tasks_not_sent.labels(queue).inc()
        log.warning("task_not_sent", task=name, queue=queue, error=str(error))
        return False
    return True


def lengths() -> dict[str, int]:
    """How many messages wait in each queue; empty when the broker does not answer within a second."""
    try:
        return _lengths()
    except AWAY:
        return {}


def broker_problem() -> str:
    """Why the broker cannot be used, in one sentence; empty when it can."""
    try:
        _lengths()
    except AWAY as error:
        return f"The message broker does not answer: {str(error).rstrip('.')}."
    return ""


def _lengths() -> dict[str, int]:
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        return {name: channel.queue_declare(name).message_count for name in settings.QUEUES}
