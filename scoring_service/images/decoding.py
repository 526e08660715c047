"""From a file as received to RGB pixels. Files come from strangers: the header is judged before any pixel."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from scoring_service.errors import BadRow

MAX_BYTES = 10_000_000
MAX_PIXELS = 50_000_000

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SEND = "Send JPEG, PNG, WebP, GIF or BMP."

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(file: bytes, *, enough: int | None = None) -> Image.Image:
    """The picture in the file: mode RGB, upright, see-through parts on white, the first frame if it moves.

    file: a whole JPEG, PNG, WebP, GIF or BMP file, told by its content.
    enough: pixels; a JPEG may come back smaller than it is, each side still at least this long. Decoding a phone's
        photo at a quarter of its size costs a fraction of the time and memory.
    Raises BadRow, with a sentence for the sender, when the file is empty, over 10 MB, not one of these formats, over
    50 megapixels, cut off or damaged.
    """
    if not file:
        raise BadRow(f"This file is empty. {_SEND}")
    if len(file) > MAX_BYTES:
        raise BadRow(f"This file is too large: {len(file) / 1e6:.1f} MB, at most {MAX_BYTES // 10**6} MB are read.")
    # Pillow warns of odd metadata and of sizes that we judge ourselves. `catch_warnings` would not do: it swaps the
    # filters of the whole process, and several threads decode at once.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with _open(file) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise BadRow(_too_many_pixels(f"{width} × {height} pixels"))
        if enough is not None:
            picture.draft(None, (enough, enough))
        return _turned(_load(picture), _orientation(picture))


def _open(file: bytes) -> Image.Image:
    """The picture with its header read and no pixel decoded."""
    try:
        return Image.open(io.BytesIO(file), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadRow(f"This file is not a picture we can read{_guess(file)}. {_SEND}") from error
    except Image.DecompressionBombError as error:
        raise BadRow(_too_many_pixels("over 170 megapixels")) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged header makes Pillow's parsers fail in any way
        raise BadRow(_damaged()) from error


def _load(picture: Image.Image) -> Image.Image:
    """All pixels, as RGB."""
    try:
        picture.load()
        return _rgb(picture)
    except MemoryError:
        raise
    except Exception as error:  # damaged pixels make Pillow's decoders fail in any way
        cut_off = isinstance(error, EOFError) or "truncated" in str(error)
        raise BadRow(_cut_off() if cut_off else _damaged()) from error


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):  # Pillow would clip to the darkest 256 of 65,536 greys
        greys = np.asarray(picture, dtype=np.uint16) // 257
        return Image.fromarray(greys.astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        colours = picture.convert("RGBA")
        paper = Image.new("RGB", colours.size, "white")
        paper.paste(colours, mask=colours.getchannel("A"))
        return paper
    return picture.convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where it is missing or unreadable."""
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - broken metadata fails in any way, and must not cost a good picture
        return 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _too_many_pixels(size: str) -> str:
    return f"This picture is too large: {size}, at most {MAX_PIXELS // 10**6} megapixels are read. Send a smaller one."


def _cut_off() -> str:
    return "This picture is cut off: the file ends before the picture does. Send the whole file again."


def _damaged() -> str:
    return "This picture is damaged and cannot be decoded. Open it, save it anew, and send that file."


def _guess(file: bytes) -> str:
    """What the file seems to be instead, as an insert for a sentence; empty when unknown."""
    start = file[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    brand = file[8:12]
    for found, name in (
        (b"<svg" in start, "an SVG drawing"),
        (start.startswith((b"<!doctype html", b"<html")), "a web page"),
        (file.startswith(b"%PDF"), "a PDF document"),
        (file[4:8] == b"ftyp" and brand in {b"heic", b"heix", b"hevc", b"mif1", b"msf1"}, "a HEIC photo"),
        (file[4:8] == b"ftyp" and brand in {b"avif", b"avis"}, "an AVIF picture"),
        (file[4:8] == b"ftyp", "a video"),
        (file.startswith((b"II*\0", b"MM\0*")), "a TIFF picture"),
        (file.startswith(b"\0\0\1\0"), "an icon"),
        (file.startswith(b"PK\3\4"), "a ZIP archive"),
    ):
        if found:
            return f": it looks like {name}"
    return ""
