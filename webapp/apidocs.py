"""The API explained: its OpenAPI document, and the same as plain values for the documentation page."""

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from webapp.calls import STATUS, TEXT, WHOLE, Call, Shown, file_calls, json_calls
from webapp.etags import EtagView

Json = Mapping[str, Any]
CHOICES = re.compile(r"^\* `.*\n?", re.MULTILINE)  # drf-spectacular's list of them: the type says the same


class SchemaView(EtagView):
    """The document as JSON, or as YAML where the Accept header asks for that. Anybody may read it."""

    renderer_classes = [OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer]
    authentication_classes = []
    permission_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        renderer: BaseRenderer = request.accepted_renderer
        name = f'inline; filename="scorepod-api.{renderer.format}"'
        return HttpResponse(written(str(renderer.format)), renderer.media_type, headers={"Content-Disposition": name})


@dataclass(frozen=True)
class Field:
    """A parameter, or a field of a body or an answer. name: "matches[].id" for what lies deeper."""

    name: str
    type: str  # in words: "whole number, 1 to 50"
    required: bool
    description: str
    default: str  # as JSON; "" for none


@dataclass(frozen=True)
class Body:
    """What may be sent: one of `media_types`; `fields` when it is JSON or a form; `example` as text, "" for none."""

    media_types: Sequence[str]
    fields: Sequence[Field]
    example: str


@dataclass(frozen=True)
class Input:
    """One value that the console sends. place: "path", "query" or "form"; kind: "text", "number", "choice", "file" or
    "files"; value: what it begins with; hint: its type in words.
    """

    name: str
    place: str
    kind: str
    choices: Sequence[str]
    value: str
    required: bool
    hint: str


@dataclass(frozen=True)
class Answer:
    """One answer that can come: its status, in words, its fields (of a success), an example as text."""

    status: int
    description: str
    media_type: str
    fields: Sequence[Field]
    example: str
    slugs: Sequence[str]  # of the problems it can be, each explained at /problems/<slug>

    @property
    def good(self) -> bool:
        return self.status < 400


