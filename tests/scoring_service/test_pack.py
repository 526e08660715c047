"""`python -m scoring_service pack`: a version in a store of its own."""

import pytest

from scoring_service import store
from tests.scoring_service import obedient
from tests.scoring_service.asking import run


def pack(source, target, *more):
    return run("pack", "obedient", "--store", str(source), "--to", str(target), *more)


@pytest.fixture
def versions(tmp_path):
    """A store with version 1, which serves, and version 2."""
    source = tmp_path / "models"
    source.mkdir()
    obedient.write(source)
    obedient.write(source, champion=False)
    return source


def test_the_version_that_serves_is_packed_and_serves_in_the_folder(versions, tmp_path):
    packed = tmp_path / "packed"
    outcome = pack(versions, packed)
    assert outcome.returncode == 0, outcome.stderr
    assert store.champion_of(packed, "obedient") == "1"
    store.verify(packed / "obedient" / "1", store.read_manifest(packed / "obedient" / "1"))
    assert sorted(path.name for path in (packed / "obedient").iterdir()) == ["1", "routing.json"]


def test_another_version_can_be_named(versions, tmp_path):
    assert pack(versions, tmp_path / "packed", "--version", "2").returncode == 0
    assert store.champion_of(tmp_path / "packed", "obedient") == "2"


def test_every_user_can_read_what_was_packed(versions, tmp_path):
    for path in versions.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert pack(versions, tmp_path / "packed").returncode == 0
    modes = {path.is_dir(): oct(path.stat().st_mode & 0o777) for path in (tmp_path / "packed").rglob("*")}
    assert modes == {True: "0o755", False: "0o644"}


def test_a_folder_that_holds_the_model_already_is_left_alone(versions, tmp_path):
    pack(versions, tmp_path / "packed")
    outcome = pack(versions, tmp_path / "packed", "--version", "2")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"pack: {tmp_path / 'packed' / 'obedient'} is there already")
    assert store.champion_of(tmp_path / "packed", "obedient") == "1"


@pytest.mark.parametrize(("harm", "reason"), [("change", "its SHA-256 differs"), ("remove", "is missing")])
def test_a_version_that_is_not_as_its_manifest_says_is_not_packed(versions, tmp_path, harm, reason):
    folder = versions / "obedient" / "1"
    file = folder / next(iter(store.read_manifest(folder).files))
    if harm == "remove":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[0] ^= 1
        file.write_bytes(content)
    outcome = pack(versions, tmp_path / "packed")
    assert outcome.returncode == 1
    assert reason in outcome.stderr
    assert not (tmp_path / "packed" / "obedient").exists()
