"""Writes the security log: one row, and one line of the log that is shipped elsewhere, for each event."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import structlog
from django.http import HttpRequest, HttpResponse

from webapp.audit.models import SecurityEvent
from webapp.request_ids import current_request_id

log = structlog.get_logger(__name__)

Kind = SecurityEvent.Kind
_request: ContextVar[HttpRequest | None] = ContextVar("audited_request", default=None)


class Person(Protocol):
    """A person or service account."""

    @property
    def pk(self) -> Any: ...

    @property
    def email(self) -> str: ...


class AuditMiddleware:
    """Lets events know who asks and from where."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        before = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(before)


def record(
    kind: SecurityEvent.Kind,
    *,
    account: Person | None = None,
    by: Person | None = None,
    about: str = "",
    **details: object,
) -> None:
    """Appends an event, in the transaction of what happened where there is one.

    account: whose it is about. by: who did it; None: whoever is signed in to the request, if anybody. details: values
    that JSON has; never a secret, and nothing that was typed where one belongs.
    """
    actor = by or _signed_in()
    event = SecurityEvent.objects.create(
        kind=kind,
        actor=actor.email if actor else "",
        actor_id=actor.pk if actor else None,
        account=account.email if account else "",
        account_id=account.pk if account else None,
        about=about[:200],
        network=str(structlog.contextvars.get_contextvars().get("ip", "")),
        request_id=current_request_id()[:100],
        details=details,
    )
    log.info(
        "security_event",
        kind=str(kind),
        actor_id=event.actor_id,
        account_id=event.account_id,
        about=event.about,
        **{f"with_{name}": value for name, value in details.items()},
    )


def _signed_in() -> Person | None:
    request = _request.get()
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None
