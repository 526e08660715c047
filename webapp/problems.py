"""The one mapping from errors to answers: RFC 9457 problem+json for programs, a page for people.

KINDS says for each error its stable name, status and title; /problems/<slug> explains it. The address of a request
decides which form its error takes.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from django.core import exceptions as django_errors
from django.db import Error as AnyDatabaseError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template.loader import render_to_string
from rest_framework import exceptions as drf_errors
from rest_framework.response import Response

from webapp import errors
from webapp.errors import AppError
from webapp.request_ids import current_request_id

log = structlog.get_logger(__name__)
CONTENT_TYPE = "application/problem+json"
API_PATHS = ("/api/v1/", "/score", "/health/")


@dataclass(frozen=True)
class Kind:
    """One kind of problem. slug: the stable end of its `type`; cause and remedy: what /problems/<slug> explains."""

    slug: str
    status: int
    title: str
    cause: str
    remedy: str


BAD_REQUEST = Kind(
    "bad-request",
    400,
    "The request cannot be read",
    "The request is malformed: its JSON does not parse, a multipart body breaks off, or a header is not allowed.",
    "Check that the body is what its Content-Type says, and that Content-Length counts all of it.",
)
INVALID_INPUT = Kind(
    "invalid-input",
    422,
    "Some of the input is not valid",
    "The request was read, but a value in it has the wrong type, is missing or lies outside its limits.",
    "See `errors`: each entry names a field and says what is wrong with it.",
)
NOT_SIGNED_IN = Kind(
    "not-signed-in",
    401,
    "Sign-in is needed",
    "The request has no API key, or one that is unknown, revoked, expired, or not allowed from your network. These "
    "cases look alike on purpose; only a key that is mistyped is called so.",
    "Send a live key as `Authorization: Bearer sp_…`. The page “API keys” shows which are live, and where from.",
)
NOT_ALLOWED = Kind(
    "not-allowed",
    403,
    "This is not allowed",
    "The key lacks the scope that this needs, you may not see this page, or a form was sent without its safety token.",
    "Create a key with the scope that `detail` names. For a form: reload the page and send it again.",
)
NOT_FOUND = Kind(
    "not-found",
    404,
    "Nothing here",
    "There is nothing at this address, or it belongs to somebody else.",
    "Check the address; what you deleted does not come back.",
)
CONFLICT = Kind(
    "conflict",
    409,
    "This cannot be done right now",
    "What was asked for does not fit the state things are in: it is being done already, or something has changed.",
    "Reload, see `detail`, and decide again.",
)
STILL_RUNNING = Kind(
    "still-running",
    409,
    "The same request is being answered",
    "A request with this `Idempotency-Key` came before and has no answer yet.",
    "Send it again after the seconds in `Retry-After`: you then get the answer of the first.",
)
PRECONDITION_FAILED = Kind(
    "changed-meanwhile",
    412,
    "It was changed meanwhile",
    "Somebody has changed or deleted it since you read it: your `If-Match` names an older version.",
    "Read it again, see what has changed, put your change on top, and send that with its new `ETag`.",
)
IDEMPOTENCY_KEY_REUSED = Kind(
    "idempotency-key-reused",
    422,
    "This Idempotency-Key was used for something else",
    "Within the last 24 hours you sent the same `Idempotency-Key` to another address or with another body.",
    "Make a new key, such as a random UUID, for each thing you create; send the old one only to repeat a request.",
)
METHOD = Kind(
    "method-not-allowed",
    405,
    "This method does not work here",
    "The address exists, but not for this HTTP method.",
    "Use one of the methods in the `Allow` header.",
)
NOT_ACCEPTABLE = Kind(
    "not-acceptable",
    406,
    "We cannot answer in that form",
    "The `Accept` header asks for a form that this address does not answer in.",
    "Accept `application/json`, or leave the header out.",
)
TOO_LARGE = Kind(
    "too-large",
    413,
    "The request is too large",
    "The body, one of its pictures or the number of its parts is over a limit.",
    "Send less at once: a picture may have 10 MB, a request 8 pictures, a batch 6 GB, any other body 1 MB.",
)
UNSUPPORTED_MEDIA = Kind(
    "unsupported-media-type",
    415,
    "We cannot read this kind of content",
    "The `Content-Type` header names something that this address does not read.",
    "Send JSON as `application/json`; pictures as `multipart/form-data` or as one raw `image/…` body.",
)
RATE_LIMITED = Kind(
    "rate-limited",
    429,
    "Too many requests",
    "The key or your account has asked as much as it may in a minute, you are sending as many uploads as one may at "
    "once, or your network has sent many keys that do not work.",
    "Wait for the seconds in `Retry-After`. The `RateLimit` header tells beforehand how many are left.",
)
QUOTA_EXCEEDED = Kind(
    "quota-exceeded",
    429,
    "The quota of this month is used up",
    "The key or your account has fewer requests or rows left in this calendar month than this needs.",
    "Wait for the next month (`Retry-After` has the seconds), send less, or ask the people who run this site for "
    "another plan. Your account page and `GET /api/v1/me` show what is left.",
)
INTERNAL = Kind(
    "internal-error",
    500,
    "Something went wrong on our side",
    "An error in our program. It has been logged under the request's id.",
    "Try again in a moment. If it stays, tell the people who run this site the request id.",
)
SCORING_FAILED = Kind(
    "scoring-failed",
    502,
    "The model gave no usable answer",
    "The scoring service answered with an error, or with something we cannot read.",
    "Try again in a moment. If it stays, tell the people who run this site the request id.",
)
SCORING_REFUSED = Kind(
    "scoring-refused",
    422,
    "The model refused the input",
    "The input arrived at the model and cannot be scored: a picture that does not decode, a text without a word.",
    "See `detail` for the reason, and send something else.",
)
SCORING_UNAVAILABLE = Kind(
    "scoring-unavailable",
    503,
    "No model can answer right now",
    "All scoring pods for this model are starting, full or gone.",
    "Try again after the seconds in `Retry-After`.",
)
SCORING_TIMEOUT = Kind(
    "scoring-timeout",
    504,
    "The model took too long",
    "The scoring service did not answer within the time the request had.",
    "Try again; with several pictures, send fewer at once.",
)
UNAVAILABLE = Kind(
    "unavailable",
    503,
    "The site is not available right now",
    "The database does not answer.",
    "Try again after the seconds in `Retry-After`. Nothing you have saved is lost.",
)
STORE = Kind(
    "model-store",
    503,
    "The model store cannot be used",
    "The folder that holds the models cannot be read or written, or a file in it is missing or damaged.",
    "See `detail`. What serves goes on serving; tell the people who run this site if it stays.",
)
FILES = Kind(
    "batch-files",
    503,
    "The files of batches cannot be used",
    "The disk that holds uploads and results of batches is full or away, or a file on it is missing or damaged.",
    "See `detail`. Delete batches that you no longer need; tell the people who run this site if it stays.",
)

KINDS: dict[type[AppError], Kind] = {
    AppError: INTERNAL,
    errors.BadRequest: BAD_REQUEST,
    errors.InvalidInput: INVALID_INPUT,
    errors.NotSignedIn: NOT_SIGNED_IN,
    errors.NotAllowed: NOT_ALLOWED,
    errors.NotFound: NOT_FOUND,
    errors.Conflict: CONFLICT,
    errors.StillRunning: STILL_RUNNING,
    errors.PreconditionFailed: PRECONDITION_FAILED,
    errors.IdempotencyKeyReused: IDEMPOTENCY_KEY_REUSED,
    errors.MethodNotAllowed: METHOD,
    errors.NotAcceptable: NOT_ACCEPTABLE,
    errors.TooLarge: TOO_LARGE,
    errors.UnsupportedMedia: UNSUPPORTED_MEDIA,
    errors.RateLimited: RATE_LIMITED,
    errors.QuotaExceeded: QUOTA_EXCEEDED,
    errors.ScoringError: SCORING_FAILED,
    errors.ScoringRefused: SCORING_REFUSED,
    errors.ScoringUnavailable: SCORING_UNAVAILABLE,
    errors.ScoringTimeout: SCORING_TIMEOUT,
    errors.Unavailable: UNAVAILABLE,
    errors.StoreError: STORE,
    errors.FilesError: FILES,
}
BY_SLUG = {kind.slug: kind for kind in KINDS.values()}


def kind_of(error: AppError) -> Kind:
    return next(KINDS[base] for base in type(error).__mro__ if base in KINDS)


def problem_of(error: AppError, *, request_id: str | None = None) -> dict[str, Any]:
    """The RFC 9457 object for the error. request_id: where the answer leaves before or after the log knows it."""
    kind = kind_of(error)
    problem: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
        "request_id": request_id or current_request_id(),
    }
    if details := error.fields or ({error.field: error.detail} if error.field else {}):
        problem["errors"] = [{"field": field, "detail": detail} for field, detail in details.items()]
    return problem


# Other people's errors, as ours ---------------------------------------------------------------------------------------


def app_error_of(error: BaseException) -> AppError | None:
    """The error of Django, DRF or the database as one of ours; None when nobody meant it."""
    match error:
        case AppError():
            return error
        case django_errors.RequestDataTooBig() | django_errors.TooManyFieldsSent() | django_errors.TooManyFilesSent():
            return errors.TooLarge("The request has too many bytes, fields or files.")
        case django_errors.DisallowedHost():
            return errors.BadRequest("The Host header does not name this site.")
        case django_errors.SuspiciousOperation() | django_errors.BadRequest() | MultiPartParserError():
            return errors.BadRequest("The request is malformed.")
        case UnreadablePostError():
            return errors.BadRequest("The body broke off before its end.")
        case Http404() | drf_errors.NotFound():
            return errors.NotFound("There is nothing at this address.")
        case django_errors.PermissionDenied():
            return errors.NotAllowed(str(error) or "You may not do this.")
        case OperationalError() | InterfaceError():
            return errors.Unavailable("The database does not answer. Try again in a moment.", retry_after=5)
        case drf_errors.APIException():
            return _of_drf(error)
    return None


def _of_drf(error: drf_errors.APIException) -> AppError:
    match error:
        case drf_errors.ValidationError():
            fields = dict(_flat(error.detail))
            return errors.InvalidInput("Some fields are not valid; `errors` says which.", fields=fields)
        case drf_errors.ParseError():
            return errors.BadRequest(str(error.detail))
        case drf_errors.NotAuthenticated() | drf_errors.AuthenticationFailed():
            return errors.NotSignedIn("Send a valid API key as `Authorization: Bearer sp_…`, or sign in.")
        case drf_errors.PermissionDenied():
            return errors.NotAllowed(str(error.detail))
        case drf_errors.MethodNotAllowed():
            return errors.MethodNotAllowed("This address does not take that method; see the `Allow` header.")
        case drf_errors.NotAcceptable():
            return errors.NotAcceptable("This address answers in `application/json` only.")
        case drf_errors.UnsupportedMediaType():
            return errors.UnsupportedMedia("This address does not read that Content-Type.")
    return AppError("The request could not be answered.")


def _flat(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """DRF's nested error details as (field path, sentence); what concerns the whole body has the path "body"."""
    if isinstance(detail, dict):
        for name, below in detail.items():
            inner = path if name == "non_field_errors" else f"{path}.{name}" if path else str(name)
            yield from _flat(below, inner)
    elif isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        for index, below in enumerate(detail):
            if below:
                yield from _flat(below, f"{path}[{index}]")
    elif isinstance(detail, list):
        yield path or "body", " ".join(map(str, detail))
    else:
        yield path or "body", str(detail)


