"""Where the files of jobs lie, and how an upload gets there without ever being in memory.

    <BATCH_DIR>/incoming/<random>                        an upload that no job has taken yet
    <BATCH_DIR>/<job>/upload                             the file as it came
    <BATCH_DIR>/<job>/rows/<chunk>.jsonl.gz              its input, as checked
    <BATCH_DIR>/<job>/results/<chunk>-<token>.jsonl.gz   what one worker made of a chunk; Chunk.result says which counts
    <BATCH_DIR>/<job>/thumbnails/<row>.jpg               of the first pictures
    <BATCH_DIR>/<job>/results.xlsx, errors.xlsx          made when somebody asks for them

Web and workers share the folder, and nobody else reads it. What a killed process leaves there, `tidy` finds.
"""

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import time
import uuid
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, Protocol, cast

import msgspec
import structlog
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

from webapp.batch.models import Job
from webapp.batch.rows import InputRow, ResultRow
from webapp.bodies import length_of
from webapp.errors import AppError, FilesError, InvalidInput, TooLarge

log = structlog.get_logger(__name__)

INCOMING = "incoming"
LEFT_AFTER = 6 * 3600.0  # seconds; what is older and belongs to nobody was left behind
KEPT_FREE = 100_000_000  # bytes of the disk that uploads leave to everybody else
PIECE = 2**18
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")  # WebP's begins RIFF????WEBP
MANY = "files"  # the field of a form for several pictures
NO_PICTURES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".xlsx", ".zip")
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what folders hold that nobody put there


@dataclass(frozen=True)
class StoredUpload:
    """An upload on the disk that no job has taken yet. name: as its sender called it; digest: SHA-256, in hex."""

    path: Path
    name: str
    size: int
    digest: str


# Paths ----------------------------------------------------------------------------------------------------------------


def folder(job: Job) -> Path:
    return Path(settings.BATCH_DIR) / str(job.pk)


def upload_of_job(job: Job) -> Path:
    """The file as it came. A job that repeats rows of pictures has a copy or link of the first one's."""
    return folder(job) / "upload"


def thumbnail(job: Job, row: int) -> Path:
    return folder(job) / "thumbnails" / f"{row}.jpg"


def _rows_file(job: Job, number: int) -> Path:
    return folder(job) / "rows" / f"{number}.jsonl.gz"


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around whatever reads or writes here: raises FilesError that says what is wrong and what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise FilesError("A file of this batch is missing. It may have been deleted meanwhile.") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise FilesError(
                "The disk for batches is full. Delete batches that you no longer need, or tell the people who run this "
                "site."
            ) from error
        raise FilesError(f"The folder of batches cannot be used: {error.strerror or error}.") from error


# Receiving ------------------------------------------------------------------------------------------------------------


class _Incoming:
    """A file of `incoming` while it is written: counted, hashed, and refused above its limit."""

    def __init__(self, *, expected: int = 0) -> None:
        """expected: bytes that are to come. Raises FilesError when there is no room for them."""
        where = Path(settings.BATCH_DIR) / INCOMING
        with disk_errors():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(where).free < expected + KEPT_FREE:
                raise OSError(errno.ENOSPC, "No space left")
            self.path = where / uuid.uuid4().hex
            self._file = _created(self.path)
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
            with disk_errors():
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
            with disk_errors():
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


def _created(path: Path) -> IO[bytes]:
    """The file, empty, which nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


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


# A job's files --------------------------------------------------------------------------------------------------------


def adopt(job: Job, upload: StoredUpload) -> None:
    """Moves the upload into the job's folder. Raises FilesError."""
    with disk_errors():
        folder(job).mkdir(mode=0o700, parents=True, exist_ok=True)
        upload.path.rename(upload_of_job(job))


def lend_upload(job: Job, original: Job) -> None:
    """Gives the job the upload of another one, which may then be deleted. Raises FilesError."""
    target = upload_of_job(job)
    with disk_errors():
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(upload_of_job(original))
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}:
                raise
            shutil.copyfile(upload_of_job(original), target)  # a file system without links


def write_rows(job: Job, number: int, rows: Sequence[InputRow]) -> Path:
    """Writes the input of a chunk; `sync` later makes sure of many of them. Raises FilesError.

    What stands there before stays whole until it is replaced: a worker that was thought dead, and writes the same
    again, may be killed in the middle of it.
    """
    path = _rows_file(job, number)
    partial = path.with_name(f".{number}-{uuid.uuid4().hex}")
    try:
        with disk_errors():
            if number == 0:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _created(partial) as file:
                file.write(_packed(rows))
            partial.rename(path)
    except FilesError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return path


