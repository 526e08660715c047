"""A store with the sample image model in it, trained once, by the command that `make run` gives as well."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scoring_service.runtimes.torchvision import ImageClassifier, load
from scoring_service.store import read_manifest
from tests.sharing import SAMPLE_MODELS, made_once


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory) -> Path:
    with made_once(tmp_path_factory, SAMPLE_MODELS) as store:
        if not (store / "digits").exists():
            command = [sys.executable, "-m", "scoring_service", "train-digits", "--store", str(store)]
            subprocess.run(command, check=True)
    return store


@pytest.fixture(scope="session")
def classifier(digits_store) -> Iterator[ImageClassifier]:
    directory = digits_store / "digits" / "1"
    classifier = load(directory, read_manifest(directory))
    yield classifier
    classifier.close()
