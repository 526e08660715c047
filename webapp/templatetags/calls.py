"""The same request as the page made, written out as code."""

from django import template
from django.http import HttpRequest
from django.template import Context
from django.urls import reverse

from webapp.calls import Call, Shown, file_calls, json_calls

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


@register.simple_tag(takes_context=True)
def faq_calls(context: Context, question: str, key: str = "", *, explain: bool = False) -> list[Call]:
    """POST /api/v1/faq/match with that question. explain: ask for the matched words too, as the page does."""
    body = {"question": question} | ({"explain": True} if explain else {})
    return json_calls(_address(context, "api:faq-match"), body, key=key, shown=MATCHES)


@register.simple_tag(takes_context=True)
def image_calls(context: Context, filename: str, model: str = "", key: str = "") -> list[Call]:
    """POST /api/v1/images/classify with one file, for that model if one is named."""
    return file_calls(_address(context, "api:images-classify"), filename, model=model, key=key, shown=PREDICTIONS)


@register.simple_tag(takes_context=True)
def me_calls(context: Context, key: str = "") -> list[Call]:
    """GET /api/v1/me, which any key may call."""
    return json_calls(_address(context, "api:me"), key=key)


@register.simple_tag
def sheet_id(request_id: str, number: int) -> str:
    """An id for the sheet of the card with that number: pictures sent one by one share the page, not the request."""
    return f"api-{request_id}-{number}"


def _address(context: Context, name: str) -> str:
    request: HttpRequest = context["request"]
    return request.build_absolute_uri(reverse(name))