def sync(path: Path) -> None:
    """Waits until the file is on the disk. Raises FilesError."""
    with disk_errors(), path.open("rb") as file:
        os.fsync(file.fileno())


def read_rows(job: Job, number: int) -> list[InputRow]:
    """The input of a chunk. Raises FilesError."""
    return _unpacked(_rows_file(job, number), INPUT)


def write_result(job: Job, number: int, token: object, rows: Sequence[ResultRow]) -> str:
    """Writes what became of a chunk under the token of whoever worked on it; the file's name, for Chunk.result.

    It is complete on the disk, or not there. Raises FilesError.
    """
    name = f"{number}-{token}.jsonl.gz"
    path = folder(job) / "results" / name
    partial = path.with_name(f".{name}")
    try:
        with disk_errors():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with _created(partial) as file:
                file.write(_packed(rows))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
    except FilesError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return name


def read_result(job: Job, name: str) -> list[ResultRow]:
    """What became of one chunk. name: its Chunk.result. Raises FilesError."""
    return _unpacked(folder(job) / "results" / name, RESULT)


def discard_result(job: Job, name: str) -> None:
    """Removes what somebody made of a chunk that others have committed."""
    (folder(job) / "results" / name).unlink(missing_ok=True)


def has_result(job: Job, name: str) -> bool:
    """Whether the file of a chunk's results is there. Raises FilesError when nobody can tell."""
    with disk_errors():
        return bool(name) and (folder(job) / "results" / name).is_file()


def keep_results(job: Job, names: Collection[str]) -> None:
    """Removes all results but these: what workers made that came late, or were killed. Raises FilesError."""
    with disk_errors():
        for path in _inside(folder(job) / "results"):
            if path.name not in names:
                path.unlink(missing_ok=True)


class Done(Protocol):
    """A chunk whose result counts: models.Chunk, or what knows as much."""

    @property
    def result(self) -> str: ...


def results_of(job: Job, chunks: Iterable[Done]) -> Iterator[ResultRow]:
    """The rows of these chunks, one chunk in memory at a time. Raises FilesError."""
    for chunk in chunks:
        yield from read_result(job, chunk.result)


def delete(job: Job) -> None:
    """Deletes all files of the job; whoever reads one just then reads on. Nothing happens when they are gone."""
    path = folder(job)
    doomed = Path(settings.BATCH_DIR) / INCOMING / f"deleted-{uuid.uuid4().hex}"
    with disk_errors():
        doomed.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)  # what stays, `tidy` finds


def tidy() -> None:
    """Removes what has been left behind: broken uploads, half deletions, folders whose job is gone. Raises OSError."""
    root = Path(settings.BATCH_DIR)
    if not root.is_dir():
        return
    before = time.time() - LEFT_AFTER
    old = [path for path in (*root.iterdir(), *_inside(root / INCOMING)) if _modified(path) < before]
    ids = {path.name for path in old if path.parent == root and path.is_dir() and _is_id(path.name)}
    known = set(map(str, Job.objects.filter(pk__in=ids).values_list("pk", flat=True))) if ids else set()
    for path in old:
        if path.parent.name == INCOMING or path.name in ids - known:
            log.info("batch_files_left_behind_removed", name=path.name)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _inside(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from path.iterdir()


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # somebody else tidies
        return time.time()


def _is_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


# Rows as bytes --------------------------------------------------------------------------------------------------------

ENCODER = msgspec.json.Encoder()
INPUT = msgspec.json.Decoder(InputRow)
RESULT = msgspec.json.Decoder(ResultRow)


def _packed(rows: Sequence[InputRow] | Sequence[ResultRow]) -> bytes:
    return gzip.compress(ENCODER.encode_lines(rows), compresslevel=1, mtime=0)


def _unpacked(path: Path, decoder: Any) -> list[Any]:
    with disk_errors():
        packed = path.read_bytes()
    try:
        rows: list[Any] = decoder.decode_lines(gzip.decompress(packed))
    except (EOFError, zlib.error, gzip.BadGzipFile, msgspec.DecodeError) as error:
        raise FilesError(f"A file of this batch is damaged: {PurePath(path).name}.") from error
    return rows
