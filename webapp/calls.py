"""A request to the API, written out for curl, Python and JavaScript.

The code needs nothing installed but curl, Python 3 or Node 18, so that it works when pasted. Without a key it reads
it from the environment variable SCOREPOD_KEY.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Call:
    """One tab of code. `slug` names it in ids."""

    slug: str
    language: str
    code: str


@dataclass(frozen=True)
class Shown:
    """What the code prints of the answer. python: statements that read `answer`; javascript: an expression of it."""

    python: Sequence[str]
    javascript: str


WHOLE = Shown(["print(json.load(answer))"], "await answer.json()")
TEXT = Shown(["print(answer.read().decode())"], "await answer.text()")
STATUS = Shown(["print(answer.status)"], "answer.status")  # of an answer without a body


def json_calls(url: str, body: Any = None, *, method: str = "", key: str = "", shown: Shown = WHOLE) -> list[Call]:
    """POST with the body as JSON; GET without one, unless `method` says otherwise."""
    other = "" if method == ("GET" if body is None else "POST") else method
    named = [f"-X {other}"] if other else []
    if body is None:
        return [
            _curl(url, key, *named),
            _python(url, key, shown, method=other),
            _javascript(url, key, shown, method=other),
        ]
    sent = [*named, "-H 'Content-Type: application/json'", f"-d {shlex.quote(_text(body))}"]
    in_python, in_javascript = f"json.dumps({_python_value(body)}).encode()", f"JSON.stringify({_object(body)})"
    return [
        _curl(url, key, *sent),
        _python(url, key, shown, method=other, media_type="application/json", data=in_python),
        _javascript(url, key, shown, method=other, media_type="application/json", body=in_javascript),
    ]


def file_calls(
    url: str,
    filename: str,
    *,
    field: str = "files",
    options: Mapping[str, str] | None = None,
    key: str = "",
    shown: Shown = WHOLE,
) -> list[Call]:
    """POST with one file in the field, and options: in a form by curl; by the others as the body, options beside it."""
    quoted = filename.replace("\\", r"\\").replace('"', r"\"")  # curl reads what stands between the quotes once more
    # Options are sent as they are: what begins with @ or < is no file.
    named = [("--form-string", f"{name}={value}") for name, value in (options or {}).items()]
    form = [("-F", f'{field}=@"{quoted}"'), *named]
    address = f"{url}?{urlencode(options)}" if options else url
    name, media_type = _text(filename), _media_type(filename)
    return [
        _curl(url, key, *(f"{option} {shlex.quote(part)}" for option, part in form)),
        _python(
            address,
            key,
            shown,
            media_type=media_type,
            data=f"Path({name}).read_bytes()",
            needs=["from pathlib import Path"],
        ),
        _javascript(
            address,
            key,
            shown,
            media_type=media_type,
            body=f"await readFile({name})",
            needs=['import { readFile } from "node:fs/promises";', ""],
        ),
    ]


def _curl(url: str, key: str, *options: str) -> Call:
    # Double quotes where the shell is to put the variable in.
    header = shlex.quote(f"Authorization: Bearer {key}") if key else '"Authorization: Bearer $SCOREPOD_KEY"'
    return Call("curl", "curl", " \\\n  ".join([f"curl {shlex.quote(url)}", f"-H {header}", *options]))


def _python(
    url: str,
    key: str,
    shown: Shown,
    *,
    method: str = "",
    media_type: str = "",
    data: str = "",
    needs: Sequence[str] = (),
) -> Call:
    """method: "" for the one that goes without saying; data: the expression that makes the body, "" for none; needs:
    further imports.
    """
    bearer = _text(f"Bearer {key}") if key else '"Bearer " + os.environ["SCOREPOD_KEY"]'
    lines = [
        "import json",
        *([] if key else ["import os"]),
        *needs,
        "from urllib.request import Request, urlopen",
        "",
        "request = Request(",
        f"    {_text(url)},",
        *([f"    data={data},"] if data else []),
        *([f'    method="{method}",'] if method else []),
        "    headers={",
        f'        "Authorization": {bearer},',
        *([f'        "Content-Type": "{media_type}",'] if media_type else []),
        "    },",
        ")",
        "with urlopen(request) as answer:",
        *(f"    {line}" for line in shown.python),
    ]
    return Call("python", "Python", "\n".join(lines))


def _javascript(
    url: str,
    key: str,
    shown: Shown,
    *,
    method: str = "",
    media_type: str = "",
    body: str = "",
    needs: Sequence[str] = (),
) -> Call:
    """method: as in `_python`; body: the expression that makes it, "" for none; needs: what stands above the call."""
    bearer = _text(f"Bearer {key}") if key else "`Bearer ${process.env.SCOREPOD_KEY}`"
    lines = [
        *needs,
        f"const answer = await fetch({_text(url)}, {{",
        *([f'  method: "{method or "POST"}",'] if body or method else []),
        "  headers: {",
        f"    Authorization: {bearer},",
        *([f'    "Content-Type": "{media_type}",'] if media_type else []),
        "  },",
        *([f"  body: {body},"] if body else []),
        "});",
        f"console.log({shown.javascript});",
    ]
    return Call("javascript", "JavaScript", "\n".join(lines))


def _text(value: Any) -> str:
    """As JSON on one line. Of a text that is also how Python and JavaScript write it."""
    return json.dumps(value, ensure_ascii=False)


def _python_value(value: Any) -> str:
    """A value of JSON as Python writes it, texts between double quotes."""
    match value:
        case str():
            return _text(value)
        case dict():
            return "{" + ", ".join(f"{_text(name)}: {_python_value(each)}" for name, each in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_python_value, value))}]"
    return repr(value)


def _object(value: Any) -> str:
    """A value of JSON as JavaScript writes it: names without quotes, where they are names."""
    match value:
        case dict() if value:
            named = ((name if name.isidentifier() else _text(name), _object(each)) for name, each in value.items())
            return "{ " + ", ".join(f"{name}: {each}" for name, each in named) + " }"
        case list():
            return f"[{', '.join(map(_object, value))}]"
    return _text(value)


MEDIA_TYPES = {
    "bmp": "image/bmp",
    "csv": "text/csv",
    "gif": "image/gif",
    "jsonl": "application/jsonl",
    "png": "image/png",
    "tsv": "text/tab-separated-values",
    "txt": "text/plain",
    "webp": "image/webp",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip",
}


def _media_type(filename: str) -> str:
    return MEDIA_TYPES.get(filename.rpartition(".")[2].lower(), "image/jpeg")
