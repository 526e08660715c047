"""Deletes what is older than it has to be kept."""

from datetime import timedelta

import structlog
from celery import shared_task
from django.conf import settings
from django.utils import timezone

from webapp.audit.models import SecurityEvent

log = structlog.get_logger(__name__)


@shared_task(name="audit.prune")
def prune() -> None:
    before = timezone.now() - timedelta(days=settings.AUDIT_KEPT_DAYS)
    deleted, _ = SecurityEvent.objects.filter(at__lt=before).delete()
    if deleted:
        log.info("security_events_deleted", count=deleted, before=before.isoformat())
