"""Who calls the API, and whether they may: an API key, or the session of a signed-in page."""

from typing import TYPE_CHECKING

import structlog
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from webapp import metrics
from webapp.accounts.models import User
from webapp.errors import NotAllowed, NotSignedIn
from webapp.keys import limits, services
from webapp.keys.models import ApiKey
from webapp.keys.principal import Principal, principal_of, principal_of_key
from webapp.keys.services import BadKey
from webapp.network import client_address, client_network

if TYPE_CHECKING:  # DRF's views import this module through its settings
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

NO_KEY = "Send an API key as `Authorization: Bearer sp_…`, or sign in."


class KeyAuthentication(BaseAuthentication):
    """An API key in `Authorization: Bearer` or `X-API-Key`.

    A request that names a key stands or falls with it: a bad one is not made good by a session. Bad ones are counted
    by network, after the look-up, so that somebody's broken script does not lock out their colleagues' good keys;
    guessing is hopeless anyway against 256 random bits. Past that limit the log is spared, too.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        text = key_in(request._request)
        if text is None:
            return None
        try:
            key = services.recognise(text, client_address(request._request))
        except BadKey as bad:
            metrics.keys_refused.labels(bad.reason).inc()
            limits.charge_bad_key(request._request, client_network(request._request))
            log.info("api_key_refused", reason=bad.reason, prefix=bad.prefix)  # the line has the network, too
            raise
        return key.owner, key

    def authenticate_header(self, _request: Request) -> str:
        return 'Bearer realm="scorepod"'


class SessionAuthentication(DRFSessionAuthentication):
    """The session of the pages, with Django's CSRF check on all that is not a read."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            raise NotAllowed("Send the X-CSRFToken header with the session, or use an API key.") from error


class HasScope(BasePermission):
    """Lets a signed-in caller through when they have the view's `required_scope`, if it names one."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        principal = api_principal(request)
        scope = scope_of(view, request.method)
        if scope is not None and scope not in principal.scopes:
            raise NotAllowed(f"This needs a key with the scope `{scope}`.")
        return True


def scope_of(view: object, method: str | None) -> str | None:
    """The scope that the view asks of a request with that method; None: that it is known who asks is enough."""
    write_scope: str | None = getattr(view, "write_scope", None)
    if write_scope is not None and method not in {"GET", "HEAD"}:
        return write_scope
    required: str | None = getattr(view, "required_scope", None)
    return required


def key_in(request: HttpRequest) -> str | None:
    """The key that the headers name, "" when they name one in a way we do not know; None when they name none."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""
    return request.headers.get("X-API-Key")


def api_principal(request: Request) -> Principal:
    """Who calls. Raises NotSignedIn for a stranger."""
    if isinstance(request.auth, ApiKey):
        return principal_of_key(request.auth)
    if not isinstance(request.user, User):
        raise NotSignedIn(NO_KEY)
    return principal_of(request._request)