@dataclass(frozen=True, eq=False)
class Operation:
    """One thing the API does. id: unique on the page; scope: what a key needs, "" for none; calls: the code of it."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: Sequence[Field]
    body: Body | None
    answers: Sequence[Answer]
    calls: Sequence[Call]
    inputs: Sequence[Input]  # all that may be sent, but a body of JSON: that is `body.example`
    sends_json: bool


@dataclass(frozen=True)
class Group:
    """Operations that belong together."""

    title: str
    operations: Sequence[Operation]


_making = threading.RLock()  # it takes a second or so: who comes meanwhile waits, instead of making it as well


def document() -> Json:
    """The OpenAPI document; made once, since it changes only with the program."""
    with _making:
        return _document()


@cache
def _document() -> Json:
    made: Json = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # theirs
    return made


def written(form: str) -> bytes:
    """The document as "json" or "yaml"; written once, too."""
    with _making:
        return _written(form)


@cache
def _written(form: str) -> bytes:
    renderer: Any = OpenApiYamlRenderer() if form == "yaml" else OpenApiJsonRenderer()
    text: bytes = renderer.render(document())
    return text


@cache
def groups() -> Sequence[Group]:
    """All operations, by their tag, in the order of the document."""
    by_tag: dict[str, list[Operation]] = {}
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    return [Group(tag, operations) for tag, operations in by_tag.items()]


def _operation(method: str, path: str, operation: Json) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    parameters = [
        _field(each["name"], each["schema"], required=each.get("required", False), description=each.get("description"))
        for each in operation.get("parameters", [])
        if each["in"] in {"query", "path"}
    ]
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", ""),
        scope=operation.get("x-required-scope", ""),
        parameters=parameters,
        body=_body(content) if content else None,
        answers=[_answer(int(status), answer) for status, answer in operation["responses"].items()],
        calls=_calls(method.upper(), settings.PUBLIC_URL + _filled(path, operation), content, _shown(operation)),
        inputs=list(_inputs(operation, content)),
        sends_json="application/json" in content,
    )


def _filled(path: str, operation: Json) -> str:
    """The path with the examples of its parameters in their places."""
    in_path = [each for each in operation.get("parameters", []) if each["in"] == "path"]
    return path.format(**{each["name"]: next(iter(each["examples"].values()))["value"] for each in in_path})


def _inputs(operation: Json, content: Json) -> Iterator[Input]:
    """What stands in the path first. What a form may hold is asked for there, and not once more in the address."""
    form = {} if "application/json" in content else _resolved(content.get("multipart/form-data", {}).get("schema", {}))
    fields = form.get("properties", {})
    parameters = [each for each in operation.get("parameters", []) if each["in"] in {"path", "query"}]
    for each in sorted(parameters, key=lambda each: each["in"] != "path"):
        if each["name"] not in fields:
            examples = each.get("examples", {}).values() if each["in"] == "path" else ()
            value = str(next((example["value"] for example in examples), ""))
            yield _input(each["name"], each["in"], each["schema"], value, required=each.get("required", False))
    for name, schema in fields.items():
        yield _input(name, "form", schema, required=name in form.get("required", ()))


def _input(name: str, place: str, schema: Json, value: str = "", *, required: bool) -> Input:
    plain, _ = _not_null(schema)
    items = _resolved(plain.get("items", {}))
    choices = [str(choice) for choice in plain.get("enum", ())]
    match plain.get("type"):
        case "array" if items.get("format") == "binary":
            kind = "files"
        case "string" if plain.get("format") == "binary":
            kind = "file"
        case "boolean":
            kind, choices = "choice", ["true", "false"]
        case "integer" | "number":
            kind = "number"
        case _:
            kind = "choice" if choices else "text"
    required = required and not kind.startswith("file")  # one file may stand for another: the API knows best
    return Input(name, place, kind, choices, value, required, _in_words(schema))


def _body(content: Json) -> Body:
    described: Json = next((each for each in content.values() if _resolved(each["schema"]).get("properties")), {})
    return Body(list(content), list(_fields(described.get("schema", {}))), text_of(_example(described)))


def _answer(status: int, answer: Json) -> Answer:
    answer = _resolved(answer)
    described: Mapping[str, Json] = answer.get("content", {})
    media_type = next(iter(described), "")
    content = described.get(media_type, {})
    good = status < 400
    return Answer(
        status,
        answer.get("description", ""),
        media_type,
        list(_fields(content.get("schema", {}))) if good else [],
        text_of(_example(content)),
        [] if good else list(content.get("examples", {})),
    )


# Schemas in words -----------------------------------------------------------------------------------------------------


def _resolved(schema: Json) -> Json:
    """The schema itself where it stands as a reference, alone or beside other words."""
    if "$ref" not in schema:
        parts = schema.get("allOf", [])
        return {**_resolved(parts[0]), **schema} if len(parts) == 1 else schema
    found: Any = document()
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return {**_resolved(found), **{name: value for name, value in schema.items() if name != "$ref"}}


def _not_null(schema: Json) -> tuple[Json, bool]:
    """The schema without its null, and whether it had one."""
    schema = _resolved(schema)
    for word in ("oneOf", "anyOf"):
        choices = [_resolved(each) for each in schema.get(word, [])]
        others = [each for each in choices if each.get("type") != "null"]
        if len(others) == 1 and len(others) < len(choices):
            return {**others[0], **{name: value for name, value in schema.items() if name != word}}, True
    kinds = schema.get("type")
    if isinstance(kinds, list) and "null" in kinds:
        left = [kind for kind in kinds if kind != "null"]
        return {**schema, "type": left[0] if len(left) == 1 else left}, True
    return schema, False


def _fields(schema: Json, path: str = "") -> Iterator[Field]:
    """The fields of an object, each followed by those below it."""
    schema, _ = _not_null(schema)
    if schema.get("type") == "array":
        yield from _fields(schema.get("items", {}), f"{path}[]")
        return
    for name, below in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield _field(inner, below, required=name in schema.get("required", ()))
        yield from _fields(below, inner)


def _field(name: str, schema: Json, *, required: bool, description: str | None = None) -> Field:
    plain, _ = _not_null(schema)
    default = json.dumps(plain["default"]) if "default" in plain else ""
    told = CHOICES.sub("", description or plain.get("description", ""))
    return Field(name, _in_words(schema), required, told, default)


def _in_words(schema: Json) -> str:
    schema, nullable = _not_null(schema)
    if "enum" in schema:
        kind = "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    elif schema.get("type") == "array":
        kind = f"list of {_in_words(schema.get('items', {}))}"
    elif schema.get("format") in {"binary", "date-time", "uri", "email"}:
        kind = {"binary": "file", "date-time": "moment", "uri": "address", "email": "e-mail address"}[schema["format"]]
    else:
        words = {"string": "text", "integer": "whole number", "boolean": "true or false", "number": "number"}
        kind = words.get(str(schema.get("type")), str(schema.get("type", "any")))
    kind += _bounds(schema)
    return f"{kind}, or null" if nullable else kind


def _bounds(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    if longest is not None:
        return f", {shortest or 0:,} to {longest:,} characters"
    return f", from {low:g}" if low is not None else ""


def _example(content: Json) -> Any:
    """The first written example, else one made from the schema; None where there is nothing to show."""
    for example in content.get("examples", {}).values():
        return example["value"]
    schema = content.get("schema")
    return None if schema is None else _made_up(schema)


def _made_up(schema: Json) -> Any:
    schema, _ = _not_null(schema)
    for word in ("example", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _made_up(below) for name, below in schema.get("properties", {}).items()}
        case "array":
            return [_made_up(schema.get("items", {}))]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "string":
            return "2027-03-01T00:00:00Z" if schema.get("format") == "date-time" else "…"
    return None


def text_of(value: Any) -> str:
    """As JSON with line breaks; "" for None."""
    return "" if value is None else json.dumps(value, ensure_ascii=False, indent=2)


def _shown(operation: Json) -> Shown:
    """What the code prints: JSON as values, other answers as they are, the status of one without a body."""
    answer = next(answer for status, answer in operation["responses"].items() if int(status) < 400)
    media_types = answer.get("content", {})
    return WHOLE if "application/json" in media_types else TEXT if media_types else STATUS


def _calls(method: str, url: str, content: Json, shown: Shown) -> list[Call]:
    if "application/json" in content:
        return json_calls(url, _example(content["application/json"]), method=method, shown=shown)
    if not content:
        return json_calls(url, method=method, shown=shown)
    if "text/csv" in content:
        return file_calls(url, "questions.csv", field="file", shown=shown)
    return file_calls(url, "picture.jpg", shown=shown)