# Answers --------------------------------------------------------------------------------------------------------------


def headers_of(error: AppError, problem: dict[str, Any]) -> dict[str, str]:
    """What goes into the answer's headers: when to come back, how to sign in."""
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if problem["status"] == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="scorepod"'
    return headers


def is_api(request: HttpRequest) -> bool:
    """True for addresses that programs call: their errors are JSON whatever the Accept header says."""
    return request.path.startswith(API_PATHS)


def answer(request: HttpRequest, error: AppError) -> HttpResponse:
    """The error as problem+json or as a page, whichever the address speaks."""
    problem = problem_of(error, request_id=getattr(request, "request_id", None))
    headers = headers_of(error, problem)
    if is_api(request):
        return JsonResponse(problem, status=problem["status"], content_type=CONTENT_TYPE, headers=headers)
    return HttpResponse(_page(request, problem), status=problem["status"], headers=headers)


def _page(request: HttpRequest, problem: dict[str, Any]) -> str:
    """The error as HTML. A page that says "our fault" asks the database nothing, and has a plainer one behind it."""
    try:
        if problem["status"] < 500:
            with suppress(AnyDatabaseError):  # away, it cannot say who is signed in; the page does without
                return render_to_string("errors/problem.html", {"problem": problem}, request)
        return render_to_string("errors/problem.html", {"problem": problem, "request": request})
    except Exception:  # whatever it is, a second error must not hide the first
        log.exception("problem_page_failed")
        return render_to_string("500.html")


