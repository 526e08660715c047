"""Background work: the Celery app that runs the tasks of all apps (their tasks.py).

Its settings stand in settings.py under CELERY_; docs/operations.md says which process works on which queue.
"""

import os
import threading

from celery import Celery
from celery.signals import worker_shutting_down

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

app = Celery("webapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

_stopping = threading.Event()


def stopping() -> bool:
    """Whether this worker has been told to end: long tasks look between their steps, and leave the rest to the next."""
    return _stopping.is_set()


@worker_shutting_down.connect
def note_that_it_stops(**_options: object) -> None:
    _stopping.set()
