"""A store with the sample image model in it, trained once by the command a user runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring_service.runtimes.torchvision import ImageClassifier, load
from scoring_service.store import read_manifest


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("store")
    subprocess.run([sys.executable, "-m", "scoring_service", "train-digits", "--store", str(store)], check=True)
    return store


@pytest.fixture(scope="session")
def classifier(digits_store) -> Iterator[ImageClassifier]:
    directory = digits_store / "digits" / "1"
    classifier = load(directory, read_manifest(directory))
    yield classifier
    classifier.close()
