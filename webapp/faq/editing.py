"""Every change to entries. Each makes a new version of the entry and appends it to the history, in one transaction.

Who changes an entry says which version they have seen: what somebody else has made of it meanwhile is never overwritten
unseen. What an entry's answer, tags and state say counts at once; the model knows its question and phrasings when it
has been trained with them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from django.utils.crypto import get_random_string

from webapp.accounts.models import User
from webapp.errors import Conflict, InvalidInput, PreconditionFailed
from webapp.faq.models import Collection, Entry, Phrasing, Revision

log = structlog.get_logger(__name__)

LONGEST_QUESTION, LONGEST_ANSWER, LONGEST_TAG = 10_000, 100_000, 60  # characters
MOST_TAGS, MOST_PHRASINGS = 30, 2_000
MOST_AT_ONCE = 10_000  # entries in one change of many
PORTION = 500  # of them in one statement
WRITTEN = ("answer_id", "question", "answer", "tags", "state", "version", "changed_at")
NEW_ID = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that reads like something else


class EditedMeanwhile(PreconditionFailed):
    """Somebody has changed the entry since it was read. `entry` is what it is now, None: it was deleted."""

    def __init__(self, detail: str, entry: Entry | None) -> None:
        super().__init__(detail)
        self.entry = entry


@dataclass(frozen=True, kw_only=True)
class Content:
    """What an entry says. answer: Markdown. phrasings: other ways to ask; test_phrasings are kept from training."""

    question: str
    answer: str
    tags: tuple[str, ...] = ()
    phrasings: tuple[str, ...] = ()
    test_phrasings: tuple[str, ...] = ()
    state: str = Entry.State.LIVE

    @classmethod
    def of(cls, entry: Entry) -> Self:
        phrasings = list(entry.phrasings.all())
        return cls(
            question=entry.question,
            answer=entry.answer,
            tags=tuple(entry.tags),
            phrasings=tuple(each.text for each in phrasings if not each.held_out),
            test_phrasings=tuple(each.text for each in phrasings if each.held_out),
            state=entry.state,
        )

    @classmethod
    def of_revision(cls, revision: Revision) -> Self:
        known = {name: revision.content[name] for name in _names(cls) if name in revision.content}
        texts: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in known.items()
        }
        return cls(**texts)

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """What somebody wants an entry to say: without blanks at the ends, each tag and phrasing once.

        Raises InvalidInput that names each field that will not do.
        """
        wanted = cls(
            question=str(values["question"]).strip(),
            answer=_lines(str(values["answer"])).strip(),
            tags=_each_once(values.get("tags", ())),
            phrasings=_each_once(values.get("phrasings", ())),
            test_phrasings=_each_once(values.get("test_phrasings", ())),
            state=str(values.get("state", Entry.State.LIVE)),
        )
        if wrong := dict(_hindrances(wanted)):
            raise InvalidInput("Some fields are not valid; `errors` says which.", fields=wrong)
        return wanted

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _names(kind: type[Content]) -> list[str]:
    return [field.name for field in fields(kind)]


def _lines(text: str) -> str:
    """With the line ends that we keep; forms send others."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _each_once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for each in texts if (text := _lines(str(each)).strip())))


