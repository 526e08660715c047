"""Deliveries in the background: each of these may come twice, late, or be cut short by the end of its worker."""

import time
from threading import Lock, Semaphore

import structlog
from celery import shared_task
from django.utils import timezone

from webapp import queues
from webapp.celery import stopping
from webapp.webhooks import deliveries, notices
from webapp.webhooks.events import TASK, WANTED_FOR

log = structlog.get_logger(__name__)

# In one worker: endpoints that let us wait must not take the threads that promotions and batches need.
AT_ONCE = 3
LONGEST = 60.0  # seconds that one task goes on taking deliveries

_delivering = Semaphore(AT_ONCE)
_watching = Lock()


@shared_task(name="webhooks.deliver")
def deliver() -> None:
    """Delivers what is due, one after the other. Where this worker has its hands full, those at it do that, too."""
    if not _delivering.acquire(blocking=False):
        return
    try:
        until = time.monotonic() + LONGEST
        while time.monotonic() < until and not stopping():
            if not deliveries.deliver_next():
                break
    finally:
        _delivering.release()


@shared_task(name="webhooks.watch")
def watch() -> None:
    """Every few seconds: sends a worker to what is due, whatever became of the messages before, and the mails owed."""
    if not _watching.acquire(blocking=False):
        return
    try:
        now = timezone.now()
        deliveries.end_abandoned(now)
        for _ in deliveries.due(now).order_by("endpoint").values("endpoint").distinct()[:AT_ONCE]:
            queues.send(TASK, expires=WANTED_FOR)
        notices.send_due(now)
    finally:
        _watching.release()


@shared_task(name="webhooks.prune")
def prune() -> None:
    """Every hour: forgets what is too old."""
    if count := deliveries.prune(timezone.now()):
        log.info("webhook_deliveries_pruned", count=count)
