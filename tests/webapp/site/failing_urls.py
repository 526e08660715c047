"""The site's addresses, and some that fail in every way a view can."""

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404, UnreadablePostError
from django.urls import path
from rest_framework.request import Request

from webapp import errors, urls
from webapp.keys.api import ApiView

SECRET_WORDS = "the database password is hunter2"

ERRORS = {
    "bug": lambda: RuntimeError(SECRET_WORDS),
    "database": lambda: OperationalError(SECRET_WORDS),
    "suspicious": lambda: SuspiciousOperation(SECRET_WORDS),
    "bad": lambda: BadRequest(SECRET_WORDS),
    "cut off": lambda: UnreadablePostError(SECRET_WORDS),
    "forbidden": lambda: PermissionDenied("Only for owls."),
    "missing": lambda: Http404(SECRET_WORDS),
    "invalid": lambda: errors.InvalidInput("Too long.", field="question"),
    "busy": lambda: errors.ScoringUnavailable("All pods are busy.", retry_after=2.4),
    "slow": lambda: errors.ScoringTimeout("Too slow."),
}


def page(request, kind):
    raise ERRORS[kind]()


class Api(ApiView):
    def get(self, request: Request, kind: str) -> None:
        raise ERRORS[kind]()


urlpatterns = [
    path("fails/<str:kind>", page),
    path("api/v1/fails/<str:kind>", Api.as_view()),
    *urls.urlpatterns,
]
handler400, handler403, handler404, handler500 = urls.handler400, urls.handler403, urls.handler404, urls.handler500
