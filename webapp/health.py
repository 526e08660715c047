"""Whether this process lives, and whether it can do its work."""

from collections.abc import Callable

import structlog
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from webapp import problems
from webapp.errors import MethodNotAllowed, Unavailable

View = Callable[[HttpRequest], HttpResponse]
log = structlog.get_logger(__name__)


def live(_request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nothing else: a broken database is no reason to restart us."""
    return JsonResponse({"status": "live"}, headers={"Cache-Control": "no-store"})


def ready(request: HttpRequest) -> HttpResponse:
    """200 when the database answers, else a 503 problem. Scoring pods do not count: the site explains their absence."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        log.exception("database_unavailable")
        return problems.answer(request, Unavailable("The database does not answer.", retry_after=5))
    return JsonResponse({"status": "ready"}, headers={"Cache-Control": "no-store"})


def for_reading(view: View) -> View:
    """The view for GET and HEAD, a 405 problem for the rest."""

    def reading(request: HttpRequest) -> HttpResponse:
        if request.method in {"GET", "HEAD"}:
            return view(request)
        answer = problems.answer(request, MethodNotAllowed("A probe is asked with GET or HEAD."))
        answer["Allow"] = "GET, HEAD"
        return answer

    return reading


VIEWS = {"/health/live": for_reading(live), "/health/ready": for_reading(ready)}
