"""How long files of jobs are kept, and telling their owners before they go."""

from datetime import datetime, timedelta

import structlog
from allauth.account.adapter import get_adapter
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapp.accounts.models import User
from webapp.batch import claims, endings, files
from webapp.batch.models import Job
from webapp.errors import FilesError

log = structlog.get_logger(__name__)

NOTICE = timedelta(days=3)  # before the files go
NOTICE_EVERY = timedelta(hours=20)  # a person gets one mail a day, whatever hour the first came at
JUST_ENDED = timedelta(days=1)  # where files are kept for less than the notice, nobody is told at once
DRAFTS_KEPT = timedelta(days=1)
AT_ONCE = 200  # jobs


def delete_old() -> None:
    """Deletes the files of jobs whose time has come, and drafts that nobody started. The jobs' rows stay."""
    now = timezone.now()
    for job in Job.objects.filter(kept_until__lt=now, deleted_at=None, state__in=Job.ENDED)[:AT_ONCE]:
        try:
            files.delete(job)
        except (FilesError, OSError) as error:
            log.warning("batch_files_not_deleted", batch=str(job.pk), error=str(error))
            continue
        # Last of all: should this end half way, the next one does it again.
        claims.drop(job.pk)
        Job.objects.filter(pk=job.pk).update(deleted_at=now)
        log.info("batch_files_deleted", batch=str(job.pk))
    for job in Job.objects.filter(state=Job.State.DRAFT, created_at__lt=now - DRAFTS_KEPT)[:AT_ONCE]:
        if endings.remove(job.pk, was=[Job.State.DRAFT]):  # it may be started just now
            files.delete(job)


def send_notices() -> None:
    """Tells each owner in one mail a day which jobs' files go within three days."""
    for owner_id in _to_be_told(timezone.now()).order_by().values_list("owner_id", flat=True).distinct():
        owner, jobs = _noted(owner_id)
        if jobs:
            _send_notice(owner, jobs)


def _to_be_told(now: datetime) -> QuerySet[Job]:
    return Job.objects.filter(
        deleted_at=None,
        notice_sent_at=None,
        kept_until__range=(now, now + NOTICE),
        ended_at__lt=now - JUST_ENDED,
    )


def _noted(owner_id: int) -> tuple[User, list[Job]]:
    """The owner, and the jobs that they are to be told of now, which are noted as told: by one worker alone."""
    now = timezone.now()
    with transaction.atomic():
        User.objects.select_for_update().values_list("pk").get(pk=owner_id)
        owner = User.objects.select_related("responsible").get(pk=owner_id)
        if Job.objects.filter(owner=owner, notice_sent_at__gte=now - NOTICE_EVERY).exists():
            return owner, []
        jobs = list(_to_be_told(now).filter(owner=owner).order_by("kept_until"))
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(notice_sent_at=now)
    return owner, jobs


def _send_notice(owner: User, jobs: list[Job]) -> None:
    try:
        if owner.mailbox:
            get_adapter().send_mail("batch/email/results_go", owner.mailbox, {"person": owner, "jobs": jobs})
    except OSError as error:  # smtplib's errors are, too; the next hour tries again
        log.warning("batch_notice_not_sent", user_id=owner.pk, error=type(error).__name__)
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(notice_sent_at=None)
    else:
        log.info("batch_notice_sent", user_id=owner.pk, jobs=len(jobs))
