"""Two photos that come with scikit-learn (CC BY 2.0): something real to look at where nothing can be downloaded."""

import io
from importlib import resources

from PIL import Image

from scoring_service.images.decoding import decode

NAMES = ("china", "flower")


def photo(name: str, *, longest: int) -> Image.Image:
    """The photo of that name in NAMES, its longer side at most `longest` pixels."""
    file = resources.files("sklearn.datasets") / "images" / f"{name}.jpg"
    picture = decode(file.read_bytes())
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return picture


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85, optimize=True, progressive=True)
    return file.getvalue()
