"""A collection as it comes in: JSON lines of entries, known duplicates and unanswerable questions, checked by line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from scoring_service.contract import studied
from scoring_service.faq import text

Text = Annotated[str, Meta(min_length=1, max_length=text.MAX_CHARACTERS)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


@studied
class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An original question with its answer.

    phrasings: other ways in which people ask it; test_phrasings: held out, to measure by, never trained on.
    answer_id: by default the entry's own id.
    """

    id: Name
    question: Text
    answer_id: str = ""
    answer: str = ""
    tags: tuple[str, ...] = ()
    phrasings: tuple[Text, ...] = ()
    test_phrasings: tuple[Text, ...] = ()


@studied
class _Line(Struct, kw_only=True):
    """Any of the three kinds of line."""

    id: Name | UnsetType = UNSET
    answer_id: str = ""
    question: Text | UnsetType = UNSET
    answer: str = ""
    tags: tuple[str, ...] = ()
    phrasings: tuple[Text, ...] = ()
    test_phrasings: tuple[Text, ...] = ()
    duplicate_of: Name | UnsetType = UNSET
    unanswerable: Text | UnsetType = UNSET


@studied
class Collection(Struct, frozen=True):
    """entries: at least one, ids unique; unanswerable: questions that none of them answers."""

    entries: tuple[Entry, ...]
    unanswerable: tuple[str, ...] = ()


class BadEntries(ValueError):
    """A file that cannot be trained on; names the file, the line and what is wrong there."""


def read_collection(paths: Iterable[Path]) -> Collection:
    """All lines of the files, in their order; a known duplicate becomes a phrasing of its entry.

    Raises BadEntries at the first line that makes no sense, and when there is no entry at all.
    """
    entries: dict[str, Entry] = {}
    places: dict[str, str] = {}
    duplicates: list[tuple[str, str, str]] = []
    unanswerable: list[str] = []
    for path in paths:
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            parsed = _parsed(line, place)
            if parsed.unanswerable is not UNSET:
                unanswerable.append(parsed.unanswerable)
            elif parsed.duplicate_of is not UNSET and parsed.question is not UNSET:
                duplicates.append((parsed.duplicate_of, parsed.question, place))
            elif parsed.id is not UNSET and parsed.question is not UNSET:
                if parsed.id in entries:
                    raise BadEntries(f"{place}: the id {parsed.id!r} is taken already, by {places[parsed.id]}")
                entries[parsed.id] = _entry(parsed, parsed.id, parsed.question)
                places[parsed.id] = place
            else:
                raise BadEntries(
                    f"{place}: an entry needs `id` and `question`, a known duplicate `question` and `duplicate_of`, "
                    "a question without answer `unanswerable`"
                )
    for identity, question, place in duplicates:
        if identity not in entries:
            raise BadEntries(f"{place}: there is no entry {identity!r}")
        entry = entries[identity]
        entries[identity] = msgspec.structs.replace(entry, phrasings=(*entry.phrasings, question))
    if not entries:
        raise BadEntries(f"there is no entry in {', '.join(map(str, paths)) or 'no file'}")
    return Collection(tuple(entries.values()), tuple(unanswerable))


def lines_of(collection: Collection) -> bytes:
    """The collection as JSON lines, from which `read_collection` makes the same one."""
    lines: list[object] = [*collection.entries, *({"unanswerable": each} for each in collection.unanswerable)]
    return msgspec.json.Encoder().encode_lines(lines)


def _parsed(line: bytes, place: str) -> _Line:
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadEntries(f"{place}: {error}") from error
    questions = [*parsed.phrasings, *parsed.test_phrasings]
    questions += [each for each in (parsed.question, parsed.unanswerable) if each is not UNSET]
    for each in questions:
        if not text.is_question(each):
            raise BadEntries(f"{place}: no letter, digit or pictogram in {each!r}")
    return parsed


def _entry(line: _Line, identity: str, question: str) -> Entry:
    return Entry(
        id=identity,
        question=question,
        answer_id=line.answer_id or identity,
        answer=line.answer,
        tags=line.tags,
        phrasings=line.phrasings,
        test_phrasings=line.test_phrasings,
    )
