"""bench/peers: both ways of our pod to answer its questions are right, and peers that are not there are named."""

import json
import subprocess
import sys

from tests.product import ROOT


def test_our_pods_give_the_models_own_answers_and_missing_peers_are_named(tmp_path):
    out = tmp_path / "figures.json"
    options = ["--only", "faq", "--servers", "scorepod,litserve", "--home", str(tmp_path), "--quick"]
    command = [sys.executable, "-m", "bench.peers", *options, "--json", str(out)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "- not installed: LitServe" in told.stdout
    own, matcher, litserve = json.loads(out.read_text())["figures"]
    for row in (own, matcher):
        assert (row["wrong"], row["checked"]) == (0, 200)
        assert row["connections"]["32"]["per_second"] > 0
        assert row["connections"]["32"]["failed"] == 0
    assert litserve["left_out"] == "not installed"
