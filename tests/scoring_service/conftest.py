"""A pod with the obedient model for all tests of a file, and a gate to keep its model busy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pods import Pod, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import Gate

OBEDIENT = ("-m", "tests.scoring_service.obedient_pod")
TOKEN = "the token of these pods"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one version of the obedient model."""
    obedient.write(tmp_path / "store", parameters={"fits": 2})
    return tmp_path / "store"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that all tests of a file share. It holds at most four rows in its queue and two in a batch."""
    root = tmp_path_factory.mktemp("store")
    obedient.write(root, parameters={"fits": 1})
    limits = {"SCORING_MAX_ROWS": "2", "SCORING_QUEUE_ROWS": "4", "SCORING_MAX_BODY_MB": "1"}
    with start_pod(root, "cpu", command=OBEDIENT, **limits) as pod:
        yield pod


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()
