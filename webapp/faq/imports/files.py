"""Where the files of an import lie: the upload, and what a check found out about each of its lines.

    <BATCH_DIR>/faq-imports/<folder>/upload          the file as it came
    <BATCH_DIR>/faq-imports/<folder>/progress        how far the worker is; touched, it says that the worker lives
    <BATCH_DIR>/faq-imports/<folder>/<check>/lines   one check: a JSON object for each line
    <BATCH_DIR>/faq-imports/<folder>/<check>/all, new, changed, unchanged, refused   where in it those lines begin

Web and workers share the folder. A check writes under a name of its own, so one that is cut short leaves nothing that
anybody takes for the whole.
"""

import shutil
import time
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec
from django.conf import settings

from webapp.errors import FilesError, TooLarge
from webapp.faq.editing import Content
from webapp.faq.models import Import

OUTCOMES = ("new", "changed", "unchanged", "refused")
ALL = "all"
OFFSET = 8  # bytes in an index


class Staged(msgspec.Struct, omit_defaults=True):
    """A line, and what would become of it.

    place: where it stands, such as "Line 3". version: of the entry that was looked at. why: of a refused one. fields:
    those that differ, in words, of a changed one. content: as Content; of refused ones only the question.
    """

    place: str
    outcome: str
    id: str = ""
    answer_id: str = ""
    version: int = 0
    why: str = ""
    fields: list[str] = []
    content: dict[str, Any] = {}

    @property
    def wanted(self) -> Content:
        lists = {name: tuple(value) for name, value in self.content.items() if isinstance(value, list)}
        return Content(**{**self.content, **lists})


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(Staged)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Around whatever reads or writes here: raises FilesError that says what is wrong."""
    try:
        yield
    except FileNotFoundError as error:
        raise FilesError("The lines of this import are no longer kept. Upload the file again to see them.") from error
    except OSError as error:
        raise FilesError(
            f"The folder of imports cannot be used: {error.strerror or error}. Tell the people who run this site."
        ) from error


def root() -> Path:
    return Path(settings.BATCH_DIR) / "faq-imports"


def folder(which: Import) -> Path:
    return root() / str(which.folder)


def upload_of(which: Import) -> Path:
    return folder(which) / "upload"


def store(which: Import, pieces: Iterable[bytes]) -> int:
    """Writes the upload; its size. Raises TooLarge or FilesError, and then leaves nothing."""
    size = 0
    try:
        with disk_errors():
            folder(which).mkdir(mode=0o700, parents=True, exist_ok=True)
            with upload_of(which).open("wb") as file:
                for piece in pieces:
                    size += len(piece)
                    if size > settings.FAQ_IMPORT_BYTES:
                        raise TooLarge(
                            f"The file has more than {settings.FAQ_IMPORT_BYTES:,} bytes, the most that is taken. Send "
                            "it as several."
                        )
                    file.write(piece)
    except (TooLarge, FilesError):
        delete(which)
        raise
    return size


def delete(which: Import) -> None:
    shutil.rmtree(folder(which), ignore_errors=True)


def keep_only(which: Import, check: uuid.UUID | None) -> None:
    """Removes what other checks have written."""
    with suppress(OSError):
        for path in folder(which).iterdir():
            if path.is_dir() and path.name != str(check):
                shutil.rmtree(path, ignore_errors=True)


def tidy(known: Iterable[uuid.UUID], *, older: float) -> None:
    """Removes the folders of no import that nobody has touched for so many seconds. Raises OSError."""
    if not root().is_dir():
        return
    names = set(map(str, known))
    for path in root().iterdir():
        with suppress(FileNotFoundError):
            if path.name not in names and path.stat().st_mtime < time.time() - older:
                shutil.rmtree(path, ignore_errors=True)


# Progress -------------------------------------------------------------------------------------------------------------


def note_progress(which: Import, done: int) -> None:
    """Says how many lines are done, and that whoever does them lives. The database has no room for it meanwhile: an
    import is one transaction, and what it writes nobody sees before its end.
    """
    with suppress(OSError):
        (folder(which) / "progress").write_text(str(done))


def progress_of(which: Import) -> int:
    try:
        return int((folder(which) / "progress").read_text() or 0)
    except (OSError, ValueError):
        return 0


def heard_of(which: Import) -> float:
    """When its worker was last heard of, in seconds since 1970; 0: never."""
    try:
        return (folder(which) / "progress").stat().st_mtime
    except OSError:
        return 0.0


# Checked lines --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes what a check finds out; on the disk when it is left without an error."""

    def __init__(self, which: Import, check: uuid.UUID) -> None:
        self._folder = folder(which) / str(check)
        self._at = 0
        self._begins = {name: array("Q") for name in (ALL, *OUTCOMES)}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = (self._folder / "lines").open("wb")
        return self

    def add(self, line: Staged) -> None:
        assert self._file is not None
        data = ENCODER.encode(line) + b"\n"
        for name in (ALL, line.outcome):
            self._begins[name].append(self._at)
        self._at += len(data)
        self._file.write(data)

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(self._begins[name]) for name in OUTCOMES}

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()
        if kind is None:
            for name, begins in self._begins.items():
                (self._folder / name).write_bytes(begins.tobytes())


def lines_of(which: Import) -> Iterator[Staged]:
    """All lines, as they stand in the file. Raises FilesError."""
    with disk_errors(), (folder(which) / str(which.checked) / "lines").open("rb") as file:
        for line in file:
            yield DECODER.decode(line)


def some_lines(which: Import, outcome: str, first: int, most: int) -> list[Staged]:
    """The lines of an outcome, or ALL, from the one with that number, counted from 0. Raises FilesError."""
    place = folder(which) / str(which.checked)
    begins = array("Q")
    with disk_errors():
        with (place / outcome).open("rb") as index:
            index.seek(first * OFFSET)
            begins.frombytes(index.read(most * OFFSET))
        with (place / "lines").open("rb") as file:
            return [_line_at(file, at) for at in begins]


def _line_at(file: IO[bytes], at: int) -> Staged:
    file.seek(at)
    return DECODER.decode(file.readline())


def portions(lines: Iterable[Staged], size: int) -> Iterator[Sequence[Staged]]:
    found = iter(lines)
    while some := list(islice(found, size)):
        yield some
