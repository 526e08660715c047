"""What every request passes: its id, its line in the log, the limits on its size, the mapping of its errors."""

import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import structlog
from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django_structlog.middlewares import RequestMiddleware
from django_structlog.signals import bind_extra_request_finished_metadata

from webapp import bodies, health, metrics, problems, tracing
from webapp.errors import AppError, BadRequest, NotAllowed, NotSignedIn, TooLarge
from webapp.keys import limits
from webapp.keys.authentication import key_in
from webapp.network import client_network

Next = Callable[[HttpRequest], HttpResponse]
WELL_FORMED_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,99}", re.ASCII)


class Middleware:
    """The part all of ours share. `request` passes it on the way in, `answer` on the way out."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response


class RequestIdMiddleware(Middleware):
    """Gives each request an id, the caller's own where it is well formed, and sends it back as X-Request-ID."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")  # not .headers: those are read once, and kept
        request_id = given if WELL_FORMED_ID.fullmatch(given) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = request_id
        request.request_id = request_id  # type: ignore[attr-defined]  # ours
        answer = self.get_response(request)
        answer["X-Request-ID"] = request_id
        return answer


class MetricsMiddleware(Middleware):
    """Counts each request by its route. The outermost, so that none is left out."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        with metrics.in_flight.track_inprogress():
            answer = self.get_response(request)
        route = metrics.route_of(request, static_url=settings.STATIC_URL, health=request.path in health.VIEWS)
        metrics.note_request(route, request.method, answer.status_code, time.perf_counter() - began)
        return answer


class TracingMiddleware(Middleware):
    """Makes each request but probes a trace. What a caller says of a trace of theirs does not count: it is ours."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        named = {"http.request.method": request.method or "", "request_id": request.META["HTTP_X_REQUEST_ID"]}
        with tracing.span("request", "SERVER", named) as span:
            answer = self.get_response(request)
            route = metrics.route_of(request, static_url=settings.STATIC_URL, health=False)
            status = answer.status_code
            found: tracing.Attributes = {"http.route": route, "http.response.status_code": status}
            span.note(found, name=f"{request.method} {route}", failed=status >= 500)
        return answer


class AccessLogMiddleware(RequestMiddleware):
    """One line a request, with the time it took and without its query: that holds questions."""

    def prepare(self, request: HttpRequest) -> None:
        super().prepare(request)
        request.began = time.perf_counter()  # type: ignore[attr-defined]  # ours

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"

    def _process_exception(self, request: HttpRequest, exception: Exception) -> None:
        """Only what nobody has an answer for leaves its traceback. The rest, such as a database that is away, has a
        line like every request's, with the status that is answered.
        """
        if problems.app_error_of(exception) is None:
            super()._process_exception(request, exception)
        else:
            request.known_failure = exception  # type: ignore[attr-defined]  # ours

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        """Who asks, unless the database that knows it is away."""
        if not hasattr(request, "known_failure"):
            with suppress(AnyDatabaseError):
                RequestMiddleware.bind_user_id(request)

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        structlog.contextvars.bind_contextvars(ip=client_network(request))


@receiver(bind_extra_request_finished_metadata)
def add_to_the_line(request: HttpRequest, log_kwargs: dict[str, object], **_options: object) -> None:
    """How long the request took, and what the database said where it has failed."""
    log_kwargs["duration_ms"] = round((time.perf_counter() - request.began) * 1000, 1)  # type: ignore[attr-defined]  # ours
    failure = getattr(request, "known_failure", None)
    if isinstance(failure, AnyDatabaseError):
        said, *_hints = str(failure).splitlines() or [""]
        log_kwargs["error"] = f"{type(failure).__name__}: {said}"


class HealthMiddleware(Middleware):
    """Answers probes before anything checks the Host header or asks for https: they call the pod by its address."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = health.VIEWS.get(request.path)
        return view(request) if view else self.get_response(request)


class SafetyHeadersMiddleware(Middleware):
    """The safety headers that neither Django nor django-csp sets.

    What does not say how long it may be kept is for the one who asked, and asked for anew: shared caches must not mix
    people up. Browsers may still show it on Back.
    """

    PERMISSIONS_POLICY = ", ".join(
        [
            *(
                f"{feature}=()"
                for feature in ("camera", "geolocation", "microphone", "payment", "usb", "browsing-topics")
            ),
            "clipboard-write=(self)",
        ]
    )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        answer.setdefault("Permissions-Policy", self.PERMISSIONS_POLICY)
        answer.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        answer.setdefault("Cache-Control", "private, no-cache")
        return answer


class BodyLimitMiddleware(Middleware):
    """Refuses a body that is too large by its announced length, before a byte of it is read.

    Pictures and batches are taken only from people signed in and from callers with an API key, which the API checks
    before it reads; a stranger cannot make us store gigabytes to find a form's safety token in them. Artifacts, up to a
    gigabyte, are taken only from those who may register versions.

    A body without Content-Length (chunked) is never read by Django, so it is refused too rather than taken as empty.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        error = self._refusal(request)
        answer = problems.answer(request, error) if error else self.get_response(request)
        if answer.status_code >= 400:
            bodies.read_rest(request)
        return answer

    @staticmethod
    def _refusal(request: HttpRequest) -> AppError | None:
        if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
            return BadRequest("Send the body with a Content-Length.")
        length = bodies.length_of(request.META.get("CONTENT_LENGTH"))
        artifact = settings.ARTIFACT_UPLOAD_PATHS.fullmatch(request.path) is not None
        limit = _limit(request.path, artifact=artifact)
        if length > limit:
            return TooLarge(f"The request has {length:,} bytes; at most {limit:,} are allowed here.")
        if length <= settings.MAX_BODY_BYTES:
            return None
        if artifact and not request.user.has_perm("registry.register_version"):
            return NotAllowed("You may not register versions or evaluation sets; ask for the group admin.")
        if not artifact and not _may_upload(request):
            return NotSignedIn("Sign in, or send an API key, before you send files.")
        return None


def _limit(path: str, *, artifact: bool) -> int:
    """The most bytes that a body sent to the address may have. artifact: it takes whole versions of models."""
    if artifact:
        return settings.MAX_ARTIFACT_UPLOAD_BYTES + settings.MIB  # leaves room for the other fields
    if path.startswith(settings.BATCH_PATHS):
        return settings.BATCH_UPLOAD_BYTES + settings.MIB
    if settings.FAQ_IMPORT_PATHS.fullmatch(path):
        return settings.FAQ_IMPORT_BYTES + settings.MIB
    return settings.MAX_UPLOAD_BYTES if path.startswith(settings.UPLOAD_PATHS) else settings.MAX_BODY_BYTES


def _may_upload(request: HttpRequest) -> bool:
    """Whether a caller of an address that takes files names a key, where keys count, or is signed in."""
    return (problems.is_api(request) and key_in(request) is not None) or request.user.is_authenticated


class RateLimitHeadersMiddleware(Middleware):
    """Tells in the headers how much of its limits the request has left, whichever way it ended.

    What ended in an error has cost nothing of the month.
    """

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self.get_response(request)
        limits.settle(request, answer.status_code)
        for name, value in limits.headers_of(request).items():
            answer[name] = value
        return answer


class ProblemMiddleware(Middleware):
    """Turns our errors that leave a page's view into their page or problem."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, AppError | UnreadablePostError):
            return None  # the others have a door of Django's own, which also logs them
        error = problems.app_error_of(exception)
        return problems.answer(request, error) if error else None
