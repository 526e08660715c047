"""Images built once for all tests, with the models they ask."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.images.engine import ROOT, Engine, an_engine

MODEL = "faq-javascript"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with an_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def built(engine: Engine) -> Engine:
    """The engine, once it has the images that compose.yaml needs, but for the one with PyTorch."""
    engine.build("web", "trainer", "scoring-cpu")
    return engine


@pytest.fixture(scope="session")
def images(built: Engine, packed: Path) -> Engine:
    """The engine, once it has all images but the one with PyTorch."""
    built.build("with-model", packed)
    return built


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample FAQ's model as `pack` writes it."""
    folder = tmp_path_factory.mktemp("models")
    entries = sorted((ROOT / "webapp" / "faq" / "sample").glob("*.jsonl"))
    service("train-faq", "--store", folder / "store", "--model", MODEL, "--entries", *entries)
    service("pack", MODEL, "--store", folder / "store", "--to", folder / "packed")
    return folder / "packed"


def service(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "scoring_service", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, env={**os.environ}, check=True, capture_output=True)
