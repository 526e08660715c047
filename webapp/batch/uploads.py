"""How uploads get to the disk while they arrive, without ever being in memory."""

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from webapp.batch import files
from webapp.batch.files import StoredUpload
from webapp.bodies import length_of
from webapp.errors import AppError, FilesError, InvalidInput, TooLarge

KEPT_FREE = 100_000_000  # bytes of the disk that uploads leave to everybody else
PIECE = 2**18
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")  # WebP's begins RIFF????WEBP
MANY = "files"  # the field of a form for several pictures
NO_PICTURES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".xlsx", ".zip")
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what folders hold that nobody put there


class _Incoming:
    """A file of `incoming` while it is written: counted, hashed, and refused above its limit."""

    def __init__(self, *, expected: int = 0) -> None:
        """expected: bytes that are to come. Raises FilesError when there is no room for them."""
        where = Path(settings.BATCH_DIR) / files.INCOMING
        with files.disk_errors():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(where).free < expected + KEPT_FREE:
                raise OSError(errno.ENOSPC, "No space left")
            self.path = where / uuid.uuid4().hex
            self._file = files.created(self.path)
        self._digest = hashlib.sha256()
        self._gone = False
        self.size = 0

    def write(self, data: bytes) -> int:
        """Raises TooLarge or FilesError; then the file is gone. What comes after that goes nowhere."""
        if self._gone:
            return len(data)
        if self.size + len(data) > settings.BATCH_UPLOAD_BYTES:
            self.discard()
            raise TooLarge(
                f"The upload has more than {settings.BATCH_UPLOAD_BYTES:,} bytes, the most that is taken. Send it as "
                "several batches."
            )
        try:
            with files.disk_errors():
                self._file.write(data)
        except FilesError:
            self.discard()
            raise
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """For zipfile, which flushes after each member: nobody reads it before it is complete."""

    def finish(self, name: str) -> StoredUpload:
        """The upload, complete on the disk. Raises FilesError."""
        try:
            with files.disk_errors():
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
        except FilesError:
            self.discard()
            raise
        return StoredUpload(self.path, name[:200], self.size, self._digest.hexdigest())

    def discard(self) -> None:
        self._gone = True
        with contextlib.suppress(OSError):  # a full disk: the bytes still in its buffer go nowhere
            self._file.close()
        self.path.unlink(missing_ok=True)


def store_stream(pieces: Iterable[bytes], name: str, *, expected: int = 0) -> StoredUpload:
    """Stores what comes, piece by piece. expected: bytes announced. Raises TooLarge or FilesError, or what the pieces
    raise; then nothing is left of it.
    """
    incoming = _Incoming(expected=expected)
    try:
        for piece in pieces:
            incoming.write(piece)
        return incoming.finish(name)
    except BaseException:
        incoming.discard()
        raise


def store_body(request: HttpRequest, name: str) -> StoredUpload:
    """Stores the raw body of a request that nobody has read. Raises as `store_stream`; UnreadablePostError when it
    breaks off.
    """
    expected = length_of(request.META.get("CONTENT_LENGTH"))
    return store_stream(iter(lambda: request.read(PIECE), b""), name, expected=expected)


class ReceivedFile(UploadedFile[Any]):
    """What a form's FILES hold of a file that went straight to the disk: its name and size."""

    def __init__(self, name: str, size: int, content_type: str | None) -> None:
        super().__init__(None, name, content_type, size)

    def close(self) -> None:
        """There is nothing open."""


