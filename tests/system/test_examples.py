"""Every example of the API's reference and of its guide runs as it is shown: with curl, with Python and with Node."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from django.conf import settings
from PIL import Image

from tests.product import Product
from tests.system.site_client import make_collection, make_key
from webapp import apidocs, guide
from webapp.apidocs import Operation
from webapp.calls import Call
from webapp.keys.models import Scope

OF_ADMINS = [Scope.ADMIN.value, Scope.FAQ_WRITE.value]
SCOPES = [scope.value for scope in Scope if scope.value not in OF_ADMINS]
THERE = {"name": "faq-javascript", "slug": "javascript"}  # in the samples
EXAMPLE, NOBODY_LISTENS = "https://example.com/hooks", "http://127.0.0.1:9/hooks"
OPERATIONS = [operation for group in apidocs.groups() for operation in group.operations]
SHOWN = [
    call
    for page in guide.PAGES
    for section in guide.sections(page)
    for part in section.parts
    for call in part.calls
    if "SCOREPOD_KEY" in call.code and not call.code.startswith("export ")
]
# curl and fetch take an answer of 4xx or 5xx for a success; here it is a failure.
STRICT_CURL = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
STRICT_FETCH = """
const plain = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const answer = await plain(...request);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer;
};
"""


@pytest.fixture(scope="module")
def keys(product: Product) -> dict[str, str]:
    """A key that may do all that people may, and one of an admin."""
    return {
        "demo": make_key(product, "examples", *SCOPES),
        "admin": make_key(product, "examples", *OF_ADMINS, person="admin"),
    }


@pytest.fixture(scope="module")
def api(product: Product, keys: dict[str, str]) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {keys['demo']}"}
    with httpx.Client(base_url=f"{product.url}/api/v1", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "questions.csv").write_text("question\nhow do I copy an array\nwhat is a closure\n")
    (folder / "questions.jsonl").write_text('{"custom_id": "a-1", "question": "how do I copy an array"}\n')
    for name in ("picture", "dog", "cat"):
        Image.open("frontend/img/samples/digits/7.png").convert("RGB").save(folder / f"{name}.jpg")
    (folder / "strict.mjs").write_text(STRICT_FETCH)
    return folder


@pytest.fixture(scope="module")
def made(api: httpx.Client, keys: dict[str, str]) -> dict[str, str]:
    """What the examples speak of: a batch with a failed row, a webhook with a delivery, an entry; ids by name."""
    webhook = new_webhook(api)
    delivery = api.post(f"/webhooks/{webhook}/test").raise_for_status().json()["id"]
    (feedback,) = [operation for operation in OPERATIONS if operation.id == "feedback"]
    request_id = json.loads(feedback.body.example)["request_id"]
    asked = api.post("/faq/match", json={"question": "copy an object"}, headers={"X-Request-ID": request_id})
    asked.raise_for_status()
    entry = new_entry(api, keys["admin"])
    return {
        "webhook_id": webhook,
        "delivery_id": delivery,
        "batch_id": ended_batch(api),
        "entry_id": entry,
        **THERE,
    }


def ended_batch(api: httpx.Client) -> str:
    """A new batch of one good and one bad row, once it has ended."""
    lines = '{"question": "how do I copy an array"}\n{"question": ""}\n'
    headers = {"Content-Type": "application/jsonl"}
    batch = api.post("/batches", content=lines, headers=headers).raise_for_status().json()["id"]
    wait_for(api, batch, "completed")
    return batch


def cancelled_batch(api: httpx.Client) -> str:
    """One that was cancelled before all of it was scored: to cancel it again does no harm."""
    lines = '{"question": "how do I copy an array"}\n' * 20_000
    headers = {"Content-Type": "application/jsonl"}
    batch = api.post("/batches", content=lines, headers=headers).raise_for_status().json()["id"]
    api.post(f"/batches/{batch}/cancel").raise_for_status()
    return batch


def wait_for(api: httpx.Client, batch: str, status: str) -> None:
    until = time.monotonic() + 120
    while (now := api.get(f"/batches/{batch}").raise_for_status().json())["status"] != status:
        assert time.monotonic() < until, now
        time.sleep(0.2)


def runs(call: Call, code: str, folder: Path, env: dict[str, str]) -> str:
    """What the code prints, run as people run it. Fails with what it complains about."""
    match call.slug:
        case "curl":
            command = ["bash", "-e", "-c", STRICT_CURL + code]
        case "python":
            command = [sys.executable, "-c", code]
        case _:
            (folder / "example.mjs").write_text(code)
            command = ["node", "--import", "./strict.mjs", "example.mjs"]
    outcome = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False
    )
    assert outcome.returncode == 0, f"{code}\n\n{outcome.stdout}{outcome.stderr}"
    return outcome.stdout


def new_webhook(api: httpx.Client) -> str:
    return api.post("/webhooks", json={"url": NOBODY_LISTENS}).raise_for_status().json()["id"]


def new_collection(product: Product, api: httpx.Client, key: str) -> str:
    """One that nobody publishes at the moment, with an entry."""
    slug = f"faq-{uuid.uuid4().hex[:8]}"
    make_collection(product, slug)
    new_entry(api, key, slug)
    return slug


def new_entry(api: httpx.Client, key: str, slug: str = "javascript") -> str:
    entry = {"question": "Is this an example?", "answer": "Yes.", "state": "live"}
    headers = {"Authorization": f"Bearer {key}"}
    return api.post(f"/faq/collections/{slug}/entries", json=entry, headers=headers).raise_for_status().json()["id"]


# What an example uses up is made for it: that of change_webhook disables one.
USED_UP = {
    "batch_delete": ended_batch,
    "batch_cancel": cancelled_batch,
    "change_webhook": new_webhook,
    "delete_webhook": new_webhook,
}


@pytest.fixture
def code_of(
    product: Product, api: httpx.Client, keys: dict[str, str], made: dict[str, str]
) -> Callable[[Operation, Call], str]:
    """The code as a reader adapts it: the site's address, and ids of what is there."""

    def code(operation: Operation, call: Call) -> str:
        adapted = call.code.replace(settings.PUBLIC_URL, product.url).replace(EXAMPLE, NOBODY_LISTENS)
        for each in operation.inputs:
            if each.place == "path":
                known = USED_UP[operation.id](api) if operation.id in USED_UP else made[each.name]
                if each.name == "entry_id" and operation.method != "GET":
                    known = new_entry(api, keys["admin"])
                if operation.id == "publish_faq":
                    known = new_collection(product, api, keys["admin"])
                adapted = adapted.replace(each.value, known)
        return adapted

    return code


@pytest.mark.parametrize("language", ["curl", "python", "javascript"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_the_code_of_the_reference_runs(code_of, keys, folder, operation: Operation, language: str):
    (call,) = [call for call in operation.calls if call.slug == language]
    key = keys["admin" if operation.scope in OF_ADMINS else "demo"]
    printed = runs(call, code_of(operation, call), folder, {"SCOREPOD_KEY": key})
    assert printed or operation.method == "DELETE"


@pytest.mark.parametrize("call", SHOWN, ids=lambda call: call.slug)
def test_the_code_of_the_guide_runs(product, keys, folder, call: Call):
    code = call.code.replace(settings.PUBLIC_URL, product.url)
    assert runs(call, code, folder, {"SCOREPOD_KEY": keys["demo"]})


def test_the_guide_shows_code_to_run():
    assert {call.slug for call in SHOWN} == {"curl", "python", "javascript"}
    assert len(SHOWN) >= 5
