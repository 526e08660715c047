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
from scoring_service.runtimes.base import Row
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
    searched = index.fields.impacts
    arrays = [index.text_grams.indices, searched.matrix.data, searched.matrix.indices, searched.heads, searched.ends]
    for each in arrays:
        mapped = each
        while isinstance(mapped.base, np.ndarray):
            mapped = mapped.base
        assert isinstance(mapped, np.memmap)


@pytest.fixture
def copy(version, tmp_path):
    target = tmp_path / "library" / "1"
    shutil.copytree(version, target)
    return target


@pytest.mark.parametrize(
    "name", ["entries.json", "vocabulary.json", "reranker.json", "word_idf.npy", "fields_data.npy"]
)
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\x93NUMPY\x01\x00"])
def test_missing_or_broken_files_are_an_unusable_version_not_a_crash(copy, name, content):
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(VersionUnusable, match="cannot be read"):
        load(copy, store.read_manifest(copy))


def as_older_versions_are(folder):
    """Rewrites the files so that each searchable field has files of its own, and no term a dense row."""
    _, index, _ = read(folder)
    words, fields = len(index.vocabulary.words), index.fields
    starts = np.cumsum([0, *fields.sizes])
    names = (("text", "entry", "answer"), ("entry_grams", "answer_grams", "all_grams"))
    vocabulary = msgspec.json.decode((folder / "vocabulary.json").read_bytes())
    vocabulary["unknown_idf"] = {}
    for kind, (terms, first) in enumerate(((slice(0, words), 0), (slice(words, None), 1))):
        for place, name in enumerate(names[kind], start=first):
            matrix = fields.impacts.matrix[terms, starts[place] : starts[place + 1]].tocsr()
            for part in ("data", "indices", "indptr"):
                np.save(folder / f"field_{name}_{part}.npy", getattr(matrix, part))
            held = np.diff(matrix.indptr) > 0
            np.save(folder / f"field_{name}_idf.npy", np.where(held, fields.weights[place, terms], np.float32(0)))
            vocabulary["unknown_idf"][name] = float(fields.unknown[place, kind])
    (folder / "vocabulary.json").write_bytes(msgspec.json.encode(vocabulary))
    for path in {*folder.glob("fields_*.npy"), *folder.glob("*_heads.npy"), *folder.glob("*_ends.npy")}:
        path.unlink()


def test_older_versions_answer_as_they_did(copy, runtime):
    as_older_versions_are(copy)
    older = load(copy, store.read_manifest(copy))
    rows = [Row((each,)) for each in ("may I extend my loan", "pasword of the network", "qwertz", "print print")]
    for given, expected in zip(older.score(rows), runtime.score(rows), strict=True):
        assert given["faq_id"] == expected["faq_id"]
        assert given["probability"] == pytest.approx(expected["probability"], abs=1e-6)


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
