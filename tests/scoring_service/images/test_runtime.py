"""The image classifier as a pod uses it: a version from the store, rows in, labels out."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from msgspec.structs import replace
from PIL import Image, ImageOps

from scoring_service.contract import TrainingData
from scoring_service.errors import BadRow, VersionUnusable
from scoring_service.images import digits
from scoring_service.images.architectures import build
from scoring_service.images.imagenet import timm_source
from scoring_service.images.registration import register
from scoring_service.runtimes.base import Row
from scoring_service.runtimes.torchvision import load
from scoring_service.store import read_manifest, verify


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def held_out() -> digits.Digits:
    return digits.load()[1]


@pytest.fixture(scope="module")
def pictures(held_out) -> list[Image.Image]:
    """All held-out digits, dark on light, 64 × 64 pixels."""
    return [digits.picture(ink, 64) for ink in held_out.ink]


def share_read(classifier, files, held_out) -> float:
    results = classifier.score([Row((file,), {"top_k": 1}) for file in files])
    shown = [digits.LABELS[digit] for digit in held_out.shown[: len(files)].tolist()]
    return sum(result["label"] == [label] for result, label in zip(results, shown, strict=True)) / len(shown)


def test_the_manifest_states_an_accuracy_of_97_percent_or_more_on_so_many_held_out_digits(digits_store):
    manifest = read_manifest(digits_store / "digits" / "1")
    verify(digits_store / "digits" / "1", manifest)
    assert manifest.metrics["accuracy@1"] >= 0.97
    assert manifest.metrics["accuracy@1_light_on_dark"] >= 0.97
    assert manifest.metrics["held_out"] == 360
    assert (manifest.kind, manifest.pool, manifest.sample) == ("image", "gpu", True)


@pytest.mark.parametrize(
    "as_sent",
    [
        pytest.param(encoded, id="dark on light"),
        pytest.param(lambda picture: encoded(ImageOps.invert(picture)), id="light on dark"),
        pytest.param(lambda picture: encoded(picture.resize((700, 700), Image.Resampling.BICUBIC), "JPEG"), id="large"),
        pytest.param(lambda picture: encoded(ImageOps.expand(picture, 12, 255), "WEBP"), id="much paper"),
        pytest.param(lambda picture: encoded(ImageOps.expand(picture, (24, 0), 255)), id="wide"),
        pytest.param(lambda picture: encoded(picture.point(lambda grey: 60 + grey // 2)), id="pale"),
        pytest.param(lambda picture: encoded(picture.rotate(8, fillcolor=255)), id="slanted"),
    ],
)
def test_digits_are_read_as_people_send_them(classifier, pictures, held_out, as_sent):
    assert share_read(classifier, [as_sent(picture) for picture in pictures[:200]], held_out) >= 0.95


def test_a_row_gets_its_most_probable_labels_best_first(classifier, pictures):
    (result,) = classifier.score([Row((encoded(pictures[0]),))])
    assert len(result["label"]) == len(result["label_id"]) == len(result["probability"]) == 5
    assert result["probability"] == sorted(result["probability"], reverse=True)
    assert 0 < sum(result["probability"]) <= 1.0001
    assert all(
        digits.LABELS[int(label_id.removeprefix("digit-"))] == label
        for label_id, label in zip(result["label_id"], result["label"], strict=True)
    )


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (10, 10), (99, 10), (0, 10)])
def test_each_row_gets_as_many_labels_as_it_asks_for(classifier, pictures, top_k, count):
    other, result = classifier.score(
        [Row((encoded(pictures[0]),), {"top_k": 2}), Row((encoded(pictures[1]),), {"top_k": top_k})]
    )
    assert (len(other["label"]), len(result["label"])) == (2, count)
    if count == 10:
        assert sum(result["probability"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("top_k", [-1, "5", 2.5, True, None])
def test_a_top_k_that_is_no_count_is_refused(classifier, pictures, top_k):
    (refusal,) = classifier.score([Row((encoded(pictures[0]),), {"top_k": top_k})])
    assert isinstance(refusal, BadRow)
    assert "top_k must be a whole number" in str(refusal)


def test_a_batch_gives_what_each_picture_gives_alone(classifier, pictures):
    rows = [Row((encoded(picture),)) for picture in pictures[:16]]
    together = classifier.score(rows)
    alone = [classifier.score([row])[0] for row in rows]
    assert [result["label"][0] for result in together] == [result["label"][0] for result in alone]
    for one, other in zip(together, alone, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=0.02)  # bfloat16 has 8 bits


def test_a_bad_picture_in_a_batch_fails_alone(classifier, pictures):
    good = encoded(pictures[0])
    results = classifier.score([Row((file,)) for file in (b"", good, b"<svg/>", good[:200], good)])
    assert [isinstance(result, BadRow) for result in results] == [True, False, True, True, False]
    assert results[1]["label"] == results[4]["label"] == classifier.score([Row((good,))])[0]["label"]
    only_bad = classifier.score([Row((b"",)), Row((b"x",))])
    assert [type(result) for result in only_bad] == [BadRow, BadRow]


def test_every_answer_can_say_in_which_precision_and_where_it_was_made(classifier):
    assert classifier.parameters["precision"] in {"float32", "bfloat16"}
    assert classifier.parameters["device"] == ("cuda" if torch.cuda.is_available() else "cpu")


def test_several_classifiers_decode_at_once_without_a_warning(classifier, pictures):
    """Pillow's warnings are silenced for the process, which one thread must not undo for another."""
    turned = Image.Exif()
    turned[0x0112] = 99
    file = io.BytesIO()
    pictures[0].convert("P").save(file, "PNG", transparency=bytes(range(64)), exif=turned)
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: classifier.score([Row((file.getvalue(),))] * 8), range(8)))
    assert all("label" in result for batch in batches for result in batch)


