"""The model store: a version is there whole or not at all, and never changes."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from scoring_service import store
from scoring_service.contract import File
from scoring_service.errors import VersionUnusable

FIELDS = {"kind": "faq", "runtime": "obedient", "pool": "cpu", "title": "A model"}


def build(folder):
    (folder / "part").mkdir()
    (folder / "part" / "data.bin").write_bytes(b"data")
    return FIELDS


def test_a_version_is_written_with_the_digest_of_each_file(tmp_path):
    manifest = store.write_version(tmp_path, "model", build)
    folder = tmp_path / "model" / "1"
    assert manifest.version == "1"
    assert manifest.files == {"part/data.bin": File(hashlib.sha256(b"data").hexdigest(), 4)}
    assert datetime.fromisoformat(manifest.created_at).utcoffset() == timedelta(0)
    assert store.read_manifest(folder) == manifest
    store.verify(folder, manifest)


def test_versions_are_numbered_on(tmp_path):
    assert [store.write_version(tmp_path, "model", build).version for _ in range(3)] == ["1", "2", "3"]
    assert store.write_version(tmp_path, "model", build, version="10").version == "10"
    assert store.write_version(tmp_path, "model", build).version == "11"


def test_trainers_that_finish_at_once_all_get_a_number(tmp_path):
    trainers = 8
    together = threading.Barrier(trainers)

    def build_together(folder):
        together.wait()
        return build(folder)

    with ThreadPoolExecutor(trainers) as threads:
        written = list(threads.map(lambda _: store.write_version(tmp_path, "model", build_together), range(trainers)))
    assert {manifest.version for manifest in written} == {str(number + 1) for number in range(trainers)}
    for manifest in written:
        folder = tmp_path / "model" / manifest.version
        assert store.read_manifest(folder) == manifest
        store.verify(folder, manifest)
    assert len(list((tmp_path / "model").iterdir())) == trainers


def test_a_version_is_never_overwritten(tmp_path):
    store.write_version(tmp_path, "model", build, version="1")
    with pytest.raises(FileExistsError, match="never overwritten"):
        store.write_version(tmp_path, "model", build, version="1")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["1"]


@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(lambda folder: 1 / 0, id="a trainer that fails"),
        pytest.param(lambda folder: {**FIELDS, "pool": "tpu"}, id="a manifest that makes no sense"),
        pytest.param(lambda folder: {}, id="a manifest without what it needs"),
    ],
)
def test_a_version_that_cannot_be_written_leaves_nothing_behind(tmp_path, fails):
    with pytest.raises((ZeroDivisionError, ValueError)):
        store.write_version(tmp_path, "model", fails)
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a b", "x" * 129, "\n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is not a name"):
        store.write_version(tmp_path, name, build)
    with pytest.raises(ValueError, match="is not a name"):
        store.write_version(tmp_path, "model", build, version=name)


@pytest.mark.parametrize("name", [".hidden", "../up", "a/b", "a b", "x" * 129, "\n"])
@pytest.mark.parametrize("role", ["champion", "challenger", "standby", "warm"])
def test_a_routing_file_with_a_name_that_leads_elsewhere_is_refused(tmp_path, role, name):
    roles = {"champion": name, "challenger": {"version": name, "percent": 5}, "standby": name, "warm": ["1", name]}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "routing.json").write_text(json.dumps({"champion": "1", role: roles[role]}))
    with pytest.raises(VersionUnusable, match="not the name of a version"):
        store.read_routing(tmp_path, "model")


def test_only_a_version_that_is_there_can_be_champion(tmp_path):
    store.write_version(tmp_path, "model", build)
    with pytest.raises(FileNotFoundError):
        store.set_champion(tmp_path, "model", "2")
    store.set_champion(tmp_path, "model", "1")
    assert store.read_routing(tmp_path, "model").champion == "1"


def test_a_champion_that_cannot_be_named_leaves_nothing_behind(tmp_path):
    store.write_version(tmp_path, "model", build)
    (tmp_path / "model" / "routing.json").mkdir()
    with pytest.raises(IsADirectoryError):
        store.set_champion(tmp_path, "model", "1")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["1", "routing.json"]


def test_a_reader_never_sees_half_a_routing_file(tmp_path):
    for _ in range(2):
        store.write_version(tmp_path, "model", build)
    store.set_champion(tmp_path, "model", "1")
    done = threading.Event()

    def switch() -> None:
        for number in range(100):
            store.set_champion(tmp_path, "model", "12"[number % 2])
        done.set()

    writer = threading.Thread(target=switch)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(store.read_routing(tmp_path, "model").champion)
    writer.join()
    assert seen <= {"1", "2"}
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["1", "2", "routing.json"]


def test_models_without_routing_are_not_listed(tmp_path):
    for model in ("b", "a", "unrouted"):
        store.write_version(tmp_path, model, build)
    for model in ("a", "b"):
        store.set_champion(tmp_path, model, "1")
    assert store.list_models(tmp_path) == ["a", "b"]
    with pytest.raises(FileNotFoundError):
        store.list_models(tmp_path / "nowhere")
