"""Pictures out of zip files of any size, in little memory; and zip files that mean harm."""

import io
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.factories import picture
from webapp.batch import checking, detection, files, pictures, reading
from webapp.batch.models import Job
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput, TooLarge
from webapp.tables import archives

PNG = picture(40, 30).read()
JPEG = picture(40, 30, "JPEG").read()


def pack(path: Path, members: dict[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "upload.zip"


@pytest.fixture
def job(owner) -> Job:
    return Job.objects.create(owner=owner, kind="image", name="Mine", format="zip", model="digits")


def adopted(job: Job, path: Path) -> list[InputRow]:
    files.adopt(job, files.StoredUpload(path, path.name, 0, ""))
    return list(pictures.rows(files.upload_of_job(job)))


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    info.create_system = 3
    return info


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh self-extracting\n"])
def test_each_picture_is_read_by_where_it_lies(job, path, method, before):
    pack(path, {"dogs/1.png": PNG, "katze größe.jpg": JPEG}, method)
    path.write_bytes(before + path.read_bytes())
    rows = adopted(job, path)
    assert [(row.row, row.name, row.size) for row in rows] == [
        (0, "dogs/1.png", len(PNG)),
        (1, "katze größe.jpg", len(JPEG)),
    ]
    assert [pictures.read_picture(job, row) for row in rows] == [PNG, JPEG]


def test_folders_and_litter_are_no_pictures(path):
    pack(
        path,
        {"dogs/": b"", "dogs/1.png": PNG, "__MACOSX/dogs/._1.png": b"x", "dogs/.DS_Store": b"x", "Thumbs.db": b"x"},
    )
    assert [row.name for row in pictures.rows(path)] == ["dogs/1.png"]
    found = detection.detect(path, "x.zip")
    assert (found.format, found.kind, found.count) == ("zip", "image", 1)
    assert reading.preview(path, found) == [["dogs/1.png", f"{len(PNG):,}"]]
    assert reading.column_of(found, "") == ""


def test_a_zip_of_parts_over_four_gigabytes_is_read(path, monkeypatch):
    """Sizes and offsets of large files stand elsewhere; zipfile is made to put them there for small ones, too."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    pack(path, {"1.png": PNG, "2.png": PNG}, zipfile.ZIP_STORED)
    assert b"PK\x06\x06" in path.read_bytes()
    rows = list(pictures.rows(path))
    assert [(row.name, row.size) for row in rows] == [("1.png", len(PNG)), ("2.png", len(PNG))]
    assert rows[1].offset > rows[0].offset


@pytest.mark.parametrize(
    ("member", "content", "why"),
    [
        ("../up.png", PNG, "has a name that leads out of its folder"),
        ("/root.png", PNG, "has a name that leads out of its folder"),
        ("C:/x.png", PNG, "has a name that leads out of its folder"),
        ("empty.png", b"", "is empty"),
        ("large.png", bytes(10_000_001), "is larger than 10 MB"),
        (link(), b"/etc/passwd", "is a link or no plain file"),
    ],
    ids=["up", "root", "drive", "empty", "large", "link"],
)
def test_what_cannot_be_a_picture_says_why_and_spoils_no_other(path, member, content, why):
    pack(path, {"first.png": PNG, member: content, "last.png": PNG})
    first, bad, last = pictures.rows(path)
    assert f"{getattr(member, 'filename', member)} {why}" in bad.error
    assert (first.error, last.error, last.row) == ("", "", 2)


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [(8, 1, "is encrypted. Pack it without a password."), (10, 9, "is packed in a way that is not read (method 9)")],
)
def test_a_picture_that_nobody_can_unpack_says_so(path, at, value, why):
    pack(path, {"1.png": PNG})
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + at, value)
    path.write_bytes(data)
    assert why in next(pictures.rows(path)).error


@pytest.mark.parametrize("harm", ["crc", "bytes", "head", "size"])
def test_a_damaged_picture_is_an_error_of_its_own(job, path, harm):
    rows = adopted(job, pack(path, {"1.png": PNG, "2.png": PNG}, zipfile.ZIP_DEFLATED))
    bad, good = rows
    match harm:
        case "crc":
            bad.crc += 1
        case "size":
            bad.size -= 1
        case "head":
            bad.offset += 1
        case "bytes":
            with files.upload_of_job(job).open("r+b") as file:
                file.seek(bad.offset + 30 + len("1.png") + 5)
                file.write(b"\xff" * 10)
    with pytest.raises(InvalidInput, match=r"^1\.png is damaged in the zip: .*Pack it again\.$"):
        pictures.read_picture(job, bad)
    assert pictures.read_picture(job, good) == PNG


def test_what_is_no_picture_says_so_when_it_is_read(job, path):
    text, large = adopted(job, pack(path, {"notes.txt": b"hello", "large.png": picture(10_000, 6_000).read()}))
    with pytest.raises(InvalidInput, match=r"notes\.txt is not a picture we can read"):
        pictures.read_picture(job, text)
    with pytest.raises(TooLarge, match=r"large\.png has 10000 × 6000 pixels"):
        pictures.read_picture(job, large)


def test_memory_stays_small_whatever_a_picture_claims_to_unpack_to(job, path):
    (row,) = adopted(job, pack(path, {"1.png": bytes(50_000_000)}))
    row.error, row.size, row.packed = "", 1000, 60_000
    row.offset, row.method = 0, 8
    tracemalloc.start()
    with pytest.raises(InvalidInput):
        pictures.read_picture(job, row)
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2_000_000


@pytest.mark.parametrize("cut", [1, 22, 60, 300])
def test_a_zip_that_was_cut_off_is_refused(path, cut):
    pack(path, {f"{number}.png": PNG for number in range(5)})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InvalidInput, match="It is not a zip file, or a damaged one: "):
        detection.detect(path, "x.zip")


def test_files_that_lie_upon_each_other_are_refused(path):
    """The best zip bombs have one compressed file and thousands of entries that all point to it."""
    pack(path, {f"{number}.png": bytes(1_000_000) for number in range(60)})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    first = struct.unpack_from("<3I", data, at + 16)
    for _ in range(60):
        struct.pack_into("<3I", data, at + 16, *first)
        struct.pack_into("<I", data, at + 42, 0)
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="zip bomb"):
        list(pictures.rows(path))


def test_a_zip_of_zeros_is_refused(path):
    pack(path, {f"{number}.bmp": bytes(9_000_000) for number in range(6)})
    with pytest.raises(InvalidInput, match="zip bomb"):
        detection.detect(path, "x.zip")


def test_a_zip_without_or_with_too_many_pictures_is_refused(path, monkeypatch):
    with pytest.raises(InvalidInput, match="holds no picture"):
        detection.detect(pack(path, {"dogs/": b""}), "x.zip")
    monkeypatch.setattr(pictures, "MAX_PICTURES", 2)
    with pytest.raises(InvalidInput, match="more than 2 pictures"):
        detection.detect(pack(path, dict.fromkeys("abc", PNG)), "x.zip")


def test_a_zip_of_nothing_but_folders_is_not_read_to_its_end(path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_LEFT_OUT", 2)
    with pytest.raises(InvalidInput, match="many times as many folders"):
        detection.detect(pack(path, {"a.png": PNG, "a/": b"", "b/": b"", "c/": b""}), "x.zip")


def test_the_list_of_a_zip_takes_little_memory(path):
    pack(path, {f"folder/picture number {number}.png": b"x" for number in range(5_000)}, zipfile.ZIP_STORED)
    tracemalloc.start()
    assert pictures.count(path) == 5_000
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300_000


@given(
    st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=2000), min_size=1, max_size=5), st.booleans()
)
@settings(max_examples=40)
def test_whatever_python_packs_is_unpacked(tmp_path_factory, members, stored):
    path = tmp_path_factory.mktemp("zip") / "upload.zip"
    clean = {name.replace("\0", "").encode(errors="replace").decode(): content for name, content in members.items()}
    clean = {name: content for name, content in clean.items() if name.strip("/") and not name.endswith("/")}
    pack(path, clean, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    with path.open("rb") as file:
        assert [archives.content(file, member) for member in archives.members(file)] == list(clean.values())


@given(st.binary(max_size=400), st.integers(0, 400))
@settings(max_examples=60)
def test_a_zip_with_other_bytes_in_it_is_read_or_refused(tmp_path_factory, noise, at):
    path = tmp_path_factory.mktemp("zip") / "upload.zip"
    data = bytearray(pack(path, {"1.png": PNG, "2.png": JPEG}).read_bytes())
    data[at : at + len(noise)] = noise
    path.write_bytes(data)
    try:
        found = list(pictures.rows(path))
    except InvalidInput:
        return
    assert all(row.row == number for number, row in enumerate(found))


# Validation and thumbnails --------------------------------------------------------------------------------------------


def test_a_zip_becomes_chunks_of_pictures(job, path):
    adopted(job, pack(path, {f"{number}.png": PNG if number else b"" for number in range(70)}))
    job.reading = detection.detect(files.upload_of_job(job), "x.zip").kept()
    checked = checking.validate(job, lambda: None, most=1_000_000)
    assert [(part.first_row, part.rows) for part in checked.parts] == [(0, 32), (32, 32), (64, 6)]
    assert checked.refused == 1
    last = files.read_rows(job, 2)[-1]
    assert (last.row, last.name, pictures.read_picture(job, last)) == (69, "69.png", PNG)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_thumbnail_is_small_and_upright(job, form):
    files.folder(job).mkdir(parents=True)
    data = io.BytesIO()
    tall = Image.new("RGB", (800, 400), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    tall.save(data, form, **({"exif": exif} if form in {"JPEG", "WEBP"} else {}))
    pictures.save_thumbnail(job, InputRow(3), data.getvalue())
    with Image.open(files.thumbnail(job, 3)) as small:
        assert small.format == "JPEG"
        assert small.size == ((80, 160) if form in {"JPEG", "WEBP"} else (160, 80))


def test_only_the_first_pictures_have_one_and_those_that_can_be_decoded(job):
    files.folder(job).mkdir(parents=True)
    pictures.save_thumbnail(job, InputRow(200), PNG)
    pictures.save_thumbnail(job, InputRow(1), PNG[:60])
    pictures.save_thumbnail(job, InputRow(2), picture(5000, 4000).read())
    pictures.save_thumbnail(job, InputRow(4), picture(5000, 4000, "JPEG").read())
    assert [path.name for path in (files.folder(job) / "thumbnails").iterdir()] == ["4.jpg"]
