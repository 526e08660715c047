"""The site's hands on the model store: what is written whole or not at all, and what each fault says."""

import errno
import fcntl
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from webapp.errors import StoreError
from webapp.scoring import store
from webapp.scoring.store import Challenger, Routing, StoreUnavailable

FIELDS = {"kind": "faq", "runtime": "faq", "pool": "cpu", "title": "A FAQ", "parameters": {"threshold": 0.5}}


@pytest.fixture(autouse=True)
def root(settings, tmp_path) -> Path:
    settings.MODEL_STORE = tmp_path / "models"
    settings.MODEL_STORE.mkdir()
    return settings.MODEL_STORE


def staged(model: str = "faq", **files: bytes) -> Path:
    folder = store.staging(model)
    for name, content in (files or {"weights.bin": b"0123456789"}).items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


def place(model: str = "faq", **options) -> dict:
    return store.place(model, staged(model), FIELDS, **options)


class TestVersions:
    def test_a_staged_folder_becomes_the_next_version_with_its_files_written_down(self, root):
        first = store.place("faq", staged(**{"weights.bin": b"abc", "more__labels.json": b"[]"}), FIELDS)
        assert (first["model"], first["version"], first["title"]) == ("faq", "1", "A FAQ")
        assert first["files"] == {
            "more/labels.json": {
                "sha256": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
                "size": 2,
            },
            "weights.bin": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "size": 3},
        }
        assert first["created_at"].endswith("+00:00")
        assert place()["version"] == "2"
        assert store.list_models() == ["faq"]
        assert store.list_versions("faq") == ["1", "2"]
        assert store.read_manifest("faq", "1") == first
        assert store.read_version_file("faq", "1", "more/labels.json") == b"[]"
        assert not list(root.glob("faq/.staged-*"))

    def test_pods_that_run_as_another_user_can_read_it(self, root):
        place()
        assert oct((root / "faq" / "1").stat().st_mode)[-3:] == "755"
        assert {oct(path.stat().st_mode)[-3:] for path in (root / "faq" / "1").iterdir()} == {"644"}

    def test_a_number_the_caller_knows_of_is_not_used_again(self):
        assert place(after=6)["version"] == "7"
        assert place(after=3)["version"] == "8"

    def test_a_number_whose_files_were_deleted_is_not_used_again(self):
        place()
        place()
        store.delete_artifact("faq", "2")
        assert store.list_versions("faq") == ["1"]
        assert place()["version"] == "3"

    def test_many_at_once_get_a_number_each(self):
        folders = [staged() for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            placed = list(threads.map(lambda folder: store.place("faq", folder, FIELDS)["version"], folders))
        assert sorted(placed) == [str(number) for number in range(1, 9)]

    def test_numbers_come_in_their_order(self, root):
        for name in ("10", "9", "beta", "1"):
            (root / "faq" / name).mkdir(parents=True)
            (root / "faq" / name / "manifest.json").write_text("{}")
        (root / "faq" / "not-a-version").mkdir()
        assert store.list_versions("faq") == ["1", "9", "10", "beta"]

    def test_fields_that_make_no_sense_are_named_and_the_folder_stays(self):
        folder = staged()
        with pytest.raises(StoreError, match="title"):
            store.place("faq", folder, {**FIELDS, "title": 5})
        with pytest.raises(StoreError, match="runtime"):
            store.place("faq", folder, {"kind": "faq", "pool": "cpu", "title": "A FAQ"})
        assert folder.is_dir()
        assert store.list_versions("faq") == []
        store.discard(folder)
        assert not folder.exists()

    def test_the_manifest_of_a_staged_folder_counts_but_for_what_place_says(self):
        manifest = {**FIELDS, "model": "elsewhere", "version": "9", "files": {"gone": {"sha256": "x", "size": 1}}}
        folder = staged(**{"manifest.json": json.dumps(manifest).encode(), "a": b"a"})
        fields = store.manifest_in(folder)
        assert (fields["title"], fields["files"]) == ("A FAQ", {})
        placed = store.place("faq", folder, fields)
        assert (placed["model"], placed["version"], list(placed["files"])) == ("faq", "1", ["a"])

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind": "faq"}', b"\xff", b"[" * 100_000])
    def test_a_staged_manifest_that_makes_no_sense_says_so(self, content):
        with pytest.raises(StoreError, match=r"manifest\.json"):
            store.manifest_in(staged(**{"manifest.json": content}))

    @pytest.mark.parametrize(
        "odd", [{"title": "a\0b"}, {"metrics": {"a\0b": 1}}, {"parameters": {"terms": ["a", {"b": "\0"}]}}]
    )
    def test_a_manifest_with_a_character_that_no_database_keeps_is_refused(self, odd):
        folder = staged(**{"manifest.json": json.dumps({**FIELDS, **odd}).encode()})
        with pytest.raises(StoreError, match="NUL"):
            store.manifest_in(folder)

    def test_without_a_staged_manifest_it_says_so(self):
        with pytest.raises(StoreError, match=r"no manifest\.json"):
            store.manifest_in(staged())

    def test_a_deleted_artifact_is_gone_and_deleting_it_again_is_no_error(self, root):
        place()
        store.delete_artifact("faq", "1")
        store.delete_artifact("faq", "1")
        store.delete_artifact("faq", "5")
        assert not list(root.rglob("*.bin"))
        assert not list(root.glob("faq/.deleted-*"))

    def test_what_a_process_left_that_died_is_tidied_away_after_a_day(self, root):
        old, new = staged(), staged()
        os.utime(old, (time.time() - 25 * 3600,) * 2)
        place()
        store.tidy()
        assert not old.exists()
        assert new.exists()
        assert store.list_versions("faq") == ["1"]

    def test_files_that_were_half_written_go_too(self, root):
        place()
        left = [root / "faq" / name for name in (".routing-x1", ".evaluation-x2", ".evaluation-x3")]
        for path in left:
            path.write_bytes(b"{")
        for path in left[:2]:
            os.utime(path, (time.time() - 2 * 24 * 3600,) * 2)
        store.tidy()
        assert [path.exists() for path in left] == [False, False, True]

    @pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "x" * 129, "a\n"])
    def test_no_name_leads_elsewhere(self, name):
        for call in (
            store.list_versions,
            store.staging,
            store.read_routing,
            lambda name: store.model_file("faq", name),
        ):
            with pytest.raises(StoreError, match="name"):
                call(name)
        with pytest.raises(StoreError, match="name"):
            store.read_manifest("faq", name)

    def test_no_file_of_a_version_lies_elsewhere(self):
        place()
        for name in ("../../secret", "/etc/passwd", "a/../../b", ""):
            with pytest.raises(StoreError, match="leads out"):
                store.read_version_file("faq", "1", name)