def _hindrances(wanted: Content) -> Iterator[tuple[str, str]]:
    """What is wrong with it: field and sentence."""
    for name, most in (("question", LONGEST_QUESTION), ("answer", LONGEST_ANSWER)):
        text = getattr(wanted, name)
        if not text:
            yield name, f"Write the {name}."
        elif len(text) > most:
            yield name, f"At most {most:,} characters; these are {len(text):,}."
    if len(wanted.tags) > MOST_TAGS:
        yield "tags", f"At most {MOST_TAGS} tags; these are {len(wanted.tags)}."
    for tag in wanted.tags:
        if len(tag) > LONGEST_TAG or "," in tag or "\n" in tag:
            yield "tags", f"“{tag[:30]}”: a tag has at most {LONGEST_TAG} characters, and no comma."
    for name, texts in (("phrasings", wanted.phrasings), ("test_phrasings", wanted.test_phrasings)):
        if len(texts) > MOST_PHRASINGS:
            yield name, f"At most {MOST_PHRASINGS:,}; these are {len(texts):,}."
        if longest := max(map(len, texts), default=0) > LONGEST_QUESTION and max(map(len, texts)):
            yield name, f"At most {LONGEST_QUESTION:,} characters each; one has {longest:,}."
    if both := set(wanted.phrasings) & set(wanted.test_phrasings):
        yield "test_phrasings", f"“{min(both)[:80]}” is trained on, so it cannot test the model. Leave it out of one."
    everything = (wanted.question, wanted.answer, *wanted.tags, *wanted.phrasings, *wanted.test_phrasings)
    if any("\0" in text for text in everything):
        yield "question", "There is a character in it that is not text. Remove it."
    if wanted.state not in Entry.State.values:
        yield "state", f"One of {', '.join(Entry.State.values)}."


# One entry ------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create(
    collection: Collection, content: Content, *, by: User | None, external_id: str = "", answer_id: str = ""
) -> Entry:
    """A new entry. external_id: what pods and the API know it by; made up where it is empty.

    Raises InvalidInput when an entry of the collection has that id.
    """
    name = external_id or get_random_string(10, NEW_ID)
    taken = InvalidInput(f"There is an entry {name!r} already.", field="id")
    if Entry.objects.filter(collection=collection, external_id=name).exists():
        raise taken
    try:
        with transaction.atomic():
            return _make(collection, {name: (content, answer_id or name)}, Revision.Kind.CREATED, by)[0]
    except IntegrityError as error:  # somebody was quicker with that id
        raise taken from error


@transaction.atomic
def change(
    entry: Entry, content: Content, *, by: User | None, version: int | None, kind: Revision.Kind = Revision.Kind.CHANGED
) -> Entry:
    """The entry as it is then; the same version where nothing differs.

    version: which the person has seen, None for whichever there is. Raises EditedMeanwhile.
    """
    current = _seen(entry, version)
    if Content.of(current) == content:
        return current
    _write([current], [content], kind, by)
    return current


@transaction.atomic
def delete(entry: Entry, *, by: User | None, version: int | None) -> None:
    """Deletes the entry; its history stays, and can bring it back. Raises EditedMeanwhile."""
    _delete([_seen(entry, version)], by)


@transaction.atomic
def restore(revision: Revision, *, by: User | None) -> Entry:
    """Has the entry say again what it did then, as its newest version; one that was deleted comes back."""
    content = Content.of_revision(revision)
    entry = Entry.objects.filter(collection=revision.collection, external_id=revision.external_id).first()
    if entry is not None:
        return change(entry, content, by=by, version=None, kind=Revision.Kind.RESTORED)
    answer_id = str(revision.content.get("answer_id") or revision.external_id)
    return _make(revision.collection, {revision.external_id: (content, answer_id)}, Revision.Kind.RESTORED, by)[0]


def _seen(entry: Entry, version: int | None) -> Entry:
    """The entry as it is now, for this transaction alone. Raises EditedMeanwhile."""
    current = Entry.objects.select_for_update(of=("self",)).filter(pk=entry.pk).first()
    if current is None:
        raise EditedMeanwhile("Somebody has deleted this entry meanwhile.", None)
    if version is not None and current.version != version:
        raise EditedMeanwhile(
            f"Somebody has changed this entry meanwhile: it is at version {current.version}, and you have seen "
            f"version {version}.",
            current,
        )
    return current


# Many entries ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def change_many(entries: QuerySet[Entry], change: Callable[[Content], Content], *, by: User | None) -> int:
    """Changes what each of the entries says; returns how many it made a difference to. Raises Conflict for too many."""
    changed = 0
    for some in _portions(entries):
        wanted = [(entry, before, change(before)) for entry in some for before in [Content.of(entry)]]
        differing = [(entry, after) for entry, before, after in wanted if before != after]
        if differing:
            _write([entry for entry, _ in differing], [after for _, after in differing], Revision.Kind.CHANGED, by)
        changed += len(differing)
    return changed


