"""Schemathesis asks the running API whatever its OpenAPI document allows, and what it does not allow."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from tests.product import Product
from tests.system.site_client import make_key

EXAMPLES = 60  # for each operation


def test_any_request_gets_an_answer_as_documented_and_never_a_5xx(product: Product, tmp_path: Path):
    key = make_key(product, "conformance", "faq:read", "images:read")
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
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    statuses = statuses_by_operation(report)
    assert len(statuses) == 6
    for operation, counted in statuses.items():
        assert counted.total() >= 50, f"{operation}: {counted}"
        assert counted[200], f"{operation} never answered: {counted}"
        assert not [status for status in counted if status >= 500], f"{operation}: {counted}"


def statuses_by_operation(report: Path) -> dict[str, Counter[int]]:
    """How often each operation answered with each status."""
    counted: dict[str, Counter[int]] = defaultdict(Counter)
    for line in report.read_text(encoding="utf-8").splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario:
            recorder = scenario["recorder"]
            for interaction in recorder.get("interactions", {}).values():
                counted[recorder["label"]][interaction["response"]["status_code"]] += 1
    return counted
