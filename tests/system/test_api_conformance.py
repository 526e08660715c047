"""Schemathesis asks the running API whatever its OpenAPI document allows, and what it does not allow."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import httpx2 as httpx

from tests.product import ROOT, Product
from tests.system.site_client import make_collection, make_key
from tests.worker import wait_until
from webapp import apidocs

EXAMPLES = 25  # for each operation, beside those that the document itself leads to; other ones each time


def test_any_request_gets_an_answer_as_documented_and_never_a_5xx(product: Product, tmp_path: Path):
    scopes = ("faq:read", "images:read", "batch", "webhooks", "models:pin", "keys:read", "admin:read", "faq:write")
    key = make_key(product, "conformance", *scopes, person="admin")
    answer_what_the_examples_speak_of(product, key)
    report = tmp_path / "report.ndjson"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{product.url}/api/v1/schema"),
        *("--header", f"Authorization: Bearer {key}"),
        *("--max-examples", str(EXAMPLES)),
        # No document can say which bytes are a picture and which characters make a word: such input is refused.
        *("--exclude-checks", "positive_data_acceptance"),
        *("--report-ndjson-path", str(report)),
        *("--generation-database", "none"),
        "--no-color",
    ]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.system.conformance_hooks",
        "KNOWN": json.dumps(things_that_are_there(product, key)),
    }
    outcome = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    statuses = statuses_by_operation(report)
    for operation in (f"{each.method} {each.path}" for group in apidocs.groups() for each in group.operations):
        counted = statuses[operation]
        assert counted.total() >= 30, f"{operation}: {counted}"
        assert any(200 <= status < 300 for status in counted), f"{operation} never answered: {counted}"
    assert statuses["Stateful tests"][202], "no sequence made a batch"
    for tested, counted in statuses.items():  # also sequences of several operations
        assert not [status for status in counted if status >= 500], f"{tested}: {counted}"


def answer_what_the_examples_speak_of(product: Product, key: str) -> None:
    """Asks a question under the request id that the example of feedback names."""
    (feedback,) = [each for group in apidocs.groups() for each in group.operations if each.id == "feedback"]
    assert feedback.body is not None
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": json.loads(feedback.body.example)["request_id"]}
    answer = httpx.post(f"{product.url}/api/v1/faq/match", json={"question": "copy an object"}, headers=headers)
    assert answer.status_code == 200, answer.text


def things_that_are_there(product: Product, key: str) -> dict[str, str]:
    """Ids for the hooks: of a webhook with a delivery and a batch with a failed row, and of some that may go."""
    with httpx.Client(base_url=f"{product.url}/api/v1", headers={"Authorization": f"Bearer {key}"}) as api:
        kept, spare = (
            api.post("/webhooks", json={"url": "http://127.0.0.1:9/"}).raise_for_status().json()["id"] for _ in range(2)
        )
        delivery = api.post(f"/webhooks/{kept}/test").raise_for_status().json()["id"]
        done, to_delete = (a_batch(api, "how do I copy an array", "\\") for _ in range(2))
        cancelled = a_batch(api, *("what is a closure" for _ in range(20_000)))
        api.post(f"/batches/{cancelled}/cancel").raise_for_status()
        for each in (done, to_delete):
            wait_until(lambda path=f"/batches/{each}": api.get(path).json()["status"] == "completed")
        entries = "/faq/collections/javascript/entries"
        entry = {"question": "Is there anything?", "answer": "Yes.", "state": "draft"}
        make_collection(product, "handbook")
        api.post("/faq/collections/handbook/entries", json={**entry, "state": "live"}).raise_for_status()
        there, going = (api.post(entries, json=entry).raise_for_status().json()["id"] for _ in range(2))
    return {
        "slug": "javascript",
        "publish slug": "handbook",  # quickly done, and nobody else's
        "entry_id": there,
        "DELETE entry_id": going,
        "webhook_id": kept,
        "delivery_id": delivery,
        "batch_id": done,
        "cancel batch_id": cancelled,
        "DELETE webhook_id": spare,
        "DELETE batch_id": to_delete,
    }


def a_batch(api: httpx.Client, *questions: str) -> str:
    """The id of a new batch of these questions."""
    lines = "\n".join(json.dumps({"question": question}) for question in questions)
    answer = api.post("/batches", content=lines, headers={"Content-Type": "application/jsonl"})
    return answer.raise_for_status().json()["id"]


def statuses_by_operation(report: Path) -> dict[str, Counter[int]]:
    """How often each status came, for each operation and for sequences of them."""
    counted: dict[str, Counter[int]] = defaultdict(Counter)
    for line in report.read_text(encoding="utf-8").splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario:
            recorder = scenario["recorder"]
            for interaction in recorder.get("interactions", {}).values():
                counted[recorder["label"]][interaction["response"]["status_code"]] += 1
    return counted
