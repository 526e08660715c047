"""The same request as the page made, written out as code."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from django import template
from django.http import HttpRequest
from django.template import Context
from django.urls import reverse

from webapp.calls import Call, Shown, file_calls, json_calls
from webapp.keys.models import ApiKey

register = template.Library()

MATCHES = Shown(
    [
        'for match in json.load(answer)["matches"]:',
        """    print(f"{match['probability']:.1%}  {match['question']}")""",
    ],
    "(await answer.json()).matches",
)
PREDICTIONS = Shown(
    [
        'for best in json.load(answer)["results"][0]["predictions"]:',
        """    print(f"{best['probability']:.1%}  {best['label']}")""",
    ],
    "(await answer.json()).results[0].predictions",
)
BATCH = Shown(
    ["batch = json.load(answer)", 'print(batch["id"], batch["status"], batch["request_counts"])'],
    "await answer.json()",
)
RESULTS = Shown(
    ["for line in answer:", "    row = json.loads(line)", '    print(row["row"], row["answers"][:1] or row["error"])'],
    '(await answer.text()).trim().split("\\n").map((line) => JSON.parse(line))',
)


@register.simple_tag(takes_context=True)
def faq_calls(
    context: Context, question: str, key: str = "", *, explain: bool = False, collection: str = ""
) -> list[Call]:
    """POST /api/v1/faq/match with that question. explain: ask for the matched words too, as the page does.

    collection: to search, where that is not the default one.
    """
    body: dict[str, object] = {"question": question} | ({"explain": True} if explain else {})
    if collection:
        body["collection"] = collection
    return json_calls(_address(context, "api:faq-match"), body, key=key, shown=MATCHES)


@register.simple_tag(takes_context=True)
def image_calls(context: Context, filename: str, model: str = "", key: str = "") -> list[Call]:
    """POST /api/v1/images/classify with one file, for that model if one is named."""
    options = {"model": model} if model else None
    return file_calls(_address(context, "api:images-classify"), filename, options=options, key=key, shown=PREDICTIONS)


@register.simple_tag(takes_context=True)
def batch_create_calls(context: Context, filename: str, options: Mapping[str, str]) -> list[Call]:
    """POST /api/v1/batches with a file. options: as the API has them."""
    return file_calls(_address(context, "api:batches"), filename, field="file", options=options, shown=BATCH)


@register.simple_tag(takes_context=True)
def batch_calls(context: Context, batch_id: UUID) -> list[Call]:
    """GET /api/v1/batches/{id}: how far it is."""
    return json_calls(_address(context, "api:batch", batch_id), shown=BATCH)


@register.simple_tag(takes_context=True)
def batch_results_calls(context: Context, batch_id: UUID) -> list[Call]:
    """GET /api/v1/batches/{id}/results as JSON lines."""
    return json_calls(_address(context, "api:batch-results", batch_id), shown=RESULTS)


@register.simple_tag(takes_context=True)
def me_calls(context: Context, key: str = "") -> list[Call]:
    """GET /api/v1/me, which any key may call."""
    return json_calls(_address(context, "api:me"), key=key)


@register.simple_tag
def sheet_id(request_id: str, number: int) -> str:
    """An id for the sheet of the card with that number: pictures sent one by one share the page, not the request."""
    return f"api-{request_id}-{number}"


def _address(context: Context, name: str, *args: object) -> str:
    request: HttpRequest = context["request"]
    return request.build_absolute_uri(reverse(name, args=args))


@register.filter
def opening(keys: Sequence[ApiKey], scope: str) -> ApiKey | None:
    """The first of the keys that has the scope; any does where the scope is empty."""
    return next((key for key in keys if not scope or scope in key.scopes), None)


@register.filter
def with_key(calls: Sequence[Call], key: ApiKey | None) -> Sequence[Call]:
    """The same, each that reads SCOREPOD_KEY under a comment that says which key that may be. It holds no secret."""
    return [_noted(call, f"SCOREPOD_KEY: your key {key.public_part}…") for call in calls] if key else calls


def _noted(call: Call, note: str) -> Call:
    sign = "//" if call.slug == "javascript" else "#"
    return replace(call, code=f"{sign} {note}\n{call.code}") if "SCOREPOD_KEY" in call.code else call
