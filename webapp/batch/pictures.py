"""Pictures out of a zip: where each lies, found in one pass over its list; and any one of them, by seeking there."""

import io
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from django.conf import settings
from PIL import Image, ImageOps

from webapp.batch import files, uploads
from webapp.batch.models import Job
from webapp.batch.rows import InputRow
from webapp.errors import InvalidInput
from webapp.images.checks import FORMATS, Upload, check_picture
from webapp.registry.zips import Damaged
from webapp.tables import archives
from webapp.tables.archives import Member

log = structlog.get_logger(__name__)

MAX_PICTURES = 50_000
MAX_LEFT_OUT = 4 * MAX_PICTURES  # folders, and what systems leave beside pictures: a zip's list has no end else
MAX_NAME = 500  # characters that are kept
# A picture shrinks little, a file of zeros to a thousandth.
MAX_RATIO = 200
RATIO_COUNTS_FROM = 50_000_000  # bytes unpacked
LITTER = {"__MACOSX", *uploads.LITTER}

THUMBNAILS = 200  # of the first pictures
THUMBNAIL = (160, 160)  # pixels at most
DECODED = 12_000_000  # pixels; no larger picture is decoded for its thumbnail


def count(path: Path) -> int:
    """How many pictures the zip holds. Raises InvalidInput for one that is damaged, a bomb or has none."""
    found = sum(1 for _ in rows(path))
    if not found:
        raise _bad("The zip file holds no picture.")
    return found


def rows(path: Path) -> Iterator[InputRow]:
    """Every picture in the zip with where its bytes lie, or why it cannot be looked at.

    Raises InvalidInput when the zip is damaged, has too many, or is a bomb; some at its end only.
    """
    number = left_out = packed = unpacked = 0
    with path.open("rb") as file, _zip_errors():
        length = os.fstat(file.fileno()).st_size
        for member in archives.members(file):
            if member.is_folder or LITTER & set(member.name.split("/")):
                left_out += 1
                if left_out > MAX_LEFT_OUT:
                    raise _bad(
                        "It holds many times as many folders as a batch may have pictures. Pack the pictures alone."
                    )
                continue
            if number == MAX_PICTURES:
                raise _bad(f"It holds more than {MAX_PICTURES:,} pictures. Send them as several batches.")
            packed += member.packed
            unpacked += member.size
            # Files that lie upon each other, so that each byte counts many times.
            if packed > length or (unpacked > RATIO_COUNTS_FROM and unpacked > MAX_RATIO * packed):
                raise _bad("Unpacked, it would be many times as large. That is a zip bomb, not a zip of pictures.")
            yield _row(number, member)
            number += 1


def preview(path: Path, most: int) -> list[list[str]]:
    """Name and bytes of the first pictures."""
    shown: list[list[str]] = []
    for row in rows(path):
        shown.append([row.name, f"{row.size:,}"])
        if len(shown) == most:
            break
    return shown


def read_picture(job: Job, row: InputRow) -> bytes:
    """The picture's bytes, which a pod may look at.

    Raises InvalidInput or TooLarge, naming file and remedy, for what is damaged or no picture; FilesError when the
    upload cannot be read.
    """
    member = Member(row.name, row.offset, row.packed, row.size, row.method, row.crc)
    try:
        with files.disk_errors(), files.upload_of_job(job).open("rb") as file:
            data = archives.content(file, member)
    except Damaged as error:
        raise _bad(f"{row.name} is damaged in the zip: {error}. Pack it again.") from error
    check_picture(Upload("file", row.name, data))
    return data


def save_thumbnail(job: Job, row: InputRow, data: bytes) -> None:
    """Keeps a small copy of one of the first pictures. Where that fails there is none, and nothing else comes of it."""
    if row.row >= THUMBNAILS:
        return
    try:
        small = _small(data)
        if small is not None:
            _keep_thumbnail(files.thumbnail(job, row.row), small)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, Image.DecompressionBombError):
        return  # whatever Pillow's readers raise for damaged pictures; the pod says what is wrong with it
    except Exception:
        log.warning("batch_thumbnail_broke", row=row.row, exc_info=True)


def _keep_thumbnail(path: Path, small: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}")
    try:
        partial.write_bytes(small)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _small(data: bytes) -> bytes | None:
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        picture.draft("RGB", THUMBNAIL)  # JPEGs are decoded at an eighth of their size or so
        if picture.width * picture.height > DECODED:
            return None
        picture.thumbnail(THUMBNAIL)
        upright = ImageOps.exif_transpose(picture)
        white = Image.new("RGB", upright.size, "white")
        rgba = upright.convert("RGBA")
        white.paste(rgba, mask=rgba)
    out = io.BytesIO()
    white.save(out, "JPEG", quality=80)
    return out.getvalue()


# One entry ------------------------------------------------------------------------------------------------------------


def _row(number: int, member: Member) -> InputRow:
    name = "".join(each if each.isprintable() else "\ufffd" for each in member.name)
    shown = name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"
    if why := _refusal(member):
        return InputRow(number, name=shown, size=member.size, error=f"{shown} {why}")
    return InputRow(
        number,
        name=shown,
        offset=member.offset,
        packed=member.packed,
        size=member.size,
        method=member.method,
        crc=member.crc,
    )


def _refusal(member: Member) -> str:
    """Why nobody should unpack it, and what to do; "" for one that may be a picture."""
    if member.encrypted:
        return "is encrypted. Pack it without a password."
    if stat.S_IFMT(member.mode) not in {0, stat.S_IFREG}:
        return "is a link or no plain file. Pack the picture itself."
    parts = member.name.split("/")
    if re.match(r"[A-Za-z]:", member.name) or "\\" in member.name or {"", ".", ".."} & set(parts):
        return "has a name that leads out of its folder. Pack plain relative names."
    if member.method not in {archives.STORED, archives.DEFLATED}:
        return f"is packed in a way that is not read (method {member.method}). Pack it with plain compression."
    if not member.size:
        return "is empty."
    if member.size > settings.MAX_IMAGE_BYTES:
        return (
            f"is larger than {settings.MAX_IMAGE_BYTES / 1e6:.0f} MB, the most that is read. Make the picture smaller."
        )
    # What cannot be packed is stored in blocks, with a few bytes for each.
    most = member.size if member.method == archives.STORED else member.size + member.size // 1000 + 100
    if member.packed > most:
        return "is damaged in the zip. Pack it again."
    return ""


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise _bad(f"It is not a zip file, or a damaged one: {error}.") from error


def _bad(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, field="file")
