"""The same request as the page made, written out for curl, Python and JavaScript.

Each tag gives (language, code) pairs. They need nothing installed but curl, Python 3 or Node 18, so that they
work when pasted. Without a key they read it from the environment variable SCOREPOD_KEY.
"""

import json
import shlex
from dataclasses import dataclass

from django import template
from django.http import HttpRequest
from django.template import Context
from django.urls import reverse

register = template.Library()


@dataclass(frozen=True)
class Call:
    """One tab of code. `slug` names it in ids."""

    slug: str
    language: str
    code: str


@register.simple_tag(takes_context=True)
def faq_calls(context: Context, question: str, key: str = "", *, explain: bool = False) -> list[Call]:
    """POST /api/v1/faq/match with that question. explain: ask for the matched words too, as the page does."""
    request: HttpRequest = context["request"]
    url = request.build_absolute_uri(reverse("api:faq-match"))
    body = json.dumps({"question": question} | ({"explain": True} if explain else {}), ensure_ascii=False)
    curl = "\n".join(
        [
            f"curl {shlex.quote(url)} \\",
            f"  -H {_curl_header(key)} \\",
            "  -H 'Content-Type: application/json' \\",
            f"  -d {shlex.quote(body)}",
        ]
    )
    python = f"""\
import json{_python_import(key)}
from urllib.request import Request, urlopen

request = Request(
    {_text(url)},
    data=json.dumps({{"question": {_text(question)}{', "explain": True' if explain else ""}}}).encode(),
    headers={{
        "Authorization": {_python_header(key)},
        "Content-Type": "application/json",
    }},
)
with urlopen(request) as answer:
    for match in json.load(answer)["matches"]:
        print(f"{{match['probability']:.1%}}  {{match['question']}}")
"""
    javascript = f"""\
const answer = await fetch({_text(url)}, {{
  method: "POST",
  headers: {{
    Authorization: {_javascript_header(key)},
    "Content-Type": "application/json",
  }},
  body: JSON.stringify({{ question: {_text(question)}{", explain: true" if explain else ""} }}),
}});
console.log((await answer.json()).matches);
"""
    return _tabs(curl, python, javascript)


@register.simple_tag(takes_context=True)
def image_calls(context: Context, filename: str, model: str = "", key: str = "") -> list[Call]:
    """POST /api/v1/images/classify with one file as the body, for that model if one is named."""
    request: HttpRequest = context["request"]
    url = request.build_absolute_uri(reverse("api:images-classify"))
    quoted = filename.replace("\\", r"\\").replace('"', r"\"")  # curl reads what stands between the quotes once more
    form = ["-F", shlex.quote(f'files=@"{quoted}"')]
    if model:
        form += ["-F", shlex.quote(f"model={model}")]
    curl = "\n".join([f"curl {shlex.quote(url)} \\", f"  -H {_curl_header(key)} \\", "  " + " ".join(form)])
    raw_url = f"{url}?model={model}" if model else url
    python = f"""\
import json{_python_import(key)}
from pathlib import Path
from urllib.request import Request, urlopen

request = Request(
    {_text(raw_url)},
    data=Path({_text(filename)}).read_bytes(),
    headers={{
        "Authorization": {_python_header(key)},
        "Content-Type": "{_media_type(filename)}",
    }},
)
with urlopen(request) as answer:
    for best in json.load(answer)["results"][0]["predictions"]:
        print(f"{{best['probability']:.1%}}  {{best['label']}}")
"""
    javascript = f"""\
import {{ readFile }} from "node:fs/promises";

const answer = await fetch({_text(raw_url)}, {{
  method: "POST",
  headers: {{
    Authorization: {_javascript_header(key)},
    "Content-Type": "{_media_type(filename)}",
  }},
  body: await readFile({_text(filename)}),
}});
console.log((await answer.json()).results[0].predictions);
"""
    return _tabs(curl, python, javascript)


@register.simple_tag
def sheet_id(request_id: str, number: int) -> str:
    """An id for the sheet of the card with that number: pictures sent one by one share the page, not the request."""
    return f"api-{request_id}-{number}"


def _tabs(curl: str, python: str, javascript: str) -> list[Call]:
    return [
        Call("curl", "curl", curl),
        Call("python", "Python", python.rstrip()),
        Call("javascript", "JavaScript", javascript.rstrip()),
    ]


def _text(value: str) -> str:
    """A string literal that both Python and JavaScript read: JSON's, which stays on one line."""
    return json.dumps(value, ensure_ascii=False)


def _curl_header(key: str) -> str:
    # Double quotes, so that the shell puts the variable in.
    return shlex.quote(f"Authorization: Bearer {key}") if key else '"Authorization: Bearer $SCOREPOD_KEY"'


def _python_import(key: str) -> str:
    return "" if key else "\nimport os"


def _python_header(key: str) -> str:
    return _text(f"Bearer {key}") if key else '"Bearer " + os.environ["SCOREPOD_KEY"]'


def _javascript_header(key: str) -> str:
    return _text(f"Bearer {key}") if key else "`Bearer ${process.env.SCOREPOD_KEY}`"


def _media_type(filename: str) -> str:
    kinds = {"png": "image/png", "webp": "image/webp", "gif": "image/gif", "bmp": "image/bmp"}
    return kinds.get(filename.rpartition(".")[2].lower(), "image/jpeg")
