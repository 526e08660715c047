"""Inputs with known answers, one set a model, by which the gate measures its versions.

    <store>/<model>/evaluation.jsonl  of a FAQ matcher: lines {"question": "…", "faq_id": "js-12"}, null: no entry fits
    <store>/<model>/evaluation.zip    of an image classifier: pictures, and labels.csv with the columns file, label_id

A set is read as a stream and checked whole before it replaces another; what is wrong is said with its row.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import transaction
from PIL import Image, UnidentifiedImageError

from webapp import queues
from webapp.errors import InvalidInput
from webapp.registry.models import Event, ScoringModel
from webapp.registry.services import Who, locked, record_event
from webapp.registry.zips import Damaged, unzipping
from webapp.scoring import store
from webapp.scoring.store import StoreUnavailable

log = structlog.get_logger(__name__)

Row = TypeVar("Row")

FILES = {ScoringModel.Kind.FAQ.value: "evaluation.jsonl", ScoringModel.Kind.IMAGE.value: "evaluation.zip"}
FIELD = "evaluation"

MAX_BYTES = 2 * 10**9  # of the file
MAX_QUESTIONS = 50_000
MAX_PICTURES = 20_000
MAX_CHARACTERS = 10_000  # of a question; pods read no longer ones
MAX_LINE = 2**18  # bytes, however the characters are escaped
MAX_LABELS = 16 * 2**20  # bytes of labels.csv
MAX_MEMBERS = 100_000  # of the zip
LABELS = "labels.csv"
LONGEST_LABEL = 1000  # characters, and of a file's name
PICTURES = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SHOWN_PROBLEMS = 5
READ_AT_ONCE = 20_000_000  # bytes; a larger set takes seconds to read
SENT_AGAIN_AFTER = 600.0  # seconds

NO_TEXT = re.compile("[\\0\ud800-\udfff]")  # what JSON may say, but no database keep and no pod be sent


@dataclass(frozen=True, slots=True)
class Case:
    """One input and its known answer. name: for people: the question, or the picture's name in the zip.

    expected: the id of the FAQ entry or label that answers it; None where no entry does.
    """

    name: str
    content: str | bytes
    expected: str | None


class QuestionSet:
    """Questions in JSON lines. `count` inputs, of which `answerable` have an entry that answers them."""

    def __init__(self, file: BufferedReader) -> None:
        """Reads it once. Raises InvalidInput that names the first rows that are wrong."""
        self._file = file
        cases = _without_problems(self._rows(), MAX_QUESTIONS)
        self.count = self.answerable = 0
        for case in cases:
            self.count += 1
            self.answerable += case.expected is not None
        if not self.answerable:
            raise _bad("It has no question with the id of an entry: at least one line needs a faq_id that is not null.")

    def digest(self) -> str:
        """The file's SHA-256."""
        return _digest_of(self._file)

    def cases(self) -> Iterator[Case]:
        yield from (each for each in self._rows() if isinstance(each, Case))

    def _rows(self) -> Iterator[Case | str]:
        """Each line as a case, or as a sentence that says what is wrong with it."""
        self._file.seek(0)
        number = 0
        while line := self._file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                yield f"Line {number} is longer than {MAX_LINE:,} bytes."
                return
            if line.strip() and line != b"\xef\xbb\xbf\n":
                yield _question_of(number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)


def _question_of(number: int, line: bytes) -> Case | str:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        return f"Line {number} is not JSON: {error.msg} at character {error.pos + 1}."
    except (UnicodeDecodeError, RecursionError):
        return f"Line {number} is not JSON in UTF-8."
    if not isinstance(row, dict):
        return f'Line {number} must be an object such as {{"question": "…", "faq_id": "js-12"}}.'
    question, faq_id = row.get("question"), row.get("faq_id", ...)
    if not isinstance(question, str) or not question.strip():
        return f"Line {number}: question must be a text that is not empty."
    if len(question) > MAX_CHARACTERS:
        return f"Line {number}: question has {len(question):,} characters, at most {MAX_CHARACTERS:,} are read."
    if faq_id is not None and not (isinstance(faq_id, str) and faq_id):
        return f"Line {number}: faq_id must be the id of an entry, or null where no entry answers the question."
    if NO_TEXT.search(question + (faq_id or "")):
        return f"Line {number} holds a NUL character, or half of a surrogate pair."
    return Case(question, question, faq_id)


@dataclass(frozen=True, slots=True)
class _Label:
    row: int  # in labels.csv
    file: str
    label_id: str


