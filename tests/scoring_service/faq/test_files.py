"""A version's files: data only, and refused when they are not what they should be."""

import shutil

import msgspec
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from scoring_service import store
from scoring_service.errors import VersionUnusable
from scoring_service.faq.files import read
from scoring_service.faq.reranker import Trees
from scoring_service.runtimes.faq import load


def test_a_version_is_arrays_and_json_that_numpy_reads_without_pickle(version):
    names = set(store.read_manifest(version).files)
    assert {name.rsplit(".", 1)[1] for name in names} == {"npy", "json", "jsonl"}
    for name in names:
        content = (version / name).read_bytes()
        if name.endswith(".npy"):
            assert np.load(version / name, allow_pickle=False).dtype.kind in "fi"
        elif name.endswith(".json"):
            assert msgspec.json.decode(content)
        else:
            assert [msgspec.json.decode(line) for line in content.splitlines()]


def test_arrays_are_mapped_not_copied(version):
    _, index, _ = read(version)
    mapped = index.text_grams.indices
    while isinstance(mapped.base, np.ndarray):
        mapped = mapped.base
    assert isinstance(mapped, np.memmap)


@pytest.fixture
def copy(version, tmp_path):
    target = tmp_path / "library" / "1"
    shutil.copytree(version, target)
    return target


@pytest.mark.parametrize(
    "name", ["entries.json", "vocabulary.json", "reranker.json", "word_idf.npy", "field_text_data.npy"]
)
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x93NUMPY\x01\x00"])
def test_missing_or_broken_files_are_an_unusable_version_not_a_crash(copy, name, content):
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(VersionUnusable, match="cannot be read"):
        load(copy, store.read_manifest(copy))


@pytest.mark.parametrize("threshold", [None, "0.4", -0.1, 1.5, float("nan")])
def test_a_senseless_threshold_is_an_unusable_version(copy, threshold):
    manifest = store.read_manifest(copy)
    changed = msgspec.structs.replace(manifest, parameters={"threshold": threshold})
    with pytest.raises(VersionUnusable, match="threshold"):
        load(copy, changed)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_our_trees_give_what_scikit_learns_give(depth):
    random = np.random.default_rng(depth)
    features = random.normal(size=(600, 5)).astype(np.float32)
    features[:, 3] = features[:, 3].round()
    hits = features[:, 0] * features[:, 1] + features[:, 3] > 0.3
    booster = HistGradientBoostingClassifier(
        max_iter=30, max_depth=depth, max_leaf_nodes=None, early_stopping=False, random_state=0
    ).fit(features, hits)
    asked = np.concatenate([features, random.normal(size=(300, 5)).astype(np.float32)])
    assert Trees.from_booster(booster, depth).log_odds(asked) == pytest.approx(
        booster.decision_function(asked), abs=1e-9
    )
