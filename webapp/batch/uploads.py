"""How uploads get to the disk while they arrive, without ever being in memory.

While one is on its way, its file's name says who sends it and how much is to come. So each process that shares the
folder knows of all of them, and one that is killed holds nothing back for longer than a minute.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from webapp.accounts.models import User
from webapp.batch import files
from webapp.batch.files import StoredUpload
from webapp.bodies import length_of
from webapp.errors import AppError, FilesError, InvalidInput, RateLimited, TooLarge

KEPT_FREE = 100_000_000  # bytes of the disk that uploads leave to everybody else
UPLOADS_AT_ONCE = 4  # of one person, in all processes together
SILENT_AFTER = 60.0  # seconds without a byte: nobody sends it any more
LOOK_EVERY = 64 * 2**20  # bytes between two looks at how much room the disk has
COME_BACK_AFTER = 15  # seconds
NAME = re.compile(r"(\d+)-(\d+)-[0-9a-f]{32}")  # of an upload: who sends it, and how many bytes were announced
PIECE = 2**18
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")  # WebP's begins RIFF????WEBP
MANY = "files"  # the field of a form for several pictures
NO_PICTURES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".xlsx", ".zip")
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what folders hold that nobody put there


@dataclass(frozen=True)
class Arriving:
    """An upload on its way. sender: id of the person, 0 where nobody is counted; expected: bytes announced; left: those
    of them that are not on the disk yet.
    """

    path: Path
    sender: int
    expected: int
    left: int


def arriving() -> list[Arriving]:
    """What is being uploaded right now, to this process and all others. Raises FilesError."""
    found = []
    silent = time.time() - SILENT_AFTER
    with files.disk_errors():
        for path in files.inside(_folder()):
            with contextlib.suppress(FileNotFoundError):  # it has arrived this moment
                if (name := NAME.fullmatch(path.name)) and (about := path.stat()).st_mtime > silent:
                    sender, expected = map(int, name.groups())
                    found.append(Arriving(path, sender, expected, max(0, expected - about.st_size)))
    return found


def bytes_arriving_from(user: User) -> int:
    """What the person's uploads that are on their way will have. Raises FilesError."""
    return sum(each.expected for each in arriving() if each.sender == user.pk)


def _folder() -> Path:
    return Path(settings.BATCH_DIR) / files.INCOMING


class _Incoming:
    """A file of `incoming` while it is written: counted, hashed, and refused above its limit."""

    def __init__(self, *, expected: int = 0, sender: int = 0) -> None:
        """expected: bytes that are to come; sender: as of `Arriving`. Raises RateLimited when that person sends too
        many at once, FilesError when there is no room beside what others send.
        """
        with files.disk_errors():
            _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = _folder() / f"{sender}-{expected}-{uuid.uuid4().hex}"
            self._file = files.created(self.path)
        self._digest = hashlib.sha256()
        self._gone = False
        self._looked_at = 0  # bytes that had come when there was still room
        self.size = 0
        try:
            self._require_room(expected, sender)
        except AppError:
            self.discard()
            raise

    def _require_room(self, expected: int, sender: int) -> None:
        # This one is there already: of two that begin at the same moment, each sees the other.
        others = [each for each in arriving() if each.path != self.path]
        if sender and sum(each.sender == sender for each in others) >= UPLOADS_AT_ONCE:
            raise RateLimited(
                f"You are sending {UPLOADS_AT_ONCE} uploads already, as many as one may at once. Send this one when "
                "one of them has arrived.",
                retry_after=COME_BACK_AFTER,
            )
        with files.disk_errors():
            left = _free() - expected
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left")
        if left < sum(each.left for each in others):
            raise FilesError(
                "The disk for batches has no room for this beside what is being uploaded right now. Send it again in a "
                "few minutes, or delete batches that you no longer need.",
                retry_after=COME_BACK_AFTER,
            )

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
                if self.size - self._looked_at >= LOOK_EVERY:
                    self._looked_at = self.size
                    if _free() < 0:
                        raise OSError(errno.ENOSPC, "No space left")
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


def _free() -> int:
    """Bytes of the disk that uploads may have; below 0 where they have taken of what is everybody's."""
    return shutil.disk_usage(_folder()).free - KEPT_FREE


def store_stream(pieces: Iterable[bytes], name: str, *, expected: int = 0, sender: int = 0) -> StoredUpload:
    """Stores what comes, piece by piece. expected, sender: as of `Arriving`. Raises RateLimited, TooLarge, FilesError,
    or what the pieces raise; then nothing is left of it.
    """
    incoming = _Incoming(expected=expected, sender=sender)
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
    pieces = iter(lambda: request.read(PIECE), b"")
    return store_stream(pieces, name, expected=expected, sender=_sender_of(request))


def sent_by(request: HttpRequest, user: User) -> None:
    """Says whose upload the request brings, where no session does."""
    request.batch_sender = user.pk  # type: ignore[attr-defined]  # ours


def _sender_of(request: HttpRequest) -> int:
    return getattr(request, "batch_sender", None) or request.user.pk or 0


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
        self._request = request
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
            self._incoming = _Incoming(expected=self._expected, sender=_sender_of(self._request))
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

    Raises InvalidInput when there is no file, RateLimited, TooLarge, or FilesError.
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
