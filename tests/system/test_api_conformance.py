"""Schemathesis asks the running API whatever its OpenAPI document allows, and what it does not allow."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import httpx2 as httpx

from tests.product import ROOT, Product
from tests.system.site_client import make_key
from webapp import apidocs

EXAMPLES = 60  # for each operation


def test_any_request_gets_an_answer_as_documented_and_never_a_5xx(product: Product, tmp_path: Path):
    scopes = ("faq:read", "images:read", "webhooks", "models:pin", "admin:read")
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
        assert counted.total() >= 50, f"{operation}: {counted}"
        assert any(200 <= status < 300 for status in counted), f"{operation} never answered: {counted}"
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
    """Ids for the hooks: of a webhook with a delivery, and of one that may be deleted."""
    with httpx.Client(base_url=f"{product.url}/api/v1", headers={"Authorization": f"Bearer {key}"}) as api:
        kept, spare = (
            api.post("/webhooks", json={"url": "http://127.0.0.1:9/"}).raise_for_status().json()["id"] for _ in range(2)
        )
        delivery = api.post(f"/webhooks/{kept}/test").raise_for_status().json()["id"]
    return {"webhook_id": kept, "delivery_id": delivery, "DELETE webhook_id": spare}


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
