"""Runs the tests of frontend/js/lib: `node --test` finds the names and says what failed."""

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("*.test.mjs")), ids=lambda file: file.name.removesuffix(".test.mjs")
)
def test_what_needs_no_page_does_what_it_says(file):
    outcome = subprocess.run(["node", "--test", file], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
