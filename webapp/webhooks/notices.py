"""Mails to owners whose endpoint was disabled without them."""

from datetime import datetime, timedelta

import structlog
from allauth.account.adapter import get_adapter
from django.conf import settings
from django.urls import reverse

from webapp.webhooks.models import Endpoint

log = structlog.get_logger(__name__)
TRY_AGAIN = timedelta(minutes=10)
AT_ONCE = 10
WHY = {
    Endpoint.Reason.GONE: "The receiver answered 410 Gone: it is no longer there.",
    Endpoint.Reason.FAILING: "Nothing got through to the receiver for three days.",
    Endpoint.Reason.ADMIN: "An administrator of the site has disabled it.",
    Endpoint.Reason.OWNER: "You have disabled it.",
}


def send_due(now: datetime) -> int:
    """Sends the mails that are owed; returns how many. What the mail server does not take is tried again later."""
    owed = Endpoint.objects.filter(mail_due_at__lte=now).select_related("owner__responsible").order_by("mail_due_at")
    return sum(_send(endpoint, now) for endpoint in owed[:AT_ONCE])


def _send(endpoint: Endpoint, now: datetime) -> bool:
    mine = Endpoint.objects.filter(pk=endpoint.pk, mail_due_at=endpoint.mail_due_at)
    if not mine.update(mail_due_at=now + TRY_AGAIN):
        return False  # another worker has it
    context = {
        "endpoint": endpoint,
        "host": endpoint.host,
        "why": WHY[Endpoint.Reason(endpoint.disabled)],
        "page": settings.PUBLIC_URL + reverse("webhooks:endpoint", args=[endpoint.pk]),
    }
    try:
        if reader := endpoint.owner.mailbox:
            get_adapter().send_mail("webhooks/email/disabled", reader, context)
    except OSError as error:  # smtplib's errors are, too
        log.warning("webhook_mail_not_sent", webhook=str(endpoint.pk), error=type(error).__name__)
        return False
    Endpoint.objects.filter(pk=endpoint.pk, mail_due_at=now + TRY_AGAIN).update(mail_due_at=None)
    return True