class PictureSet:
    """Pictures in a zip. `count` inputs, all of them `answerable`."""

    def __init__(self, file: BufferedReader) -> None:
        """Reads labels.csv, no picture yet. Raises InvalidInput that names the first rows that are wrong."""
        self._file = file
        try:
            with unzipping():
                self._zip = zipfile.ZipFile(file)
        except Damaged as error:
            raise _bad(f"It is not a zip file, or it is damaged: {error}.") from error
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise _bad(f"It holds {len(members):,} files, at most {MAX_MEMBERS:,} are read.")
        found = [member.filename for member in members if member.filename.split("/")[-1] == LABELS]
        found = [name for name in found if name.count("/") < 2 and not name.startswith("__MACOSX")]
        if len(found) != 1:
            raise _bad(f"It must hold one {LABELS}, beside the pictures or above their folders; found {len(found)}.")
        folder = found[0].removesuffix(LABELS)  # a zip of a folder holds it below the folder's name
        self._members = {member.filename.removeprefix(folder): member for member in members}
        self._labels = list(_without_problems(self._label_rows(), MAX_PICTURES))
        self.count = self.answerable = len(self._labels)
        if not self._labels:
            raise _bad(f"{LABELS} has no row: it must name at least one picture.")

    def digest(self) -> str:
        """The file's SHA-256."""
        return _digest_of(self._file)

    def cases(self) -> Iterator[Case]:
        """The pictures one after another. Raises InvalidInput at one that cannot be read."""
        for label in self._labels:
            yield Case(label.file, self.picture(label.file, f"{LABELS}, row {label.row}: "), label.label_id)

    def problems(self) -> Iterator[str]:
        """What is wrong with the pictures: each is read whole, and its head as a picture."""
        for label in self._labels:
            try:
                _check_picture(label, self.picture(label.file, f"{LABELS}, row {label.row}: "))
            except InvalidInput as error:
                yield error.detail

    def picture(self, file: str, where: str = "") -> bytes:
        """The picture's bytes. Raises InvalidInput that begins with `where`."""
        if file not in self._members:
            raise _bad(f"{where}there is no file {file!r} in the zip.")
        try:
            with unzipping(), self._zip.open(self._members[file]) as member:
                data = member.read(settings.MAX_IMAGE_BYTES + 1)
        except Damaged as error:
            raise _bad(f"{where}{file!r} cannot be unpacked: {error}.") from error
        if len(data) > settings.MAX_IMAGE_BYTES:
            raise _bad(f"{where}{file!r} is larger than {settings.MAX_IMAGE_BYTES // 10**6} MB, the most that is read.")
        return data

    def _label_rows(self) -> Iterator[_Label | str]:
        """Each row of labels.csv, or a sentence that says what is wrong with it."""
        try:
            with unzipping(), self._zip.open(self._members[LABELS]) as member:
                text = member.read(MAX_LABELS + 1)
            if len(text) > MAX_LABELS:
                raise _bad(f"{LABELS} is larger than {MAX_LABELS // 2**20} MB.")
            rows = csv.DictReader(io.StringIO(text.decode("utf-8-sig"), newline=""))
            header = [name.strip() for name in rows.fieldnames or ()]
            if not {"file", "label_id"} <= set(header):
                raise _bad(f"{LABELS} must begin with the line file,label_id; it begins with {','.join(header)!r}.")
            rows.fieldnames = header
            seen: dict[str, int] = {}
            for row in rows:
                file, label_id = ((row.get(name) or "").strip() for name in ("file", "label_id"))
                where = f"{LABELS}, row {rows.line_num}"
                if not file or not label_id:
                    yield f"{where}: {'label_id' if file else 'file'} is empty."
                elif len(file) > LONGEST_LABEL or len(label_id) > LONGEST_LABEL:
                    which = "file" if len(file) > LONGEST_LABEL else "label_id"
                    yield f"{where}: {which} has more than {LONGEST_LABEL:,} characters."
                elif NO_TEXT.search(label_id):
                    yield f"{where}: label_id holds a NUL character."
                elif file not in self._members:
                    yield f"{where}: there is no file {file!r} in the zip."
                elif file in seen:
                    yield f"{where}: {file!r} already stands in row {seen[file]}."
                else:
                    seen[file] = rows.line_num
                    yield _Label(rows.line_num, file, label_id)
        except (Damaged, UnicodeDecodeError, csv.Error) as error:
            raise _bad(f"{LABELS} cannot be read as CSV in UTF-8: {error}.") from error


def _check_picture(label: _Label, data: bytes) -> None:
    """Raises InvalidInput for what no pod would take for a picture. Reads its head only."""
    try:
        with Image.open(io.BytesIO(data), formats=PICTURES):
            pass
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise _bad(
            f"{LABELS}, row {label.row}: {label.file!r} is no JPEG, PNG, WebP, GIF or BMP picture we can read."
        ) from error


EvaluationSet = QuestionSet | PictureSet


@contextmanager
def opened(path: Path, kind: str) -> Iterator[EvaluationSet]:
    """The set in the file, which stays the same one while it is replaced. Raises OSError, or InvalidInput."""
    with path.open("rb") as file:
        yield QuestionSet(file) if kind == ScoringModel.Kind.FAQ else PictureSet(file)


