"""Looks over the lines of a file against what the collection holds: new, changed, unchanged, or refused and why.

A line is about the entry whose id it names. Without an id it is about the entry with its very question, else a new
one. Of an entry that is there, what the file says nothing of stays as it is.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.utils.crypto import get_random_string

from webapp.errors import InvalidInput
from webapp.faq import diffs
from webapp.faq.editing import NEW_ID, Content
from webapp.faq.imports.files import Staged
from webapp.faq.imports.reading import Line
from webapp.faq.models import Collection, Entry
from webapp.tables.texts import Seen, shown

PORTION = 500  # lines looked over at once
LONGEST_ID = 120  # characters
SHOWN = 500  # characters of a refused line's question


def compared(collection: Collection, lines: Iterable[Line], *, new_state: str) -> Iterator[Staged]:
    """What would become of each line, in their order. new_state: of new entries of which the file says none.

    Raises what the lines raise.
    """
    known = _KnownQuestions(collection)
    seen = Seen()
    found = iter(lines)
    while some := list(islice(found, PORTION)):
        named = [(line, *_name_of(line, known, seen)) for line in some]
        ids = [name for _, name, why in named if name and not why]
        there = {
            entry.external_id: entry
            for entry in Entry.objects.filter(collection=collection, external_id__in=ids).prefetch_related("phrasings")
        }
        for line, name, why in named:
            yield _refused(line, name, why) if why else _compared(line, name, there.get(name), new_state)


def _name_of(line: Line, known: "_KnownQuestions", seen: Seen) -> tuple[str, str]:
    """The id of the entry that a line is about, and why it is refused, if it is."""
    name = str(line.values.get("id", "")).strip()
    if line.error:
        return name, line.error
    if name:
        if len(name) > LONGEST_ID:
            return name, f"{line.place}: the id has {len(name):,} characters; at most {LONGEST_ID}."
        if not seen.add(name):
            return name, f"{line.place} has the id {name!r} of a line before it. Leave one of the two out."
        return name, ""
    question = str(line.values.get("question", "")).strip()
    if not question:
        return "", f"{line.place} has no question."
    if not seen.add(f"\0{question}"):
        return "", f"{line.place} has the question of a line before it. Leave one of the two out, or give both an id."
    ids = known.ids_of(question)
    if len(ids) > 1:
        return (
            "",
            f"{line.place}: {len(ids)} entries have this question. Give the line the id of one.",
        )
    name = ids[0] if ids else get_random_string(10, NEW_ID)
    if not seen.add(name):
        return name, f"{line.place} is about the entry {name!r}, as a line before it is. Leave one of the two out."
    return name, ""


def _compared(line: Line, name: str, entry: Entry | None, new_state: str) -> Staged:
    before = Content.of(entry) if entry else None
    base: dict[str, Any] = before.as_json() if before else {"question": "", "answer": "", "state": new_state}
    said = {key: value for key, value in line.values.items() if key not in {"id", "answer_id"}}
    if "state" in said:
        said["state"] = str(said["state"]).strip().casefold()
    answer_id = str(line.values.get("answer_id", "")).strip() or (entry.answer_id if entry else name)
    if len(answer_id) > LONGEST_ID:
        return _refused(line, name, f"{line.place}: the answer's id has more than {LONGEST_ID} characters.")
    try:
        wanted = Content.checked({**base, **said})
    except InvalidInput as error:
        why = " ".join(f"{line.place}, {key}: {sentence}" for key, sentence in error.fields.items())
        return _refused(line, name, why)
    if entry is None or before is None:
        return Staged(line.place, "new", name, answer_id, content=wanted.as_json())
    fields = diffs.changed_fields(before, wanted)
    if answer_id != entry.answer_id:
        fields.append("id of the answer")
    if not fields:
        return Staged(line.place, "unchanged", name, answer_id, entry.version, content={"question": wanted.question})
    return Staged(line.place, "changed", name, answer_id, entry.version, fields=fields, content=wanted.as_json())


def _refused(line: Line, name: str, why: str) -> Staged:
    question = shown(str(line.values.get("question", ""))[:SHOWN])
    return Staged(line.place, "refused", shown(name[:LONGEST_ID]), why=shown(why), content={"question": question})


class _KnownQuestions:
    """Which entries have a question; read when the first line without an id comes."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._ids: dict[int, list[str]] | None = None  # by the hash of the question: texts would take much more

    def ids_of(self, question: str) -> list[str]:
        if self._ids is None:
            self._ids = {}
            found = Entry.objects.filter(collection=self._collection).order_by("pk")
            for name, text in found.values_list("external_id", "question").iterator():
                self._ids.setdefault(hash(text), []).append(name)
        return self._ids.get(hash(question), [])
