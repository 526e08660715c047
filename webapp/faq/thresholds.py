"""From which probability on an entry is a good match: measured on the collection's own questions, set by its editors.

Each version keeps questions that were asked of a matcher which did not know them, and what it made of each: phrasings
were held out in training, some with their entry left out, so that none should be found; test phrasings were asked of
the version itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from django.utils.functional import cached_property

from webapp.accounts.models import User
from webapp.charts import Series
from webapp.errors import InvalidInput, StoreError
from webapp.faq.changes import champion_of
from webapp.faq.models import Collection, Entry
from webapp.registry.models import Version
from webapp.scoring import store

log = structlog.get_logger(__name__)

MOST = 0.98  # an exact match has 0.99 at least, and is always a good one
FILE = "asked.jsonl"
FEW = 30  # questions, below which the shares are no more than a hint
SHOWN = 8  # examples
LONGEST = 240  # characters of an example


class Asked(msgspec.Struct, frozen=True):
    """A question, the id of the entry that answers it (None: there is none), and what was first, how probable.

    hidden: the right entry had been left out, so that nothing should have been found.
    """

    question: str
    expected: str | None
    first: str
    probability: float
    hidden: bool = False

    @property
    def has_answer(self) -> bool:
        return self.expected is not None and not self.hidden

    @property
    def right(self) -> bool:
        return self.has_answer and self.first == self.expected


_READER = msgspec.json.Decoder(Asked)  # made now: msgspec must not study a type in several threads at once


@dataclass(frozen=True)
class Example:
    """A question that would be answered on one side of a change and not on the other. entry: the one found."""

    question: str
    entry: str
    probability: float
    right: bool
    hidden: bool
    unanswerable: bool


@dataclass(frozen=True)
class Figures:
    """What a threshold does. Shares from 0 to 1; None where there is nothing to measure them by.

    answered: of the questions that an entry answers, how many get an answer; right: of the answers given to those, how
    many are right; misled: of the questions that none answers, how many get an answer all the same.
    """

    threshold: float
    answered: float | None
    right: float | None
    misled: float | None


@dataclass(frozen=True)
class Measured:
    """The questions of a version, in the order of their probability."""

    asked: Sequence[Asked]

    @cached_property
    def answerable(self) -> list[Asked]:
        return [each for each in self.asked if each.has_answer]

    @cached_property
    def others(self) -> list[Asked]:
        return [each for each in self.asked if not each.has_answer]

    def figures(self, threshold: float) -> Figures:
        given = [each for each in self.answerable if each.probability >= threshold]
        return Figures(
            threshold,
            _share(len(given), len(self.answerable)),
            _share(sum(each.right for each in given), len(given)),
            _share(sum(each.probability >= threshold for each in self.others), len(self.others)),
        )

    def between(self, one: float, other: float) -> list[Asked]:
        """Those that one of two thresholds answers and the other does not."""
        low, high = sorted((one, other))
        return [each for each in self.asked if low <= each.probability < high]


class ThresholdPage:
    """What the page of a collection's threshold shows. tried: the one that the editor looks at."""

    def __init__(self, collection: Collection, tried: float | None) -> None:
        self.collection = collection
        self.version = champion_of(collection)
        self.tried = self.current if tried is None else tried

    @property
    def own(self) -> float | None:
        """What the serving version itself asks for."""
        parameters: Mapping[str, Any] = (self.version.manifest.get("parameters") or {}) if self.version else {}
        found = parameters.get("threshold")
        return float(found) if isinstance(found, float | int) else None

    @property
    def current(self) -> float:
        own = 0.5 if self.own is None else self.own
        return own if self.collection.threshold is None else self.collection.threshold

    @cached_property
    def measured(self) -> Measured | None:
        found = measured_of(self.version) if self.version else None
        return found if found and found.answerable else None

    @property
    def is_thin(self) -> bool:
        return self.measured is not None and len(self.measured.answerable) < FEW

    @property
    def now(self) -> Figures | None:
        return self.measured.figures(self.current) if self.measured else None

    @property
    def then(self) -> Figures | None:
        return self.measured.figures(self.tried) if self.measured else None

    @property
    def has_moved(self) -> bool:
        return abs(self.tried - self.current) >= 0.0005

    @cached_property
    def curve(self) -> list[Series]:
        """Both shares at every percent, and where the threshold is."""
        if self.measured is None:
            return []
        points = [self.measured.figures(step / 100) for step in range(99)]
        return [
            Series("Right, of those answered", [(each.threshold, each.right) for each in points]),
            Series("Answered, of those with an answer", [(each.threshold, each.answered) for each in points], "quiet"),
            Series("Threshold", [(self.tried, 0.0), (self.tried, 1.0)], "guide"),
        ]

    @cached_property
    def turned(self) -> list[Asked]:
        return self.measured.between(self.current, self.tried) if self.measured else []

    @property
    def examples(self) -> list[Example]:
        """Some of those that change sides, spread over all of them."""
        step = max(1.0, len(self.turned) / SHOWN)
        some = [self.turned[int(place * step)] for place in range(min(SHOWN, len(self.turned)))]
        ids = {each.first for each in some}
        names = dict(
            Entry.objects.filter(collection=self.collection, external_id__in=ids).values_list("external_id", "question")
        )
        return [
            Example(
                each.question[:LONGEST],
                names.get(each.first, each.first)[:LONGEST],
                each.probability,
                each.right,
                each.hidden,
                each.expected is None,
            )
            for each in some
        ]


def measured_of(version: Version) -> Measured | None:
    """None: the version keeps no such questions, or its files are away."""
    files: Mapping[str, Any] = version.manifest.get("files") or {}
    if FILE not in files:
        return None
    try:
        return _read(version.model.name, version.name, str(files[FILE].get("sha256")))
    except (StoreError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("threshold_data_unreadable", version=version.name, error=str(error))
        return None


@lru_cache(maxsize=16)
def _read(model: str, version: str, _digest: str) -> Measured:
    lines = store.read_version_file(model, version, FILE).split(b"\n")
    found = [_READER.decode(line) for line in lines if line.strip()]
    return Measured(sorted(found, key=lambda each: each.probability))


def set_threshold(collection: Collection, threshold: float | None, *, by: User) -> None:
    """From the next question on; None: as each version says. Raises InvalidInput."""
    if threshold is not None and not 0 <= threshold <= MOST:
        raise InvalidInput("A threshold is a number from 0 to 98 percent.", field="threshold")
    Collection.objects.filter(pk=collection.pk).update(threshold=threshold)
    log.info("faq_threshold_set", collection=collection.slug, threshold=threshold, by=by.email)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
