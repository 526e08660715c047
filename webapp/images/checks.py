"""What a file must be before it travels to a pod. Reads headers only: nothing is decoded here."""

from dataclasses import dataclass
from io import BytesIO

from django.conf import settings
from PIL import Image, UnidentifiedImageError

from webapp.errors import AppError, InvalidInput, TooLarge

# The site never decodes, so Pillow's own guard has nothing to protect; ours is stricter and says what to do.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
FORMAT_NAMES = "JPEG, PNG, WebP, GIF or BMP"


@dataclass(frozen=True)
class Upload:
    """One file as it was received. field: the name of the form field or body part it came in."""

    field: str
    filename: str
    data: bytes


def check_picture(upload: Upload) -> None:
    """Raises InvalidInput or TooLarge, naming file and remedy, for what no pod should have to look at."""
    error = _problem_with(upload.data, upload.filename)
    if error is not None:
        raise error


def _problem_with(data: bytes, name: str) -> AppError | None:
    if not data:
        return InvalidInput(f"{name} is empty. Choose the file again.", field="files")
    if len(data) > settings.MAX_IMAGE_BYTES:
        limit = settings.MAX_IMAGE_BYTES / 1e6
        return TooLarge(f"{name} is larger than {limit:.0f} MB, the most that is read. Make the picture smaller.")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
    except UnidentifiedImageError:
        return InvalidInput(f"{name} is not a picture we can read. Send a {FORMAT_NAMES} file.", field="files")
    except (OSError, ValueError):
        # What Pillow's readers raise for a header that starts well and goes on badly.
        return InvalidInput(f"{name} is damaged. Save the picture again, as {FORMAT_NAMES}.", field="files")
    if width * height > settings.MAX_IMAGE_PIXELS:
        size, limit = width * height / 1e6, settings.MAX_IMAGE_PIXELS / 1e6
        return TooLarge(
            f"{name} has {width} × {height} pixels, that is {size:.0f} megapixels; at most {limit:.0f} are allowed. "
            "Make the picture smaller."
        )
    return None
