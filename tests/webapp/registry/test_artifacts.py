import bz2
import gzip
import io
import os
import pickle
import random
import stat
import struct
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.webapp.registry.packing import manifest, pack
from webapp.errors import InvalidInput
from webapp.registry import artifacts
from webapp.scoring import store

pytestmark = pytest.mark.django_db


class Harmful:
    def __reduce__(self):
        return os.getcwd, ()


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refused(archive: Path, model) -> str:
    """The sentence of the refusal; nothing may be left of the attempt."""
    with pytest.raises(InvalidInput) as error:
        artifacts.unpack(archive, model)
    assert error.value.field == "artifact"
    folder = Path(artifacts.settings.MODEL_STORE) / model.name
    assert not folder.exists() or not list(folder.glob(".staged-*"))
    return error.value.detail


@pytest.mark.parametrize("top", ["", "faq-javascript-3/"])
def test_a_zip_is_unpacked_with_or_without_one_folder_around_everything(model, tmp_path, top):
    files = {f"{top}manifest.json": manifest(), f"{top}weights/a.npy": npy([1.0]), f"{top}entries.json": b"[]"}
    staged = artifacts.unpack(pack(tmp_path, files), model)
    assert names_in(staged) == {"manifest.json", "weights/a.npy", "entries.json"}
    assert (staged / "entries.json").read_bytes() == b"[]"


def test_what_macos_adds_is_left_out(model, tmp_path):
    files = {"v/manifest.json": manifest(), "v/.DS_Store": b"x", "__MACOSX/v/._manifest.json": b"x"}
    assert names_in(artifacts.unpack(pack(tmp_path, files), model)) == {"manifest.json"}


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "C:evil",
        "C:\\evil",
        "..\\evil",
        "a\\..\\..\\evil",
        "a//b",
        "./a",
        "a/./b",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(model, tmp_path, name):
    assert "would lie outside of the version's folder" in refused(pack(tmp_path, {name: b"x"}), model)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb"])
def test_a_name_with_characters_that_deceive_is_refused(model, tmp_path, name):
    assert "holds characters" in refused(pack(tmp_path, {name: b"x"}), model)


