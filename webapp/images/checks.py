"""What a file must be before it travels to a pod. Reads headers only: nothing is decoded here."""

from dataclasses import dataclass
from io import BytesIO

from django.conf import settings
from PIL import Image, UnidentifiedImageError

from webapp.errors import InvalidInput, TooLarge

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
    data, name = upload.data, upload.filename
    if not data:
        raise InvalidInput(f"{name} is empty. Choose the file again.", field=upload.field)
    if len(data) > settings.MAX_IMAGE_BYTES:
        limit = settings.MAX_IMAGE_BYTES / 1e6
        raise TooLarge(
            f"{name} is larger than {limit:.0f} MB, the most that is read. Make the picture smaller.",
            field=upload.field,
        )
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
    except UnidentifiedImageError as error:
        unreadable = f"{name} is not a picture we can read. Send a {FORMAT_NAMES} file."
        raise InvalidInput(unreadable, field=upload.field) from error
    except (OSError, ValueError) as error:
        # What Pillow's readers raise for a header that starts well and goes on badly.
        damaged = f"{name} is damaged. Save the picture again, as {FORMAT_NAMES}."
        raise InvalidInput(damaged, field=upload.field) from error
    if width * height > settings.MAX_IMAGE_PIXELS:
        size, limit = width * height / 1e6, settings.MAX_IMAGE_PIXELS / 1e6
        raise TooLarge(
            f"{name} has {width} × {height} pixels, that is {size:.0f} megapixels; at most {limit:.0f} are allowed. "
            "Make the picture smaller.",
            field=upload.field,
        )


def media_type(data: bytes) -> str:
    """That of a picture which passed `check_picture`, such as "image/jpeg"."""
    with Image.open(BytesIO(data), formats=FORMATS) as picture:
        return Image.MIME[picture.format or ""]
