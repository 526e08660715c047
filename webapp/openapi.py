"""The OpenAPI document of the API: what every operation shares, added to what each says of itself."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from webapp import deprecation, errors, problems
from webapp.errors import AppError
from webapp.keys import idempotency
from webapp.keys.authentication import scope_of

ALWAYS = (errors.BadRequest, errors.NotSignedIn, errors.NotAcceptable, errors.RateLimited, errors.Unavailable)
WITH_SCOPE = (errors.NotAllowed,)
IDEMPOTENT = (errors.StillRunning, errors.IdempotencyKeyReused)
WITH_BODY = (errors.TooLarge, errors.UnsupportedMedia, errors.InvalidInput)
EXAMPLE_ID = "0b4e1c5a-7a9f-4a53-9d0e-2f1f6f1f7c11"

HEADERS = {
    "X-Request-ID": {"description": "The id of this request, yours if you sent one.", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "The limits this request counts against.", "schema": {"type": "string"}},
    "RateLimit": {"description": "What is left of them, and for how long.", "schema": {"type": "string"}},
}
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": idempotency.HEADER,
    "description": "Makes it safe to send the request again: the second time you get the answer of the first.",
    "schema": {"type": "string", "minLength": 1, "maxLength": idempotency.LONGEST_KEY, "pattern": "^[!#-~]+$"},
    "examples": {"A random UUID": {"value": "7c4d1b0e-53e1-4d4c-a54e-0f2a8e4d3c55"}},
}
REPLAYED = {
    "description": "`true` when this is the answer of an earlier request with the same Idempotency-Key.",
    "schema": {"type": "string", "const": "true"},
}
IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    "description": "The `ETag` of the answer that you have: when it is still the same, you get a 304 without a body.",
    "schema": {"type": "string"},  # whatever it is: what names no answer of ours is no reason to refuse
}
ETAG = {"description": "Names this answer, for `If-None-Match`.", "schema": {"type": "string"}}
LINK = {
    "description": '`<…>; rel="next"`: the address of the next page, where there is one.',
    "schema": {"type": "string"},
}
LOCATION = {"description": "The address of what was made.", "schema": {"type": "string", "format": "uri-reference"}}
PREFER = {
    "in": "header",
    "name": "Prefer",
    "description": (
        "`respond-async`: answer at once with a batch, which scores it in the background (RFC 7240). Needs the scope "
        "`batch`, too."
    ),
    "schema": {"type": "string"},
    "examples": {"Later": {"value": "respond-async"}},
}
APPLIED = {"description": "`respond-async`.", "schema": {"type": "string", "const": "respond-async"}}
RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}}
CHALLENGE = {"description": "How to sign in.", "schema": {"type": "string"}}
PROBLEM = {
    "type": "object",
    "description": "A problem as RFC 9457 has it. `type` leads to a page that explains it.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened this time, and what to do."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "The fields that are not valid.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


class ApiSchema(AutoSchema):
    """Adds to each operation the problems that can happen, and the headers that every answer has."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        self._add_later_answer(operation)
        for status, response in operation["responses"].items():
            response.setdefault("headers", {}).update(HEADERS)
            if status == "202":
                response["headers"]["Location"] = LOCATION
        self._add_links(operation)
        scope = scope_of(self.view, self.method)
        if scope:
            operation["x-required-scope"] = scope
        kinds = [*ALWAYS, *getattr(self.view, "also_raises", ())]
        kinds += WITH_SCOPE if scope or self.method == "POST" else ()
        if "requestBody" in operation:
            operation["requestBody"]["required"] = True  # whatever media type it is in
            kinds += WITH_BODY
        if self.method == "POST" and getattr(self.view, "idempotent", False):
            operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            kinds += IDEMPOTENT
            _add_headers(operation, {idempotency.REPLAYED: REPLAYED})
        self._add_what_reads_share(operation)
        if self.is_deprecated():
            _add_headers(operation, deprecation.HEADERS)
        for status, component in self._problems(kinds):
            operation["responses"].setdefault(str(status), component.ref)
        operation["responses"] = dict(sorted(operation["responses"].items()))
        return operation

    def is_deprecated(self) -> bool:
        return getattr(self.view, "deprecated", None) is not None or super().is_deprecated()

    def _add_links(self, operation: dict[str, Any]) -> None:
        """Where a client may go on from a good answer; of a call that can be answered later, from that answer."""
        links = getattr(self.view, "links", {}).get(str(self.method).lower())
        good = ["202"] if hasattr(self.view, "later_answer") else operation["responses"]
        for status in good if links else ():
            operation["responses"][status]["links"] = links

    def _add_later_answer(self, operation: dict[str, Any]) -> None:
        """What `Prefer: respond-async` makes of a call that can be answered later."""
        answer = getattr(self.view, "later_answer", None)
        if answer is None or self.method != "POST":
            return
        later: dict[str, Any] = self._get_response_for_code(answer, "202")  # type: ignore[no-untyped-call]  # theirs
        later["description"] = "It will be answered later, by this batch of its own: you sent `Prefer: respond-async`."
        later["headers"] = {"Preference-Applied": APPLIED}
        operation["responses"]["202"] = later
        operation.setdefault("parameters", []).append(PREFER)

    def _add_what_reads_share(self, operation: dict[str, Any]) -> None:
        if any(each["name"] == "cursor" for each in operation.get("parameters", ())):
            _add_headers(operation, {"Link": LINK})
        if self.method == "GET" and getattr(self.view, "etagged", False):
            operation.setdefault("parameters", []).append(IF_NONE_MATCH)
            operation["responses"]["304"] = {"description": "You have it already.", "headers": dict(HEADERS)}
            _add_headers(operation, {"ETag": ETAG})

    def _problems(self, kinds: Iterable[type[AppError]]) -> Iterable[tuple[int, ResolvedComponent]]:
        schema = self._component("Problem", ResolvedComponent.SCHEMA, PROBLEM)
        by_status: dict[int, list[problems.Kind]] = {}
        for kind in (problems.KINDS[error] for error in dict.fromkeys(kinds)):
            by_status.setdefault(kind.status, []).append(kind)
        for status, same in by_status.items():
            # Two operations may mean different kinds by one status; their names tell which.
            name = "".join(word.capitalize() for kind in same for word in kind.slug.split("-"))
            yield status, self._component(name, ResolvedComponent.RESPONSE, _problem_response(status, same, schema))

    def _component(self, name: str, where: str, content: dict[str, Any]) -> ResolvedComponent:
        component = ResolvedComponent(name, where, content, name)  # type: ignore[no-untyped-call]  # theirs
        self.registry.register_on_missing(component)
        return component


