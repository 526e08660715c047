import json
import re
import shlex

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer

from webapp import apidocs, problems

pytestmark = pytest.mark.django_db


def test_the_document_is_made_without_a_warning(capsys, tmp_path):
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yaml"))
    assert capsys.readouterr().err == ""


def test_the_document_is_openapi_3_1_as_json_and_as_yaml(client):
    answer = client.get("/api/v1/schema")
    document = json.loads(answer.content)
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey", "session"}
    yaml = client.get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi"})
    assert yaml.content.startswith(b"openapi: 3.1")


@pytest.mark.parametrize("form", ["application/json", "application/vnd.oai.openapi"])
def test_the_document_is_made_once(client, monkeypatch, form):
    """To make it takes a second or so, and anybody may ask for it."""
    first = client.get("/api/v1/schema", headers={"Accept": form})
    for maker, step in (
        (SchemaGenerator, "get_schema"),
        (OpenApiJsonRenderer, "render"),
        (OpenApiYamlRenderer, "render"),
    ):
        monkeypatch.setattr(maker, step, None)
    again = client.get("/api/v1/schema", headers={"Accept": form})
    assert again.content == first.content
    assert again["Content-Type"] == form
    assert again["ETag"] == first["ETag"]


def test_each_form_of_the_document_has_an_etag_of_its_own(client):
    json_form, yaml_form = (
        client.get("/api/v1/schema", headers={"Accept": form})
        for form in ("application/json", "application/vnd.oai.openapi")
    )
    assert json_form["ETag"] != yaml_form["ETag"]
    assert "Accept" in json_form["Vary"]
    known = client.get("/api/v1/schema", headers={"Accept": "application/json", "If-None-Match": yaml_form["ETag"]})
    assert known.status_code == 200


def test_what_its_address_says_changes_nothing(client):
    plain = client.get("/api/v1/schema")
    for query in ("version=2%0Ax", "lang=de", "format=yaml"):
        answer = client.get(f"/api/v1/schema?{query}")
        assert (answer.status_code, answer.content) == (200, plain.content), query


def operations():
    for path, item in apidocs.document()["paths"].items():
        for method, operation in item.items():
            yield pytest.param(operation, id=f"{method} {path}")


@pytest.mark.parametrize("operation", list(operations()))
def test_each_operation_says_all_that_a_client_needs(operation):
    assert operation["summary"]
    assert operation["description"]
    assert operation["operationId"]
    assert {"bearer": []} in operation["security"]
    assert {"401", "406", "429", "503"} <= set(operation["responses"])
    if "requestBody" in operation:
        assert {"400", "403", "413", "415", "422"} <= set(operation["responses"])


def test_each_documented_problem_has_the_shape_of_the_real_ones():
    for name, response in apidocs.document()["components"]["responses"].items():
        content = response["content"][problems.CONTENT_TYPE]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, name
        for slug, example in content["examples"].items():
            assert example["value"]["type"] == f"/problems/{slug}"
            assert example["value"]["status"] == problems.BY_SLUG[slug].status


def test_the_page_shows_each_operation_with_its_calls(client):
    page = client.get("/api/docs/reference").content.decode()
    for group in apidocs.groups():
        for operation in group.operations:
            assert operation.path in page
            assert operation.summary in page
            assert len(operation.calls) == 3


def test_the_python_examples_are_python():
    for group in apidocs.groups():
        for operation in group.operations:
            code = next(call.code for call in operation.calls if call.slug == "python")
            compile(code, operation.id, "exec")


def test_the_curl_examples_send_the_body_that_is_shown():
    sent = 0
    for group in apidocs.groups():
        for operation in group.operations:
            words = shlex.split(operation.calls[0].code.replace("\\\n", " "))
            assert re.search(re.sub(r"{\w+}", r"[\\w-]+", operation.path) + "$", words[1])
            if "-d" in words:
                assert json.loads(words[words.index("-d") + 1]) == json.loads(operation.body.example)
                sent += 1
    assert sent


def test_fields_are_told_in_words():
    (match,) = [each for group in apidocs.groups() for each in group.operations if each.path.endswith("/faq/match")]
    fields = {field.name: field for field in match.body.fields}
    assert fields["question"].required
    assert fields["question"].type == "text, 1 to 10,000 characters"
    assert fields["top_k"].type == "whole number, 1 to 50"
    assert fields["top_k"].default == "5"
    assert match.scope == "faq:read"
    good = next(answer for answer in match.answers if answer.good)
    assert "matches[].probability" in {field.name for field in good.fields}
    assert json.loads(good.example)["answered"] is True


def test_each_operation_can_be_tried_with_all_it_takes(owner_client):
    page = owner_client.get("/api/docs/reference").content.decode()
    consoles = {operation.id: operation for group in apidocs.groups() for operation in group.operations}
    assert page.count('data-module="console"') == len(consoles)
    for operation in consoles.values():
        for name in re.findall(r"{(\w+)}", operation.path):
            (field,) = [each for each in operation.inputs if each.name == name]
            assert (field.place, field.required, bool(field.value)) == ("path", True, True)
    files = {each.name: each.kind for each in consoles["batch_create"].inputs if each.kind.startswith("file")}
    assert files == {"file": "file", "files": "files"}
    assert len({each.name for each in consoles["batch_create"].inputs}) == len(consoles["batch_create"].inputs)


def test_a_stranger_gets_no_token_and_no_cookie_with_the_reference(client, owner_client, client_of_nobody):
    assert 'data-csrf="' in owner_client.get("/api/docs/reference").content.decode()
    answer = client_of_nobody.get("/api/docs/reference")
    assert "data-csrf" not in answer.content.decode()
    assert not answer.cookies
