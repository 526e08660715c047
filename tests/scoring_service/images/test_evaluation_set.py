"""What `train-digits` leaves to measure later versions by."""

import csv
import io
import zipfile
from collections import Counter

import pytest
from PIL import Image

from scoring_service.images.labels import read_labels
from scoring_service.runtimes.base import Row
from scoring_service.store import read_manifest


@pytest.fixture(scope="module")
def evaluation_set(digits_store) -> dict[str, tuple[bytes, str]]:
    """File name to picture and label id."""
    with zipfile.ZipFile(digits_store / "digits" / "evaluation.zip") as archive:
        assert archive.testzip() is None
        table = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        assert {*archive.namelist()} == {"labels.csv", *(row["file"] for row in table)}
        return {row["file"]: (archive.read(row["file"]), row["label_id"]) for row in table}


def test_it_holds_hundreds_of_pictures_with_labels_of_the_version(digits_store, evaluation_set):
    labels = {label.label_id for label in read_labels(digits_store / "digits" / "1")}
    counted = Counter(label for _, label in evaluation_set.values())
    assert len(evaluation_set) == read_manifest(digits_store / "digits" / "1").metrics["held_out"] == 360
    assert counted.keys() == labels
    assert min(counted.values()) > 30
    for picture, _ in evaluation_set.values():
        with Image.open(io.BytesIO(picture)) as image:
            assert (image.format, image.size) == ("PNG", (64, 64))


def test_the_version_that_was_trained_with_it_reads_it_well(classifier, evaluation_set):
    results = classifier.score([Row((picture,), {"top_k": 1}) for picture, _ in evaluation_set.values()])
    right = [result["label_id"] == [label] for result, (_, label) in zip(results, evaluation_set.values(), strict=True)]
    assert sum(right) / len(right) >= 0.97


def test_the_manifest_says_what_it_was_trained_on_and_how_much_memory_it_takes(digits_store):
    manifest = read_manifest(digits_store / "digits" / "1")
    assert manifest.data.description == "scikit-learn's handwritten digits without 360 that were held out"
    assert manifest.data.rows == manifest.metrics["trained_on"] == 1437
    assert len(manifest.data.sha256) == 64
    assert manifest.memory > 3 * manifest.files["weights.safetensors"].size
