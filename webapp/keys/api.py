"""What all API views share, and who the caller is."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapp import paging
from webapp.accounts.plans import limits_of
from webapp.deprecation import Deprecation
from webapp.errors import AppError
from webapp.etags import EtagView
from webapp.keys import idempotency, limits
from webapp.keys.authentication import api_principal
from webapp.keys.month_use import month_of
from webapp.keys.principal import Principal
from webapp.paging import Page

S = TypeVar("S", bound=serializers.Serializer[Any])


class ApiRequest(Request):
    """A request to the API from somebody who has been recognised."""

    @property
    def auth_principal(self) -> Principal:
        return api_principal(self)


class ApiView(EtagView):
    """A view of the API: key or session, scope, rate limit, problem+json.

    required_scope: what the caller must be allowed; None: nothing but to be known. write_scope: of what changes
    something, where that is another.
    also_raises: what the OpenAPI document says can happen beside what can always happen.
    rate_bucket: the limits that each request counts in, beside those of all requests.
    rows: how many questions or pictures each brings; 0 where only its body tells, for `self.charge` once that is read.
    idempotent: its POST creates something, and heeds an Idempotency-Key: what it writes and its answer are one
    transaction, so it must not wait for others in it; what takes its time is for `prepare`.
    etagged: what it answers to GET carries an ETag, for clients that ask again and again.
    links: for each method, where its answer leads to: OpenAPI's Link Objects.
    deprecated: since when and for what else, where it should not be used any more; every answer says so.
    """

    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    required_scope: str | None = None
    write_scope: str | None = None
    rate_bucket = "other"
    rows = 1
    idempotent = False
    etagged = False
    links: Mapping[str, Mapping[str, Any]] = {}
    deprecated: Deprecation | None = None
    also_raises: tuple[type[AppError], ...] = ()

    request: ApiRequest

    def initialize_request(self, request: Any, *_args: Any, **_kwargs: Any) -> ApiRequest:
        return ApiRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.charge(self.rows)
        if request.method == "POST" and self.idempotent:
            self._heed_idempotency_key()

    def _heed_idempotency_key(self) -> None:
        """Puts `once` before the view's own `post`, for this request."""
        key, method = idempotency.key_in(self.request), "post"
        if key is not None and self.creates():
            owner, make = self.request.auth_principal.user, getattr(self, method)
            vars(self)[method] = partial(idempotency.once, key, owner, self.asked(), make, prepare=self.prepare)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.deprecated:
            for name, value in self.deprecated.headers().items():
                final[name] = f"{final[name]}, {value}" if name in final else value
        return final

    def creates(self) -> bool:
        """Whether this POST creates something, so that its Idempotency-Key counts."""
        return True

    def prepare(self) -> None:
        """Does what of a creation takes its time, before its transaction begins; without an Idempotency-Key there is
        none, and this is not called. What it raises is the answer.
        """

    def asked(self) -> Iterable[Any]:
        """What the request brings, as values of JSON: with another content its Idempotency-Key does not fit."""
        return idempotency.content_of(self.request)

    def wishes(self, serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """What the address asks for behind its question mark. Raises a problem that names what is not valid."""
        asked: dict[str, Any] = parse(serializer, self.request.query_params.dict()).validated_data
        return asked

    def charge(self, rows: int) -> None:
        """Counts the request, once, and its rows; raises RateLimited or QuotaExceeded when there is no room."""
        limits.charge(self.request._request, self.request.auth_principal, self.rate_bucket, rows=rows)


def parse(serializer: type[S], data: Any) -> S:
    """The serializer filled with valid data. Raises a problem that names each field that is not valid."""
    filled = serializer(data=data)
    filled.is_valid(raise_exception=True)
    return filled


# What the OpenAPI document says of them -------------------------------------------------------------------------------


def in_path(name: str, kind: Any, description: str, example: str) -> OpenApiParameter:
    """A part of the address that varies. kind: a type, or a schema."""
    shown = OpenApiExample(f"A {name}".replace("_", " "), value=example)
    return OpenApiParameter(name, kind, OpenApiParameter.PATH, description=description, examples=[shown])


def answer_example(name: str, value: Any, *statuses: str) -> OpenApiExample:
    """An answer as it may come, with one of these statuses; by default 200."""
    return OpenApiExample(name, value=value, response_only=True, status_codes=list(statuses) or ["200"])


def list_example(name: str, row: Any) -> OpenApiExample:
    """A list with that row alone."""
    return answer_example(name, {"data": [row], "has_more": False, "next_cursor": None})


# Lists ----------------------------------------------------------------------------------------------------------------


class PageAskSerializer(serializers.Serializer[Any]):
    """What each list takes in its address."""

    cursor = serializers.CharField(required=False, help_text="The `next_cursor` of the page before.")
    limit = serializers.IntegerField(
        required=False, default=paging.LIMIT, min_value=1, max_value=paging.MOST, help_text="Rows on the page, at most."
    )


class PageSerializer(serializers.Serializer[Any]):
    """What each list answers; one of its own adds `data`, the rows."""

    has_more = serializers.BooleanField(help_text="Whether there are rows after these.")
    next_cursor = serializers.CharField(
        allow_null=True,
        help_text="Send it as `cursor` for the next page; null at the end. The `Link` header has it, too.",
    )


def page_answer(request: Request, page: Page[Any], serializer: type[PageSerializer], **more: Any) -> Response:
    """The page as JSON. Its `Link` header leads to the next one, whatever else was asked for. more: other fields."""
    told = {"data": page.items, "has_more": page.next_cursor is not None, "next_cursor": page.next_cursor, **more}
    answer = Response(serializer(told).data)
    if page.next_cursor is not None:
        query = request.query_params.copy()
        query["cursor"] = page.next_cursor
        answer["Link"] = f'<{request.build_absolute_uri(request.path)}?{query.urlencode()}>; rel="next"'
    return answer


# Who is asking --------------------------------------------------------------------------------------------------------

ME_EXAMPLE = {
    "user": {"email": "ada@example.com", "name": "Ada"},
    "key": {"name": "Support bot", "prefix": "k3v9x2ma", "expires_at": "2027-03-01T00:00:00Z"},
    "scopes": ["faq:read"],
    "limits": {
        "requests": {"key": 1200, "user": 2400},
        "faq": {"key": 600, "user": 1200},
        "images": {"key": 240, "user": 480},
        "other": {"key": 300, "user": 600},
    },
    "left": {
        "requests": {"key": 1197, "user": 2317},
        "faq": {"key": 598, "user": 1120},
        "images": {"key": 240, "user": 480},
        "other": {"key": 299, "user": 597},
    },
    "plan": "Team",
    "month": {
        "ends_at": "2026-12-01T00:00:00Z",
        "requests": {
            "key": {"used": 812, "quota": None, "left": None},
            "user": {"used": 2050, "quota": None, "left": None},
        },
        "rows": {
            "key": {"used": 9_812, "quota": None, "left": None},
            "user": {"used": 41_050, "quota": 100_000, "left": 58_950},
        },
    },
}


class UserSerializer(serializers.Serializer[Any]):
    email = serializers.EmailField()
    name = serializers.CharField(help_text="As entered in the profile; may be empty.")


class KeySerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="What comes after `sp_`: public, tells keys apart.")
    expires_at = serializers.DateTimeField(allow_null=True)


class MonthStandingSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    quota = serializers.IntegerField(allow_null=True, help_text="Null where there is none.")
    left = serializers.IntegerField(allow_null=True)


class MonthSerializer(serializers.Serializer[Any]):
    ends_at = serializers.DateTimeField(help_text="When the next one begins.")
    requests = serializers.DictField(child=MonthStandingSerializer(), help_text="Those that scored something.")
    rows = serializers.DictField(
        child=MonthStandingSerializer(), help_text="Questions and pictures, in requests and batches."
    )


class MeSerializer(serializers.Serializer[Any]):
    user = UserSerializer()
    key = KeySerializer(allow_null=True, help_text="The key this request was made with; null for a session.")
    scopes = serializers.ListField(child=serializers.CharField(), help_text="What this request may do.")
    limits = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="What each kind of work may have in a minute, by who is counted: the key, the user over all keys. "
        "Every request counts in `requests`, and besides each question in `faq`, each picture in `images`, and what "
        "scores nothing in `other`.",
    )
    left = serializers.DictField(
        child=serializers.DictField(child=serializers.IntegerField()),
        help_text="What is left of it right now. Empty while nothing can be counted.",
    )
    plan = serializers.CharField(allow_null=True, help_text="The user's plan; null without one.")
    month = MonthSerializer(help_text="What was used in this calendar month, in UTC.")


class MeView(ApiView):
    @extend_schema(
        operation_id="me",
        tags=["Account"],
        summary="Say who is asking",
        description="The user, the key, what they may do, how often, and what is left of it. Useful to check a key.",
        responses={200: MeSerializer},
        examples=[answer_example("With a key", ME_EXAMPLE)],
    )
    def get(self, request: ApiRequest) -> Response:
        who = request.auth_principal
        me = {
            "user": who.user,
            "key": who.key,
            "scopes": sorted(who.scopes),
            "limits": limits.quotas_of(who),
            "left": limits.left_of(who),
            "plan": limits_of(who.user).plan or None,
            "month": {"ends_at": month_of().ends_at, **limits.month_standing(who.user, who.key)},
        }
        return Response(MeSerializer(me).data)
