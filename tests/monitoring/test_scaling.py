"""What KEDA asks Prometheus for the pods with GPUs, computed by Prometheus's own tool."""

import subprocess

import pytest
import yaml

from tests.k8s import manifests

SERIES = 'scoring_queue_seconds_{}{{namespace="scorepod",job="scorepod-scoring-gpu",priority="{}",pod="{}"}}'


@pytest.fixture(scope="module")
def query() -> str:
    scaled = manifests.find(manifests.render("overlays/aks"), "ScaledObject", "scoring-gpu")
    [trigger] = scaled["spec"]["triggers"]
    return trigger["metadata"]["query"]


@pytest.mark.parametrize(
    ("waited", "rows", "priority", "seconds"),
    [
        ("0+10x20", "0+20x20", "normal", 0.5),
        ("7x20", "9x20", "normal", 0),  # nobody asks: 0, and not 0 / 0
        ("0+10x20", "0+20x20", "low", None),  # batches may wait
    ],
)
def test_the_wait_is_that_of_what_people_ask(query, tmp_path, *, waited, rows, priority, seconds):
    test = {
        "interval": "30s",
        "input_series": [
            {"series": SERIES.format(part, priority, pod), "values": values}
            for pod in ("a", "b")
            for part, values in (("sum", waited), ("count", rows))
        ],
        "promql_expr_test": [
            {"expr": query, "eval_time": "5m", "exp_samples": [] if seconds is None else [{"value": seconds}]}
        ],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "30s", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
