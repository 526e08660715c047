"""What an editor has changed since the version that serves was trained, and which of that a visitor lacks yet.

A version keeps what it was trained on. Question and phrasings of an entry are known to the model by training alone;
answer, tags and state count at once, though the model has learnt the words of the answers and tags, too.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import msgspec
from django.core.cache import cache

from webapp.errors import StoreError
from webapp.faq.editing import Content
from webapp.faq.models import Collection, Entry, Publication, Revision
from webapp.registry.models import Version
from webapp.scoring import store

SHOWN = 8  # entries of each kind that are named
FEW = 2_000  # changed since; of more, all entries are compared
PORTION = 500  # entries read at once
KEPT = 24 * 3600.0  # seconds in the cache
# Who began to write before a snapshot and ended after it may have an older number in the history.
OVERLAP = timedelta(minutes=5)


@dataclass(frozen=True)
class Named:
    """An entry, to be shown. pk: None where it is gone."""

    question: str
    pk: int | None = None


@dataclass(frozen=True)
class Changes:
    """How many entries the serving version does not know, knows otherwise, or knows though they are gone.

    first: no version serves. worded: only answer or tags differ, which visitors see already. of_new and so on: some.
    unknown: the version says not what it was trained on.
    """

    new: int = 0
    changed: int = 0
    removed: int = 0
    worded: int = 0
    first: bool = False
    unknown: bool = False
    of_new: Sequence[Named] = field(default=())
    of_changed: Sequence[Named] = field(default=())
    of_removed: Sequence[Named] = field(default=())

    @property
    def count(self) -> int:
        """How many entries publishing would make a difference to."""
        return self.new + self.changed + self.removed

    def counts(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name in {"new", "changed", "removed", "worded"}}


@dataclass(frozen=True)
class _Known:
    """What a version was trained on: of each entry by id a digest of what it learnt it by, and one of the rest."""

    entries: Mapping[str, tuple[bytes, bytes]]
    questions: Mapping[str, str]
    unanswerable: Sequence[str]


def champion_of(collection: Collection) -> Version | None:
    """The version that serves the collection."""
    serving = Version.objects.filter(model__name=collection.model_name, role=Version.Role.CHAMPION)
    return serving.select_related("model").first()


def has_changes(collection: Collection) -> bool:
    """Whether anything was written since what serves was published from here. Quick; `changes_of` says what."""
    champion = champion_of(collection)
    published = publication_of(champion)
    revisions = Revision.objects.filter(collection=collection)
    if published is None or published.snapshot_at is None:
        return champion is None and Entry.objects.filter(collection=collection, state=Entry.State.LIVE).exists()
    return revisions.filter(at__gte=published.snapshot_at).exists()


def changes_of(collection: Collection) -> Changes:
    """Compares the entries with what the serving version was trained on. Remembered until something is written."""
    champion = champion_of(collection)
    newest = Revision.objects.filter(collection=collection).values_list("pk", flat=True).first() or 0
    key = f"faq-changes:{collection.pk}:{champion.pk if champion else 0}:{newest}"
    found: Changes | None = cache.get(key)
    if found is None:
        found = _compared(collection, champion)
        cache.set(key, found, KEPT)
    return found


def unanswerable_of(collection: Collection) -> Sequence[str]:
    """Questions that the serving version was told no entry answers: its next one is told so, too."""
    champion = champion_of(collection)
    known = _known_by(champion) if champion else None
    return known.unanswerable if known else ()


def _compared(collection: Collection, champion: Version | None) -> Changes:
    live = Entry.objects.filter(collection=collection, state=Entry.State.LIVE)
    if champion is None:
        return Changes(new=live.count(), first=True, of_new=_named(live.order_by("-changed_at")[:SHOWN]))
    known = _known_by(champion)
    if known is None:
        return Changes(unknown=True)
    touched = _touched(collection, champion)
    if touched is None:
        looked_at, gone = live, set(known.entries)
    else:
        looked_at, gone = live.filter(external_id__in=touched), set(known.entries) & touched
    new: list[Named] = []
    changed: list[Named] = []
    counts = {"new": 0, "changed": 0, "worded": 0}
    for entry in looked_at.prefetch_related("phrasings").order_by("pk").iterator(chunk_size=PORTION):
        gone.discard(entry.external_id)
        before, now = known.entries.get(entry.external_id), digests_of(Content.of(entry), entry.answer_id)
        if before == now:
            continue
        kind = "new" if before is None else "changed" if before[0] != now[0] else "worded"
        counts[kind] += 1
        some = {"new": new, "changed": changed}.get(kind)
        if some is not None and len(some) < SHOWN:
            some.append(Named(entry.question, entry.pk))
    return Changes(
        new=counts["new"],
        changed=counts["changed"],
        worded=counts["worded"],
        removed=len(gone),
        of_new=new,
        of_changed=changed,
        of_removed=[Named(known.questions[name]) for name in sorted(gone)[:SHOWN]],
    )


def _touched(collection: Collection, champion: Version) -> set[str] | None:
    """Ids of the entries written since the version's snapshot; None: too many, or it was not published from here."""
    published = publication_of(champion)
    if published is None or published.snapshot_at is None:
        return None
    since = Revision.objects.filter(collection=collection, at__gte=published.snapshot_at - OVERLAP)
    found = set(since.order_by().values_list("external_id", flat=True).distinct()[: FEW + 1])
    return found if len(found) <= FEW else None


def publication_of(version: Version | None) -> Publication | None:
    """The way the version came into service by; None where it came by another."""
    return Publication.objects.filter(version=version).first() if version else None


def digests_of(content: Content, answer_id: str) -> tuple[bytes, bytes]:
    """Of what a model learns the entry by, and of the rest."""
    learnt = (content.question, list(content.phrasings), list(content.test_phrasings))
    return _digest(learnt), _digest((content.answer, list(content.tags), answer_id))


def _digest(value: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(value), digest_size=12).digest()


def _known_by(version: Version) -> _Known | None:
    """None: its files say not, or not any more, what it was trained on."""
    data: Mapping[str, Any] = version.manifest.get("data") or {}
    files: Mapping[str, Mapping[str, Any]] = version.manifest.get("files") or {}
    name = str(data.get("file") or "")
    if name not in files:
        return None
    try:
        return _read(version.model.name, version.name, name, str(files[name].get("sha256")))
    except (StoreError, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None


@lru_cache(maxsize=8)
def _read(model: str, version: str, name: str, _digest_of_file: str) -> _Known:
    return _known_from(_lines(store.read_version_file(model, version, name)))


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.split(b"\n"):
        if line.strip():
            yield msgspec.json.decode(line, type=dict[str, Any])


def _known_from(lines: Iterable[dict[str, Any]]) -> _Known:
    entries, questions, unanswerable = {}, {}, []
    for line in lines:
        if "unanswerable" in line:
            unanswerable.append(str(line["unanswerable"]))
            continue
        content = Content(
            question=line["question"],
            answer=line.get("answer", ""),
            tags=tuple(line.get("tags", ())),
            phrasings=tuple(line.get("phrasings", ())),
            test_phrasings=tuple(line.get("test_phrasings", ())),
        )
        entries[line["id"]] = digests_of(content, line.get("answer_id") or line["id"])
        questions[line["id"]] = content.question[:300]
    return _Known(entries, questions, unanswerable)


def _named(entries: Iterable[Entry]) -> list[Named]:
    return [Named(entry.question, entry.pk) for entry in entries]