def answer_api_error(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. None for what nobody meant: Django then logs it and asks `server_error`."""
    ours = app_error_of(error)
    if ours is None or isinstance(error, OperationalError | InterfaceError):
        return None
    http_request = context["request"]._request
    problem = problem_of(ours, request_id=http_request.request_id)
    return Response(problem, problem["status"], headers=headers_of(ours, problem), content_type=CONTENT_TYPE)


# Django's own doors ---------------------------------------------------------------------------------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, app_error_of(exception) or errors.BadRequest("The request is malformed."))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, app_error_of(exception) or errors.NotAllowed("You may not do this."))


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # Django names it
    # Django's own message would list our URL patterns.
    return answer(request, errors.NotFound("There is nothing at this address."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Answers what no view has caught. Called while the exception is being handled, so it can be looked at."""
    meant = app_error_of(sys.exc_info()[1] or RuntimeError())
    return answer(request, meant or AppError("An error on our side. It has been logged under this request's id."))


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """What allauth answers when an address or account has tried too often."""
    return answer(request, errors.RateLimited("You have tried too often. Wait a few minutes.", retry_after=60))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    log.info("csrf_failure", reason=reason)
    return answer(
        request, errors.NotAllowed("The form's safety token is missing or old. Reload the page and try again.")
    )