def set_state(entries: QuerySet[Entry], state: Entry.State, *, by: User | None) -> int:
    """Publishes the entries, or makes them drafts; returns how many were not so before."""
    return change_many(entries, lambda content: replace(content, state=state), by=by)


def add_tag(entries: QuerySet[Entry], tag: str, *, by: User | None) -> int:
    """Gives the entries the tag; returns how many had it not. Raises InvalidInput."""
    tag = tag.strip()
    if not tag or len(tag) > LONGEST_TAG or "," in tag or "\n" in tag or "\0" in tag:
        raise InvalidInput(f"A tag has 1 to {LONGEST_TAG} characters, and no comma.", field="tag")
    return change_many(entries, lambda content: replace(content, tags=_each_once([*content.tags, tag])), by=by)


@transaction.atomic
def delete_many(entries: QuerySet[Entry], *, by: User | None) -> int:
    """Deletes the entries, and returns how many; each can be brought back. Raises Conflict for too many."""
    return sum(_delete(some, by) for some in _portions(entries))


def _portions(entries: QuerySet[Entry]) -> Iterator[list[Entry]]:
    """The entries as they are now, for this transaction alone, some at a time."""
    ids = list(entries.order_by("pk").values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
    if len(ids) > MOST_AT_ONCE:
        raise Conflict(f"At most {MOST_AT_ONCE:,} entries can be changed at once. Narrow the search.")
    for first in range(0, len(ids), PORTION):
        some = Entry.objects.select_for_update(of=("self",)).filter(pk__in=ids[first : first + PORTION])
        yield list(some.order_by("pk").prefetch_related("phrasings"))


@transaction.atomic
def replace_all(collection: Collection, wanted: Mapping[str, tuple[Content, str]], *, by: User | None = None) -> None:
    """Has the collection hold exactly these entries. wanted: by id, what an entry says and the id of its answer.

    An entry that stays keeps its primary key, and one that is as wanted its version.
    """
    found = Entry.objects.select_for_update(of=("self",)).filter(collection=collection).prefetch_related("phrasings")
    before = {entry.external_id: entry for entry in found}
    for some in _cut([entry for name, entry in before.items() if name not in wanted]):
        _delete(some, by)
    differing = [
        entry
        for name, entry in before.items()
        if name in wanted and (Content.of(entry), entry.answer_id) != wanted[name]
    ]
    for some in _cut(differing):
        for entry in some:
            entry.answer_id = wanted[entry.external_id][1]
        _write(some, [wanted[entry.external_id][0] for entry in some], Revision.Kind.IMPORTED, by)
    _make(collection, {name: each for name, each in wanted.items() if name not in before}, Revision.Kind.IMPORTED, by)


@transaction.atomic
def write_imported(
    collection: Collection,
    new: Mapping[str, tuple[Content, str]],
    changed: Mapping[str, tuple[Content, str, int]],
    *,
    by: User | None,
    act: int | None,
) -> None:
    """Makes and changes these entries, some hundred at once, as part of an import.

    new: by id, what an entry says and the id of its answer; changed: the same, and the version that was looked at.
    Raises Conflict, which names the entry, for one that is not as it was looked at.
    """
    if new:
        taken = Entry.objects.filter(collection=collection, external_id__in=new).values_list("external_id", flat=True)
        if there := taken.first():
            raise Conflict(f"Somebody has made the entry {there!r} meanwhile.")
        _make(collection, new, Revision.Kind.IMPORTED, by, act)
    if changed:
        found = Entry.objects.select_for_update(of=("self",)).filter(collection=collection, external_id__in=changed)
        entries = list(found.order_by("pk").prefetch_related("phrasings"))
        require_versions({name: version for name, (_, _, version) in changed.items()}, entries)
        for entry in entries:
            entry.answer_id = changed[entry.external_id][1]
        _write(entries, [changed[entry.external_id][0] for entry in entries], Revision.Kind.IMPORTED, by, act)


def require_versions(seen: Mapping[str, int], entries: Iterable[Entry]) -> None:
    """Raises Conflict, which names the entry, where one is at another version than was seen, or is not there."""
    now = {entry.external_id: entry.version for entry in entries}
    for name, version in seen.items():
        if name not in now:
            raise Conflict(f"Somebody has deleted the entry {name!r} meanwhile.")
        if now[name] != version:
            raise Conflict(f"Somebody has changed the entry {name!r} meanwhile.")


def _cut(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for first in range(0, len(entries), PORTION):
        yield entries[first : first + PORTION]


# Writing --------------------------------------------------------------------------------------------------------------


def _make(
    collection: Collection,
    wanted: Mapping[str, tuple[Content, str]],
    kind: Revision.Kind,
    by: User | None,
    act: int | None = None,
) -> list[Entry]:
    """New entries. One that was deleted goes on with its numbers when it comes back."""
    known = Revision.objects.filter(collection=collection)
    if len(wanted) <= PORTION:
        known = known.filter(external_id__in=wanted)
    last = dict(known.order_by().values_list("external_id").annotate(Max("version")))
    now = timezone.now()
    made = Entry.objects.bulk_create(
        Entry(
            collection=collection,
            external_id=name,
            answer_id=answer_id,
            question=content.question,
            answer=content.answer,
            tags=list(content.tags),
            state=content.state,
            version=last.get(name, 0) + 1,
            created_at=now,
            changed_at=now,
        )
        for name, (content, answer_id) in wanted.items()
    )
    contents = [wanted[entry.external_id][0] for entry in made]
    Phrasing.objects.bulk_create(
        each for entry, content in zip(made, contents, strict=True) for each in _phrasings(entry, content)
    )
    _note(made, contents, kind, by, act)
    return made


def _write(
    entries: Sequence[Entry],
    contents: Sequence[Content],
    kind: Revision.Kind,
    by: User | None,
    act: int | None = None,
) -> None:
    """Has each entry, as it is now, say the content beside it."""
    now = timezone.now()
    other_phrasings = []
    for entry, content in zip(entries, contents, strict=True):
        before = Content.of(entry)
        if (before.phrasings, before.test_phrasings) != (content.phrasings, content.test_phrasings):
            other_phrasings.append((entry, content))
        entry.question, entry.answer, entry.tags = content.question, content.answer, list(content.tags)
        entry.state, entry.version, entry.changed_at = content.state, entry.version + 1, now
    Entry.objects.bulk_update(entries, WRITTEN)
    if other_phrasings:
        Phrasing.objects.filter(entry__in=[entry for entry, _ in other_phrasings]).delete()
        Phrasing.objects.bulk_create(each for entry, content in other_phrasings for each in _phrasings(entry, content))
        for entry, _ in other_phrasings:
            getattr(entry, "_prefetched_objects_cache", {}).pop("phrasings", None)
    _note(entries, contents, kind, by, act)


def _delete(entries: Sequence[Entry], by: User | None) -> int:
    contents = [Content.of(entry) for entry in entries]
    for entry in entries:
        entry.version += 1
    _note(entries, contents, Revision.Kind.DELETED, by)
    Entry.objects.filter(pk__in=[entry.pk for entry in entries]).delete()
    return len(entries)


def _phrasings(entry: Entry, content: Content) -> list[Phrasing]:
    return [
        *(Phrasing(entry=entry, text=text) for text in content.phrasings),
        *(Phrasing(entry=entry, text=text, held_out=True) for text in content.test_phrasings),
    ]


def _note(
    entries: Sequence[Entry],
    contents: Sequence[Content],
    kind: Revision.Kind,
    by: User | None,
    act: int | None = None,
) -> None:
    """Appends the versions to the history. act: the import that they are part of."""
    now = timezone.now()
    Revision.objects.bulk_create(
        Revision(
            collection_id=entry.collection_id,
            external_id=entry.external_id,
            version=entry.version,
            kind=kind,
            at=now,
            actor=by.email if by else "",
            actor_id=by.pk if by else None,
            content={**content.as_json(), "answer_id": entry.answer_id},
            act=act,
        )
        for entry, content in zip(entries, contents, strict=True)
    )