class TestVerifying:
    def test_intact_files_are_verified_with_progress(self):
        store.place("faq", staged(a=b"x" * 3_000_000, b=b"y" * 1_000_000), FIELDS)
        seen: list[float] = []
        store.verify_files("faq", "1", seen.append)
        assert seen == sorted(seen)
        assert 0 < seen[0] < 0.5
        assert seen[-1] == 1.0
        store.verify_files("faq", "1")

    def test_a_file_with_another_content_is_named(self, root):
        place()
        (root / "faq/1/weights.bin").write_bytes(b"0123456780")
        with pytest.raises(StoreError, match=r"weights\.bin is not the file that was registered"):
            store.verify_files("faq", "1")

    def test_a_file_of_another_size_is_named(self, root):
        place()
        (root / "faq/1/weights.bin").write_bytes(b"0123")
        with pytest.raises(StoreError, match=r"weights\.bin has 4 bytes; its manifest says 10"):
            store.verify_files("faq", "1")

    def test_a_missing_file_is_named(self, root):
        place()
        (root / "faq/1/weights.bin").unlink()
        with pytest.raises(StoreError, match=r"weights\.bin is missing") as error:
            store.verify_files("faq", "1")
        assert not isinstance(error.value, StoreUnavailable), "waiting would not help"

    def test_a_manifest_of_another_version_is_refused(self, root):
        place()
        (root / "faq/1").rename(root / "faq/2")
        with pytest.raises(StoreError, match="that of faq version 1"):
            store.read_manifest("faq", "2")