def test_a_name_with_a_nul_is_refused(model, tmp_path):
    archive = pack(tmp_path, {"aXb": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
    assert refused(archive, model)


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["abcdefgh"] * 120)])
def test_a_name_that_no_file_system_takes_is_refused(model, tmp_path, name):
    assert "too long" in refused(pack(tmp_path, {name: b"x"}), model)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_is_refused(model, tmp_path, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    assert "link or no plain file" in refused(pack(tmp_path, {info: b"/etc/passwd"}), model)


def test_the_same_name_twice_is_refused(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own
        archive = pack(tmp_path, [("a", b"1"), ("a", b"2")])
    assert "is in it twice" in refused(archive, model)


@pytest.mark.parametrize("names", [("A.json", "a.json"), ("é", "e\u0301"), ("a", "a/b")])
def test_names_that_mean_one_file_on_some_systems_are_refused(model, tmp_path, names):
    assert "same name" in (said := refused(pack(tmp_path, dict.fromkeys(names, b"x")), model)) or "both" in said


def test_an_encrypted_zip_is_refused(model, tmp_path):
    archive = pack(tmp_path, {"a": b"x"}, compression=zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refused(archive, model)


def test_a_bomb_is_refused_by_what_it_says_of_itself(model, tmp_path):
    archive = pack(tmp_path, {"zeros": bytes(60_000_000)})
    assert archive.stat().st_size < 100_000
    assert "zip bomb" in refused(archive, model)


def test_more_than_the_most_is_refused_however_it_is_called(model, tmp_path, settings):
    settings.MAX_ARTIFACT_BYTES = 100_000
    assert "is the most" in refused(pack(tmp_path, {"zeros": bytes(200_000)}), model)

    archive = pack(tmp_path, {"zeros": bytes(200_000)}, compression=zipfile.ZIP_STORED)
    lied = archive.read_bytes().replace(struct.pack("<I", 200_000), struct.pack("<I", 10))
    archive.write_bytes(lied)
    assert refused(archive, model)


def test_too_many_files_are_refused(model, tmp_path):
    assert "10,000 is the most" in refused(pack(tmp_path, {str(number): b"" for number in range(10_000)}), model)


def test_a_list_of_files_that_would_fill_the_memory_is_refused_before_it_is_read(model, tmp_path):
    archive = pack(tmp_path, {f"{number:0200}": b"" for number in range(20_000)})
    assert "list of files is too long" in refused(archive, model)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_is_refused(model, tmp_path, content):
    archive = tmp_path / "version.zip"
    archive.write_bytes(content)
    assert refused(archive, model)


def test_a_damaged_zip_is_refused(model, tmp_path):
    archive = pack(tmp_path, {"a.bin": random.Random(1).randbytes(5000)})
    content = bytearray(archive.read_bytes())
    content[2000] ^= 0xFF
    archive.write_bytes(content)
    assert "damaged" in refused(archive, model)


def test_a_zip_whose_bzip2_stream_is_damaged_is_refused(model, tmp_path):
    archive = pack(tmp_path, {"a.bin": b"0" * 5000}, compression=zipfile.ZIP_BZIP2)
    archive.write_bytes(archive.read_bytes().replace(b"BZh9", b"BZx9", 1))
    assert "damaged" in refused(archive, model)


def test_a_zip_with_a_name_that_is_not_in_its_code_is_refused(model, tmp_path):
    archive = pack(tmp_path, {"naïve.bin": b"x"})
    archive.write_bytes(misnamed(archive.read_bytes()))
    assert "damaged" in refused(archive, model)


def test_a_zip_in_the_zip_whose_names_cannot_be_read_is_refused_as_others_may_read_them(model, tmp_path):
    inner = misnamed(pack(tmp_path, {"naïve.bin": b"x"}).read_bytes())
    assert "whose list of files cannot be read" in refused(pack(tmp_path, {"weights.pt": inner}), model)


def test_a_zip_with_a_byte_changed_is_taken_or_refused_but_never_an_error(model, tmp_path):
    """In each third place, with each way of packing."""
    draw = random.Random(3)
    for way in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        sound = pack(tmp_path, {"naïve.bin": draw.randbytes(20) * 9}, compression=way).read_bytes()
        for place in range(0, len(sound), 3):
            changed = tmp_path / "changed.zip"
            changed.write_bytes(sound[:place] + bytes([draw.randrange(256)]) + sound[place + 1 :])
            with suppress(InvalidInput), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of zipfile, about names that are there twice
                store.discard(artifacts.unpack(changed, model))


def misnamed(archive: bytes) -> bytes:
    """The zip with half of a character in a name that claims to be UTF-8."""
    return archive.replace("ï".encode(), b"\xc3\x28")


@pytest.mark.parametrize("files", [{"a/manifest.json": manifest(), "b/c": b"x"}, {"a/b/manifest.json": manifest()}])
def test_a_zip_without_a_manifest_at_its_top_is_refused(model, tmp_path, files):
    assert "no manifest.json at the top" in refused(pack(tmp_path, files), model)


def npy(values: object, **options: object) -> bytes:
    data = io.BytesIO()
    np.save(data, np.array(values, **options), allow_pickle=True)
    return data.getvalue()


def npz(**arrays: object) -> bytes:
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def torch_zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Harmful()))
        packed.writestr("archive/data/0", bytes(16))
    return data.getvalue()


PICKLES = {
    **{f"protocol-{number}.bin": pickle.dumps(Harmful(), protocol=number) for number in range(6)},
    "a-large-one.bin": pickle.dumps([Harmful(), ["word"] * 300_000, *map(str, range(100_000))], protocol=0),
    "plain-data.bin": pickle.dumps({"a": [1.0, "b"]}, protocol=4),
    "written-by-hand.txt": b"cos\nsystem\n(S'echo'\ntR.and more",
    "older-still.txt": b"(ios\nsystem\nS'echo'\no.",
    "model.pkl": b"x",
    "model.PICKLE": b"x",
    "model.joblib": b"x",
    "gzipped.bin": gzip.compress(pickle.dumps(Harmful())),
    "zlib.bin": zlib.compress(pickle.dumps(Harmful())),
    "bz2.bin": bz2.compress(pickle.dumps(Harmful(), protocol=0)),
    "weights.pt": torch_zip(),
    "objects.npy": npy([{"a": 1}], dtype=object),
    "fields.npy": npy([(1, None)], dtype=[("a", "i4"), ("b", "O")]),
    "no-header.npy": b"\x93NUMPY\x01\x00\x04\x00....",
    "several.npz": npz(a=[1.0]),
    "npz-by-content.bin": npz(a=[1.0]),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_is_refused_by_name_or_content_and_the_refusal_says_what_to_use(model, tmp_path, name):
    said = refused(pack(tmp_path, {f"deep/{name}": PICKLES[name]}), model)
    assert f"deep/{name}" in said
    assert "can run any code" in said
    assert ".safetensors" in said


HARMLESS = {
    "numbers.npy": npy([[1.0, 2.0]]),
    "fields.npy": npy([(1, 2)], dtype=[("Open", "i4"), ("Other", "f8")]),
    "text.txt": b"In the beginning\nwere (many) words.\n",
    "words.txt": b"cat\ndog\nelephant\n",
    "sentence.txt": b"cats and dogs\nlive here\n.",
    "entries.json": b'[{"question": "How?"}]',
    "table.csv": b"I,S\n1,2\n",
    "x-begins.txt": b"x marks the spot",
    "empty": b"",
    "weights.safetensors": struct.pack("<Q", 2) + b"{}",
    "notes.gz": gzip.compress(b"just notes"),
    "plain.zip": b"PK\x03\x04 not really",
    "model.onnx": b"\x08\x07\x12\x07pytorch",
}


def test_what_only_looks_a_little_like_a_pickle_is_taken(model, tmp_path):
    assert names_in(artifacts.unpack(pack(tmp_path, dict(HARMLESS)), model)) == {*HARMLESS, "manifest.json"}


def test_random_bytes_are_judged_without_an_error(model, tmp_path):
    draw = random.Random(7)
    opcodes = bytes(sorted(artifacts.OPCODES))
    for _ in range(300):
        content = bytes(draw.choice(opcodes) for _ in range(draw.randrange(40))) + draw.randbytes(draw.randrange(40))
        artifacts._pickle_in(content, whole=True)
        artifacts._pickle_in(b"\x93NUMPY\x01\x00" + content, whole=True)


def test_a_folder_of_this_machine_is_copied_and_judged_alike(model, tmp_path):
    folder = tmp_path / "version"
    (folder / "weights").mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest())
    (folder / "weights" / "a.npy").write_bytes(npy([1.0]))
    assert names_in(artifacts.copy(folder, model)) == {"manifest.json", "weights/a.npy"}

    (folder / "b.bin").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InvalidInput, match=r"b\.bin.* is a pickle"):
        artifacts.copy(folder, model)
    (folder / "b.bin").unlink()
    (folder / "passwords").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="passwords is a link"):
        artifacts.copy(folder, model)