@pytest.fixture
def version(digits_store, tmp_path):
    """A copy of the digits version to break."""
    return shutil.copytree(digits_store / "digits" / "1", tmp_path / "digits" / "1")


def test_a_version_whose_weights_are_a_pickle_is_refused_with_the_reason(version):
    manifest = read_manifest(version)
    torch.save(build("torchvision", "resnet10", classes=10), version / "weights.pth")
    with pytest.raises(VersionUnusable, match=r"weights.pth is refused: it holds more than tensors"):
        load(version, replace(manifest, parameters={**manifest.parameters, "weights": "weights.pth"}))


def test_a_version_may_bring_a_state_dict(version, pictures):
    manifest = read_manifest(version)
    torch.save(build("torchvision", "resnet10", classes=10).state_dict(), version / "weights.pth")
    (version / "weights.safetensors").unlink()
    other = load(version, replace(manifest, parameters={**manifest.parameters, "weights": "weights.pth"}))
    assert len(other.score([Row((encoded(pictures[0]),))])[0]["label"]) == 5
    other.close()


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"architecture": "resnet18"}, "do not fit the architecture"),
        ({"architecture": "resnet10000"}, "cannot build 'resnet10000'"),
        ({"library": "keras"}, r"library"),
        ({"weights": "elsewhere.safetensors"}, "elsewhere.safetensors"),
        ({"weights": "../../secret.safetensors"}, "leads out of the version's folder"),
        ({"preprocessing": {"resize": [32]}}, "preprocessing"),
    ],
)
def test_a_version_that_cannot_be_loaded_says_why(version, parameters, reason):
    manifest = read_manifest(version)
    with pytest.raises(VersionUnusable, match=reason):
        load(version, replace(manifest, parameters={**manifest.parameters, **parameters}))


def test_a_version_with_other_labels_than_outputs_is_refused(version):
    labels = json.loads((version / "labels.json").read_text())
    (version / "labels.json").write_text(json.dumps(labels[:-1]))
    with pytest.raises(VersionUnusable, match=r"size mismatch for fc\.weight"):
        load(version, read_manifest(version))


def test_a_timm_architecture_serves_from_safetensors(tmp_path, pictures):
    torch.manual_seed(0)
    source = timm_source("resnet10t.c3_in1k")
    manifest = register(
        tmp_path,
        "timm-model",
        library="timm",
        architecture=source.architecture,
        weights=build("timm", source.architecture, classes=1000).state_dict(),
        labels=source.labels,
        preprocessing=source.preprocessing,
        smoke=[("digit.png", encoded(pictures[0]))],
        title=source.title,
        description="",
        sample=False,
        metrics={},
        data=TrainingData("nothing: the weights are random"),
    )
    assert "timm" in manifest.libraries
    classifier = load(tmp_path / "timm-model" / "1", manifest)
    (result,) = classifier.score([Row((encoded(pictures[0]),))])
    assert all(label_id.startswith("n") for label_id in result["label_id"])
    classifier.close()
