"""What becomes of a file that somebody sends as a picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bench.image_decoding import agreement, made
from scoring_service.errors import BadRow
from scoring_service.images import digits
from scoring_service.images.decoding import MAX_BYTES, decode

RED, BLUE, WHITE = (250, 10, 20), (10, 20, 250), (255, 255, 255)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def left_red_right_blue(size=(64, 32)) -> Image.Image:
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture


def colour_at(picture: Image.Image, x: int, y: int) -> np.ndarray:
    return np.array(picture.getpixel((x, y)), dtype=int)


def png_header(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds no pixel."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (chunk, empty)
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_each_format_gives_the_picture_in_rgb(kind):
    picture = decode(encoded(left_red_right_blue(), kind))
    assert (picture.mode, picture.size) == ("RGB", (64, 32))
    assert np.abs(colour_at(picture, 10, 10) - RED).max() < 30
    assert np.abs(colour_at(picture, 50, 10) - BLUE).max() < 30


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("L", "JPEG"),
        ("LA", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("P", "BMP"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("CMYK", "JPEG"),
        ("I;16", "PNG"),
    ],
)
def test_each_mode_becomes_rgb_with_light_kept_light_and_dark_kept_dark(mode, kind):
    picture = Image.new("L", (64, 32), 240)
    picture.paste(16, (32, 0, 64, 32))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture, dtype=np.uint16) * 257)
    else:
        picture = picture.convert("RGB").convert(mode, dither=Image.Dither.NONE, palette=Image.Palette.ADAPTIVE)
    decoded = decode(encoded(picture, kind))
    assert decoded.mode == "RGB"
    assert colour_at(decoded, 10, 10).min() > 225
    assert colour_at(decoded, 50, 10).max() < 32


def test_see_through_parts_lie_on_white():
    picture = left_red_right_blue().convert("RGBA")
    picture.putalpha(Image.new("L", picture.size, 0))
    assert decode(encoded(picture, "PNG")).getpixel((10, 10)) == WHITE
    picture.putalpha(Image.new("L", picture.size, 128))
    assert np.abs(colour_at(decode(encoded(picture, "PNG")), 10, 10) - (252, 132, 137)).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_see_through_palette_colour_lies_on_white(kind):
    picture = left_red_right_blue().quantize(4)
    index = picture.getpixel((10, 10))
    decoded = decode(encoded(picture, kind, transparency=index))
    assert decoded.getpixel((10, 10)) == WHITE
    assert np.abs(colour_at(decoded, 50, 10) - BLUE).max() < 30


def test_a_see_through_rgb_colour_lies_on_white():
    assert decode(encoded(left_red_right_blue(), "PNG", transparency=RED)).getpixel((10, 10)) == WHITE


def test_palette_transparency_in_steps_is_understood_without_a_warning():
    picture = left_red_right_blue().quantize(2)
    file = encoded(picture, "PNG", transparency=bytes([0, 0]))
    assert decode(file).getpixel((10, 10)) == WHITE


def test_only_the_first_frame_of_a_moving_gif_counts():
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE)]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.abs(colour_at(decode(file), 5, 5) - RED).max() < 30


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_comes_out_upright(kind, orientation):
    """A camera held in any of eight ways writes other pixels and another tag; both together mean the same picture."""
    upright = np.zeros((32, 64, 3), dtype=np.uint8)
    upright[:16, :32] = 255  # one light corner tells all eight apart
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(np.ascontiguousarray(as_stored)), kind, exif=exif)
    picture = decode(file)
    assert picture.size == (64, 32)
    assert np.abs(np.asarray(picture, dtype=int) - upright).mean() < 8


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01"]
)
def test_broken_metadata_does_not_cost_the_picture(exif):
    assert decode(encoded(left_red_right_blue(), "JPEG", exif=exif)).size == (64, 32)


def test_a_large_photo_may_come_back_smaller_but_never_too_small():
    file = encoded(left_red_right_blue((4000, 3000)), "JPEG")
    assert decode(file).size == (4000, 3000)
    width, height = decode(file, enough=464).size
    assert 464 <= height < width < 2000


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (b"", "empty"),
        (b"hello", "not a picture we can read."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><html></html>", "a web page"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"PK\3\4rest", "a ZIP archive"),
        (encoded(Image.new("RGB", (8, 8)), "TIFF"), "a TIFF picture"),
        (encoded(Image.new("RGB", (8, 8)), "ICO"), "an icon"),
        (b"P6 1 1 255 abc", "not a picture we can read."),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not a picture we can read."),
    ],
)
def test_a_file_that_is_no_picture_is_refused_with_what_it_is_and_what_to_send(file, named):
    with pytest.raises(BadRow, match=r"Send JPEG, PNG, WebP, GIF or BMP\.") as refusal:
        decode(file)
    assert named in str(refusal.value)


def test_a_page_behind_a_pictures_first_bytes_is_refused():
    with pytest.raises(BadRow, match="not a picture we can read"):
        decode(b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script></html>")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_refused(kind, kept):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    file = encoded(noise, kind)
    with pytest.raises(BadRow, match=r"cut off|damaged|not a picture"):
        decode(file[: int(kept * len(file))])


def test_too_many_bytes_are_refused_unread():
    with pytest.raises(BadRow, match=r"12\.0 MB, at most 10 MB"):
        decode(encoded(left_red_right_blue(), "BMP").ljust(12_000_000, b"\0"))
    assert decode(encoded(left_red_right_blue(), "BMP").ljust(MAX_BYTES, b"\0")).size == (64, 32)


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(png_header(50_000, 50_000), id="PNG of 2.5 gigapixels"),
        pytest.param(png_header(8_000, 6_251), id="PNG a row above 50 megapixels"),
        pytest.param(png_header(11_000, 9_000), id="PNG where Pillow only warns"),
        pytest.param(
            encoded(Image.new("RGB", (1, 1)), "GIF").replace(b"\1\0\1\0", b"\xff\xff\xff\xff", 1), id="GIF screen"
        ),
        pytest.param(
            encoded(Image.new("L", (8, 8)), "JPEG").replace(b"\0\x08\0\x08\1", b"\xff\xff\xff\xff\1"), id="JPEG"
        ),
        pytest.param(
            encoded(Image.new("RGB", (8, 8)), "BMP").replace(
                struct.pack("<ii", 8, 8), struct.pack("<ii", 1 << 20, 1 << 20)
            ),
            id="BMP",
        ),
    ],
)
def test_a_decompression_bomb_is_refused_by_its_header(file):
    with pytest.raises(BadRow, match=r"too large.*at most 50 megapixels"):
        decode(file)


def test_a_small_file_with_huge_text_inside_does_no_harm():
    text = zlib.compress(b"x" * 100_000_000)
    chunk = b"zTXtnote\0\0" + text
    file = encoded(left_red_right_blue(), "PNG")
    bomb = file[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + file[33:]
    with pytest.raises(BadRow, match="damaged"):
        decode(bomb)


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]),
    position=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=16),
)
def test_damage_anywhere_gives_a_picture_or_a_clear_refusal(kind, position, damage):
    file = bytearray(encoded(left_red_right_blue((24, 16)), kind))
    start = int(position * len(file))
    file[start : start + len(damage)] = damage
    try:
        picture = decode(bytes(file))
    except BadRow:
        return
    assert picture.mode == "RGB"


def test_photos_get_the_same_label_decoded_small_as_in_full(digits_store):
    files = list(made(200, ((640, 480), (1024, 768))))
    small = decode(files[0], enough=digits.PREPROCESSING.enough)
    assert max(small.size) < 512
    agreeing, count = agreement(digits_store / "digits" / "1", iter(files))
    assert count == 200
    assert agreeing >= 0.995 * count
