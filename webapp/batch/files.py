"""Where the files of jobs lie, and how they are written and read.

    <BATCH_DIR>/incoming/<person>-<bytes>-<random>       an upload that no job has taken yet (uploads.py)
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
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePath
from typing import IO, Any, Protocol

import msgspec
import structlog
from django.conf import settings

from webapp.batch.models import Job
from webapp.batch.rows import InputRow, ResultRow
from webapp.errors import FilesError

log = structlog.get_logger(__name__)

INCOMING = "incoming"
LEFT_AFTER = 6 * 3600.0  # seconds; what is older and belongs to nobody was left behind


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


def created(path: Path) -> IO[bytes]:
    """The file, empty, which nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


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
            with created(partial) as file:
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
            with created(partial) as file:
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
        for path in inside(folder(job) / "results"):
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
    """Removes what has been left behind: broken uploads, half deletions, folders whose job is gone, and in those of
    jobs what was being written by a process that was killed. Raises OSError.
    """
    root = Path(settings.BATCH_DIR)
    if not root.is_dir():
        return
    before = time.time() - LEFT_AFTER
    jobs = {path.name: path for path in root.iterdir() if _is_id(path.name)}
    known = set(map(str, Job.objects.filter(pk__in=jobs).values_list("pk", flat=True))) if jobs else set()
    gone = (path for name, path in jobs.items() if name not in known)
    unfinished = chain.from_iterable(_unfinished(jobs[name]) for name in known)
    for path in chain(inside(root / INCOMING), gone, unfinished):
        if _modified(path) < before:
            log.info("batch_files_left_behind_removed", name=path.name)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _unfinished(folder: Path) -> Iterator[Path]:
    """What is still being written in the folder of a job, or was."""
    for path in inside(folder):
        if path.name.startswith("."):
            yield path
        elif path.is_dir():
            yield from (each for each in inside(path) if each.name.startswith("."))


def inside(path: Path) -> Iterator[Path]:
    """What lies in the folder; nothing where there is none."""
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
