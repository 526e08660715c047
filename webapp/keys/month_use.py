"""What people and their keys have used in a calendar month, in UTC, kept in the database a second behind.

What limits the use counts elsewhere (counters.py); from here it learns what there was when it has lost its figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest
from django.utils import timezone

from webapp.counting import Accumulator
from webapp.keys.models import MonthUse

KEPT_MONTHS = 13  # this one included


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC. begins: its first day."""

    begins: date

    @property
    def ends_at(self) -> datetime:
        """The first moment of the next month."""
        after = (self.begins + timedelta(days=31)).replace(day=1)
        return datetime(after.year, after.month, 1, tzinfo=UTC)

    @property
    def seconds(self) -> int:
        return int((self.ends_at - datetime(self.begins.year, self.begins.month, 1, tzinfo=UTC)).total_seconds())

    @property
    def seconds_left(self) -> float:
        """Until it ends; 0 when it has."""
        return max(0.0, (self.ends_at - timezone.now()).total_seconds())

    def __str__(self) -> str:
        return f"{self.begins:%Y-%m}"


def month_of(moment: datetime | None = None) -> Month:
    """The month in which the moment lies; by default now."""
    return Month((moment or timezone.now()).astimezone(UTC).date().replace(day=1))


@dataclass(frozen=True)
class Use:
    """Requests that scored something, and rows: questions and pictures. Below zero: given back."""

    requests: int = 0
    rows: int = 0

    def __add__(self, other: "Use") -> "Use":
        return Use(self.requests + other.requests, self.rows + other.rows)

    def __neg__(self) -> "Use":
        return Use(-self.requests, -self.rows)


@dataclass
class Counts:
    """Use that adds up until it is written."""

    requests: int = 0
    rows: int = 0

    def add(self, other: "Counts") -> None:
        self.requests += other.requests
        self.rows += other.rows


@dataclass(frozen=True)
class Subject:
    """Whose use it is: a person's or, with a key, that key's alone."""

    month: Month
    user_id: int
    key_id: int | None = None


@dataclass(frozen=True)
class Account:
    """Where use is counted: for the person in the month and, if they came with one, for their key as well."""

    month: Month
    user_id: int
    key_id: int | None

    @property
    def subjects(self) -> dict[str, Subject]:
        """By "key" and "user"."""
        user = {"user": Subject(self.month, self.user_id)}
        return user if self.key_id is None else {"key": Subject(self.month, self.user_id, self.key_id), **user}

    def add(self, use: Use) -> None:
        """Costs some microseconds."""
        if use != Use():
            for subject in self.subjects.values():
                _accumulator.add(subject, Counts(use.requests, use.rows))

    def write(self, use: Use) -> None:
        """Adds it to the figures in the database, in the caller's transaction."""
        if use != Use():
            _write({subject: Counts(use.requests, use.rows) for subject in self.subjects.values()})

    def used(self) -> dict[str, Use]:
        """What was used until now, by "key" and "user", as far as is known here. Asks the database."""
        with _accumulator.waiting(*self.subjects.values()) as waiting:
            rows = MonthUse.objects.filter(month=self.month.begins, user=self.user_id)
            rows = rows.filter(Q(key=None) | Q(key=self.key_id))
            known = {row.key_id: Counts(row.requests, row.rows) for row in rows}
        for subject, parts in waiting.items():
            for part in parts:
                known.setdefault(subject.key_id, Counts()).add(part)
        found = {who: known.get(subject.key_id, Counts()) for who, subject in self.subjects.items()}
        return {who: Use(max(0, counts.requests), max(0, counts.rows)) for who, counts in found.items()}


def prune() -> None:
    """Deletes what is older than a year."""
    oldest = month_of(timezone.now() - timedelta(days=31 * (KEPT_MONTHS - 1)))
    MonthUse.objects.filter(month__lt=oldest.begins).delete()


@transaction.atomic
def _write(waiting: Mapping[Subject, Counts]) -> None:
    subjects = sorted(waiting, key=_order)  # in one order everywhere: two processes never wait for each other
    for subject in subjects:
        if not _update(subject, waiting[subject]):
            MonthUse.objects.bulk_create([_row(subject)], ignore_conflicts=True)  # another process may be first
            _update(subject, waiting[subject])


def _order(subject: Subject) -> tuple[date, int, int]:
    return subject.month.begins, subject.user_id, subject.key_id or 0


def _row(subject: Subject) -> MonthUse:
    return MonthUse(month=subject.month.begins, user_id=subject.user_id, key_id=subject.key_id)


def _update(subject: Subject, counts: Counts) -> int:
    rows = MonthUse.objects.filter(month=subject.month.begins, user=subject.user_id, key=subject.key_id)
    return rows.update(requests=Greatest(F("requests") + counts.requests, 0), rows=Greatest(F("rows") + counts.rows, 0))


_accumulator = Accumulator("month_use", _write)
undisturbed = _accumulator.waiting  # without subjects: inside, nothing is written, and nobody else asks what was used
write = _accumulator.write
write_in_background = _accumulator.write_in_background
forget = _accumulator.forget