def replace(model: ScoringModel, path: Path, *, by: Who) -> int:
    """Makes the file at `path` the model's evaluation set, and returns how many inputs it has.

    Raises InvalidInput, with the rows that are wrong; then the set before stays.
    """
    name = FILES.get(model.kind)
    if name is None:
        raise _bad(f"{model.label} takes generic tensors; evaluation sets are for FAQ matchers and image classifiers.")
    if path.stat().st_size > MAX_BYTES:
        raise _bad(f"It is larger than {MAX_BYTES // 10**9} GB. Take a sample of the inputs.")
    target = store.model_file(model.name, name)
    try:
        with _copied(path, target) as copy:
            count, digest = _checked(copy, model.kind), _digest(copy)
            with transaction.atomic():
                _note(model, name, digest, count, by=by)
                # Last, so that a row that cannot be written leaves the file as it was; `adopt` mends the reverse.
                copy.replace(target)
    except OSError as error:
        raise StoreUnavailable(f"The evaluation set cannot be stored: {error.strerror or error}.") from error
    return count


def adopt(model: ScoringModel) -> None:
    """Has the set noted that lies in the store, when it is not the one that is known. Quick: a large one is read by a
    task of its own.

    A file that is no evaluation set is left alone, with a line in the log. Raises OSError when it cannot be read.
    """
    found = _found(model)
    if found is None or cache.get(found.key):
        return
    if found.size <= READ_AT_ONCE:
        take_up(model)
    elif cache.add(f"{found.key}:sent", True, SENT_AGAIN_AFTER):
        queues.send("registry.take_up_evaluation_set", model.pk, queue="batch", expires=SENT_AGAIN_AFTER)


def take_up(model: ScoringModel) -> None:
    """The same at once, however long it takes."""
    found = _found(model)
    if found is None or cache.get(found.key):
        return
    digest = _digest(found.path)
    if digest != model.evaluation_digest:
        try:
            count = _checked(found.path, model.kind)
        except InvalidInput as error:
            log.warning("evaluation_set_unusable", model=model.name, file=found.path.name, reason=error.detail)
        else:
            with transaction.atomic():
                _note(model, found.path.name, digest, count, by=None)
    cache.set(found.key, True, timeout=None)


@dataclass(frozen=True)
class _Found:
    """The file that lies in the store. key: of the cache, which knows the files that have been looked at."""

    path: Path
    size: int
    key: str


def _found(model: ScoringModel) -> _Found | None:
    name = FILES.get(model.kind)
    if name is None:
        return None
    path = store.model_file(model.name, name)
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    key = f"evaluation-set:{model.pk}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"
    return _Found(path, about.st_size, key)


def picture(model: ScoringModel, file: str) -> bytes | None:
    """One picture of the model's set; None when there is no such picture, or no such set, any more."""
    path = store.model_file(model.name, FILES[ScoringModel.Kind.IMAGE])
    try:
        with path.open("rb") as source:
            return PictureSet(source).picture(file)
    except (OSError, InvalidInput):
        return None


@contextmanager
def _copied(path: Path, target: Path) -> Iterator[Path]:
    """A copy beside the target, complete on disk; it goes again unless it was moved meanwhile."""
    target.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".evaluation-", dir=target.parent)
    copy = Path(name)
    try:
        with path.open("rb") as source, os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(source, file, 2**20)
            file.flush()
            os.fsync(file.fileno())
        copy.chmod(0o644)  # whoever trains a version there may measure it too
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _checked(path: Path, kind: str) -> int:
    """How many inputs the set has, after all of it was read. Raises InvalidInput."""
    with opened(path, kind) as found:
        if isinstance(found, PictureSet):
            _raise_first(found.problems())
        return found.count


def _note(model: ScoringModel, name: str, digest: str, count: int, *, by: Who) -> None:
    """Writes the set into the model's row, with an event; does nothing when it is there already."""
    row = locked(model)
    if (row.evaluation_file, row.evaluation_digest) != (name, digest):
        row.evaluation_file, row.evaluation_digest, row.evaluation_count = name, digest, count
        row.save(update_fields=["evaluation_file", "evaluation_digest", "evaluation_count"])
        record_event(row, Event.Kind.EVALUATION_SET, by=by, details={"file": name, "inputs": count, "digest": digest})
    model.evaluation_file, model.evaluation_digest, model.evaluation_count = name, digest, count


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return _digest_of(file)


def _digest_of(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _without_problems(rows: Iterator[Row | str], most: int) -> Iterator[Row]:
    """The rows, without the sentences among them.

    Raises InvalidInput at the end when there were some, with the first of them, and as soon as there are too many rows.
    """
    problems: list[str] = []
    good = 0
    for row in rows:
        if isinstance(row, str):
            problems.append(row)
            if len(problems) == SHOWN_PROBLEMS:
                break
        else:
            good += 1
            if good > most:
                raise _bad(f"It has more than {most:,} inputs. Take a sample of them.")
            yield row
    if problems:
        raise _bad(" ".join(problems))


def _raise_first(problems: Iterator[str]) -> None:
    if found := list(islice(problems, SHOWN_PROBLEMS)):
        raise _bad(" ".join(found))


def _bad(detail: str) -> InvalidInput:
    return InvalidInput(detail, field=FIELD)