class TestRouting:
    @pytest.fixture(autouse=True)
    def folder(self, root):
        (root / "faq").mkdir()

    def test_what_was_written_is_read(self, root):
        routing = Routing("2", Challenger("3", 10), "1", ("4", "5"))
        store.write_routing("faq", routing)
        assert store.read_routing("faq") == routing
        written = json.loads((root / "faq/routing.json").read_text())
        assert written["champion"] == "2"
        assert written["challenger"] == {"version": "3", "percent": 10}
        store.write_routing("faq", Routing())
        assert store.read_routing("faq") == Routing()
        assert not list(root.glob("faq/.routing-*"))

    def test_no_file_is_no_routing(self):
        assert store.read_routing("faq") is None

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"champion": 5}', b"\xff\xfe", b"[" * 100_000])
    def test_a_damaged_file_says_so_and_can_be_replaced(self, root, content):
        store.write_routing("faq", Routing("1"))
        (root / "faq/routing.json").write_bytes(content)
        with pytest.raises(StoreError, match=r"faq/routing\.json") as error:
            store.read_routing("faq")
        assert not isinstance(error.value, StoreUnavailable)
        store.write_routing("faq", Routing("2"))
        assert store.read_routing("faq") == Routing("2")

    def test_readers_never_see_half_a_file(self):
        store.write_routing("faq", Routing("0"))
        done = threading.Event()

        def write() -> None:
            for number in range(200):
                store.write_routing("faq", Routing(str(number), warm=tuple(str(each) for each in range(number))))
            done.set()

        with ThreadPoolExecutor(1) as thread:
            writer = thread.submit(write)
            while not done.is_set() and not writer.done():
                routing = store.read_routing("faq")
                assert len(routing.warm) == int(routing.champion)
            writer.result()


class TestLocking:
    @pytest.fixture(autouse=True)
    def folders(self, root):
        (root / "faq").mkdir()
        (root / "digits").mkdir()

    def test_one_at_a_time_a_model(self):
        inside: list[str] = []

        def change(number: int) -> None:
            with store.locked("faq"):
                inside.append("in")
                time.sleep(0.01)
                inside.append("out")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(change, range(8)))
        assert inside == ["in", "out"] * 8

    def test_models_do_not_wait_for_each_other(self):
        with store.locked("faq"), store.locked("digits"):
            pass

    def test_a_lock_that_is_never_given_back_is_an_error(self, monkeypatch):
        monkeypatch.setattr(store, "LOCKED_WITHIN", 0.1)
        with store.locked("faq"), pytest.raises(StoreUnavailable, match="Another process"), store.locked("faq"):
            pass

    def test_a_file_system_that_says_in_its_own_way_that_it_is_held_is_waited_for(self, monkeypatch):
        took, refusals = fcntl.flock, [PermissionError(errno.EACCES, "Permission denied")] * 2

        def flock(descriptor: int, operation: int) -> None:
            if refusals:
                raise refusals.pop()
            took(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        with store.locked("faq"):
            assert not refusals

    def test_a_file_system_without_locks_is_a_store_that_cannot_be_used(self, monkeypatch):
        def flock(_descriptor: int, _operation: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(StoreUnavailable, match="No locks available"), store.locked("faq"):
            pass


class TestAway:
    """A store whose root is not there: a mount that comes back."""

    @pytest.fixture(autouse=True)
    def away(self, root):
        place()
        store.write_routing("faq", Routing("1"))
        folder = staged()
        root.rename(root.with_name("elsewhere"))
        return folder

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(store.list_models, id="listing models"),
            pytest.param(lambda: store.list_versions("faq"), id="listing versions"),
            pytest.param(lambda: store.read_manifest("faq", "1"), id="reading a manifest"),
            pytest.param(lambda: store.read_routing("faq"), id="reading the routing"),
            pytest.param(lambda: store.write_routing("faq", Routing("1")), id="writing the routing"),
            pytest.param(lambda: store.locked("faq").__enter__(), id="locking"),
            pytest.param(lambda: store.staging("faq"), id="staging"),
            pytest.param(lambda: store.verify_files("faq", "1"), id="verifying"),
            pytest.param(lambda: store.read_version_file("faq", "1", "weights.bin"), id="reading a file"),
            pytest.param(lambda: store.delete_artifact("faq", "1"), id="deleting"),
            pytest.param(store.tidy, id="tidying"),
        ],
    )
    def test_everything_says_that_it_may_get_better_and_makes_nothing(self, root, call):
        with pytest.raises(StoreUnavailable):
            call()
        assert not root.exists()

    def test_a_mount_without_its_volume_gets_no_routing(self, root):
        root.mkdir()
        with pytest.raises(StoreUnavailable):
            store.write_routing("faq", Routing("1"))
        with pytest.raises(StoreUnavailable), store.locked("faq"):
            pass
        assert not list(root.iterdir())
        root.rmdir()

    def test_when_it_is_back_all_is_as_before(self, root):
        with pytest.raises(StoreUnavailable):
            store.read_routing("faq")
        root.with_name("elsewhere").rename(root)
        assert store.read_routing("faq") == Routing("1")
        store.verify_files("faq", "1")
