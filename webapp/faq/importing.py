"""FAQ entries from JSON Lines files into a collection.

One entry a line: {"id", "answer_id", "question", "answer" (Markdown), "tags", "phrasings", "test_phrasings"}. A line
{"unanswerable": …} holds a question no entry answers; it is for training and evaluation and is skipped here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from webapp.faq import editing
from webapp.faq.editing import Content
from webapp.faq.models import Collection

Text = Annotated[str, msgspec.Meta(min_length=1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]


class BadEntries(Exception):
    """A file cannot be loaded. The message says file, line and reason."""


class EntryLine(msgspec.Struct, frozen=True):
    """One line of a file, as it was written."""

    id: Id
    answer_id: Id
    question: Text
    answer: Text
    tags: list[Text] = []
    phrasings: list[Text] = []
    test_phrasings: list[Text] = []


def read_entries(paths: Sequence[Path]) -> list[EntryLine]:
    """The entries of all files, in order. Raises BadEntries at the first line that is wrong or repeats an id."""
    entries: list[EntryLine] = []
    seen: dict[str, str] = {}
    for path in paths:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            where = f"{path.name}, line {number}"
            if not line.strip():
                continue
            try:
                content: Any = msgspec.json.decode(line)
                if isinstance(content, dict) and "unanswerable" in content:
                    continue
                entry = msgspec.convert(content, EntryLine)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BadEntries(f"{where}: {error}") from error
            if entry.id in seen:
                raise BadEntries(f"{where}: the id {entry.id!r} was already used in {seen[entry.id]}")
            seen[entry.id] = where
            entries.append(entry)
    return entries


def digest_of(paths: Sequence[Path]) -> str:
    """SHA-256 over names and contents of the files, in hex."""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def replace_entries(collection: Collection, lines: Iterable[EntryLine]) -> None:
    """Makes the collection hold exactly these entries, live. An entry that stays keeps its primary key."""
    editing.replace_all(collection, {line.id: (_content(line), line.answer_id) for line in lines})


def _content(line: EntryLine) -> Content:
    return Content(
        question=line.question,
        answer=line.answer,
        tags=tuple(line.tags),
        # The same phrasing twice in a line is one phrasing; a held-out one stays held out.
        phrasings=tuple(dict.fromkeys(text for text in line.phrasings if text not in line.test_phrasings)),
        test_phrasings=tuple(dict.fromkeys(line.test_phrasings)),
    )