class UploadHandler(FileUploadHandler):
    """Writes the file of a form straight into `incoming`; several pictures become one zip file, stored as they are.

    It never raises: whoever looks into the form first, such as the check of its safety token, is not who should answer
    for the upload. `upload_of` does.
    """

    chunk_size = PIECE

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request)
        self._expected = length_of(request.META.get("CONTENT_LENGTH"))
        self._incoming: _Incoming | None = None
        self._zip: zipfile.ZipFile | None = None
        self._member: IO[bytes] | None = None
        self._left_out = False  # the file that is coming in
        self._names: Counter[str] = Counter()
        self._first = ""  # name of the first file
        self.stored: StoredUpload | None = None
        self.problem: AppError | None = None

    def new_file(self, *args: Any, **options: Any) -> None:
        super().new_file(*args, **options)
        self._left_out = self.file_name in LITTER
        if self._left_out:
            return
        if self._first and self._zip is None:
            one = f"{self._first} is no picture, so it must be the only file. Several files must be pictures."
            self._stop(InvalidInput(one, field=str(self.field_name)))
        self._first = self._first or str(self.file_name)
        with self._problems():
            if self._zip is not None or (
                self.field_name == MANY and not str(self.file_name).lower().endswith(NO_PICTURES)
            ):
                self._begin_member()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self._left_out:
            return
        with self._problems():
            if start == 0 and self._incoming is None and _begins_as_picture(raw_data):
                self._begin_member()
            if self._member is not None:
                # One byte over the limit is enough to show that it is over.
                self._member.write(raw_data[: max(0, settings.MAX_IMAGE_BYTES + 1 - start)])
            else:
                self._opened().write(raw_data)

    def file_complete(self, file_size: int) -> ReceivedFile | None:
        if self._left_out or self.problem:
            return None
        with self._problems():
            if self._member is not None:
                self._member.close()
                self._member = None
            else:
                self._opened()  # even when there was nothing in it
        return ReceivedFile(str(self.file_name), file_size, self.content_type)

    def upload_interrupted(self) -> None:
        self.problem = self.problem or InvalidInput("The upload broke off. Send it again.", field="file")

    def upload_complete(self) -> None:
        if self._incoming is None or self.problem:
            self.discard()
            return
        try:
            name = self._first
            if self._zip is not None:
                self._zip.close()
                count = self._names.total()
                name = f"{count:,} pictures.zip" if count > 1 else f"{self._first}.zip"
            self.stored = self._incoming.finish(name)
        except AppError as error:
            self.problem = error

    def discard(self) -> None:
        """Removes what no job has taken."""
        if self._incoming is None:
            return
        self._incoming.discard()
        if self._member is not None:
            self._member.close()
        if self._zip is not None:
            self._zip.close()

    def _opened(self) -> _Incoming:
        if self._incoming is None:
            self._incoming = _Incoming(expected=self._expected)
        return self._incoming

    def _begin_member(self) -> None:
        """Makes the file that is coming in a member of the zip."""
        if self._zip is None:
            # It cannot seek, so zipfile writes sizes behind the members, and the digest is right at once.
            self._zip = zipfile.ZipFile(cast("IO[bytes]", self._opened()), "w", zipfile.ZIP_STORED)
        name = str(self.file_name)
        self._names[name] += 1
        if (count := self._names[name]) > 1:
            stem, dot, suffix = name.rpartition(".")
            name = f"{stem} ({count}).{suffix}" if dot else f"{name} ({count})"
        self._member = self._zip.open(zipfile.ZipInfo(name), "w")

    @contextmanager
    def _problems(self) -> Iterator[None]:
        try:
            yield
        except AppError as error:
            self._stop(error)

    def _stop(self, error: AppError) -> None:
        """Takes no more of the form."""
        self.problem = error
        raise StopUpload(connection_reset=True)


def _begins_as_picture(data: bytes) -> bool:
    return data.startswith(PICTURE_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


@contextmanager
def receiving(request: HttpRequest) -> Iterator[None]:
    """While the request is answered: its form's files go to the disk, and are gone after it unless a job took them."""
    handler = UploadHandler(request)
    request.upload_handlers = [handler]
    request.batch_upload = handler  # type: ignore[attr-defined]  # ours
    try:
        yield
    finally:
        handler.discard()


def upload_of(request: HttpRequest) -> StoredUpload:
    """What the form of a request has brought, at an address where UploadMiddleware receives.

    Raises InvalidInput when there is no file, TooLarge, or FilesError.
    """
    _ = request.FILES  # reads the form, unless somebody has
    handler: UploadHandler = request.batch_upload  # type: ignore[attr-defined]  # ours
    if handler.problem is not None:
        raise handler.problem
    if handler.stored is None:
        raise InvalidInput("Choose a file: a table or list of questions, a zip of pictures, or pictures.", field="file")
    return handler.stored


def discard(upload: StoredUpload) -> None:
    """Removes an upload that no job wants. One that a job has taken stays."""
    upload.path.unlink(missing_ok=True)
