"""Files of a request as values, whichever way they came."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, UploadedFile
from django.utils.datastructures import MultiValueDict
from rest_framework.parsers import BaseParser, DataAndFiles

from webapp.errors import InvalidInput
from webapp.images.checks import Upload


def uploads_in(files: MultiValueDict[str, UploadedFile[Any]]) -> list[Upload]:
    """All files of a request, in their order; of one over the limit only so much that this shows.

    Raises InvalidInput for none, and for more than are taken at once.
    """
    found = [(field, file) for field, group in files.lists() for file in group]
    if not found:
        raise InvalidInput("Send at least one picture.", field="files")
    if len(found) > settings.MAX_IMAGES:
        too_many = f"{len(found)} pictures are too many; send at most {settings.MAX_IMAGES} at once."
        raise InvalidInput(too_many, field="files")
    return [Upload(field, file.name or "picture", file.read(settings.MAX_IMAGE_BYTES + 1)) for field, file in found]


class PictureParser(BaseParser):
    """A raw image/* body, as if it were the one file of a form."""

    media_type = "image/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, _parser_context: Mapping[str, Any] | None = None
    ) -> "DataAndFiles[Any, Any]":
        kind = (media_type or "").partition(";")[0].rpartition("/")[2]
        name = f"picture.{kind}" if kind.isalnum() else "picture"
        data = stream.read(settings.MAX_IMAGE_BYTES + 1)
        file = InMemoryUploadedFile(BytesIO(data), "body", name, media_type, len(data), None)
        return DataAndFiles({}, MultiValueDict({"body": [file]}))