def _add_headers(operation: dict[str, Any], headers: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        response["headers"].update(headers)


def _problem_response(status: int, kinds: list[problems.Kind], schema: ResolvedComponent) -> dict[str, Any]:
    headers: dict[str, Any] = {"X-Request-ID": HEADERS["X-Request-ID"]}
    if status in {429, 503} or problems.STILL_RUNNING in kinds:
        headers["Retry-After"] = RETRY_AFTER
    if status == 401:
        headers["WWW-Authenticate"] = CHALLENGE
    return {
        "description": " Or: ".join(f"{kind.title}. {kind.cause}" for kind in kinds),
        "headers": headers,
        "content": {
            problems.CONTENT_TYPE: {
                "schema": schema.ref,
                "examples": {kind.slug: {"value": example_of(kind)} for kind in kinds},
            }
        },
    }


def example_of(kind: problems.Kind) -> dict[str, Any]:
    """A problem of that kind as it may come."""
    example = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.remedy,
        "request_id": EXAMPLE_ID,
    }
    if kind is problems.INVALID_INPUT:
        example["errors"] = [{"field": "top_k", "detail": "Ensure this value is less than or equal to 50."}]
    return example


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # a registering base class
    target_class = "webapp.keys.authentication.KeyAuthentication"
    name = ["bearer", "apiKey"]

    def get_security_requirement(self, _auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]  # either header; one mapping would ask for both

    def get_security_definition(self, _auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return [
            {"type": "http", "scheme": "bearer", "bearerFormat": "sp_<id>_<secret>", "description": "An API key."},
            {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same API key, as it is."},
        ]


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # a registering base class
    target_class = "webapp.keys.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, _auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The session of a signed-in page. A POST also needs the X-CSRFToken header.",
        }
