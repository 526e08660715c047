"""E-mails about keys, to whoever looks after them: the owner, or who is responsible for the service account."""

from datetime import timedelta
from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q, QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from webapp import queues
from webapp.accounts.models import User
from webapp.celery import stopping
from webapp.keys.models import ApiKey

log = structlog.get_logger(__name__)

REMIND_DAYS = (3, 14)  # before a key expires; the nearer first: who is due for both gets one mail
CREATED, ROTATED, REVOKED = "created", "rotated", "revoked"


def tell_later(key: ApiKey, what: str, by: User) -> None:
    """Has a worker tell, once it is in the database, what happened to the key. what: CREATED, ROTATED or REVOKED."""
    transaction.on_commit(lambda: queues.send("keys.tell", key.pk, what, by.pk))


def tell(key_id: int, what: str, by_id: int) -> None:
    """Mails what happened to the key, and who did it. Says nothing of what is gone meanwhile."""
    by = User.objects.filter(pk=by_id).first()
    for key in _with_readers().filter(pk=key_id):
        _send(key, "told", {"what": what, "by": by})


def remind_all() -> None:
    """Mails about each key that expires soon, once 14 and once 3 days before; not of one made for less than that.

    What cannot be sent is tried again the next time.
    """
    now = timezone.now()
    for days in REMIND_DAYS:
        ahead = timedelta(days=days)
        due = _with_readers().filter(
            _not_reminded(days), revoked_at=None, expires_at__gt=now, expires_at__lte=now + ahead
        )
        for key in due:
            if stopping():
                return
            if key.expires_at is not None and key.created_at <= key.expires_at - ahead and key.owner.mailbox:
                _remind(key, days)


def _remind(key: ApiKey, days: int) -> None:
    # Before it is sent, so that two workers do not both send it.
    row = ApiKey.objects.filter(pk=key.pk)
    if not row.filter(_not_reminded(days), revoked_at=None, expires_at=key.expires_at).update(reminded_days=days):
        return
    if _send(key, "expires", {}):
        log.info("api_key_reminded", prefix=key.prefix, days=days)
    else:
        row.filter(reminded_days=days).update(reminded_days=key.reminded_days)


def _not_reminded(days: int) -> Q:
    return Q(reminded_days=None) | Q(reminded_days__gt=days)


def _with_readers() -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(owner__is_active=True).select_related("owner__responsible").prefetch_related("secrets")


def _send(key: ApiKey, template: str, context: dict[str, object]) -> bool:
    """Whether somebody reads it, and the mail server took it."""
    if not key.owner.mailbox:
        return False
    known = {
        **context,
        "key": key,
        "public_url": settings.PUBLIC_URL,
        "keys_url": settings.PUBLIC_URL + reverse("keys:list"),
        "rotate_url": settings.PUBLIC_URL + reverse("keys:rotate", args=[key.pk]),
    }
    subject = " ".join(render_to_string(f"keys/email/{template}_subject.txt", known).split())
    try:
        send_mail(subject, render_to_string(f"keys/email/{template}_message.txt", known), None, [key.owner.mailbox])
    except (OSError, SMTPException) as error:
        log.warning("api_key_mail_not_sent", prefix=key.prefix, mail=template, error=str(error))
        return False
    return True
