"""bench/gpu.py where there is no GPU: it says so, and what it measures is right."""

import json
import subprocess
import sys

from tests.product import ROOT


def test_it_says_where_it_ran_and_every_jpeg_gets_its_own_label(tmp_path):
    out = tmp_path / "figures.json"
    options = ["--architecture", "resnet18", "--dtype", "float32", "--batches", "1,3", "--decoders", "2"]
    command = [sys.executable, "-m", "bench.gpu", *options, "--seconds", "0.2", "--out", str(out)]
    told = subprocess.run(
        command, cwd=ROOT, env={"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True
    )
    assert "CPU, for there is no GPU here" in told.stdout
    figures = json.loads(out.read_text())
    assert figures["flops"] > 3e9
    assert [row["batch"] for row in figures["alone"]] == [1, 3]
    assert all(row["eager"] > 0 and row["graph"] > 0 for row in figures["alone"])
    assert figures["from_jpegs"]["with_model"] > 0
    assert figures["from_jpegs"]["right"] == 1
