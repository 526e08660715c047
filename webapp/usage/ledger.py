"""Who asked how much of what, by day: for each person and key, and for those who look after the site.

`note` is on the way of every answer and only counts (webapp/counting.py); the rest reads what was written.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp import metrics
from webapp.accounts.models import User
from webapp.counting import Accumulator, add_latencies, inserts
from webapp.keys.models import ApiKey
from webapp.keys.principal import Principal, Visitor
from webapp.usage.latencies import bucket_of, quantile
from webapp.usage.models import Use

KEPT_FOR = timedelta(days=750)
MERGED_AT_ONCE = 2_000  # rows
SUBJECT = ("day", "user_id", "key_id", "source", "model", "version")
COUNTED = ("requests", "rows", "errors", "latency")


# Counting -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """What is counted apart."""

    day: date
    user_id: int | None
    key_id: int | None
    source: str
    model: str
    version: str


@dataclass
class Counts:
    """Requests, the rows in them, those without an answer, and the rows by the bucket of their latency."""

    requests: int = 0
    rows: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)

    def add(self, other: "Counts") -> None:
        self.add_row(other.requests, other.rows, other.errors, other.latency)

    def add_row(self, requests: int, rows: int, errors: int, latency: Mapping[int, int] | Mapping[str, int]) -> None:
        """Adds a row of the database."""
        self.requests += requests
        self.rows += rows
        self.errors += errors
        add_latencies(self.latency, latency)

    @property
    def error_rate(self) -> float:
        """Of the rows, 0 to 1."""
        return self.errors / self.rows if self.rows else 0.0

    @property
    def p50_ms(self) -> float | None:
        return quantile(self.latency, 0.50)

    @property
    def p95_ms(self) -> float | None:
        return quantile(self.latency, 0.95)


def _row_of(subject: Subject, counts: Counts, *, merged: bool = False) -> Use:
    return Use(
        **{name: getattr(subject, name) for name in SUBJECT},
        **{name: getattr(counts, name) for name in COUNTED},
        merged=merged,
    )


_accumulator = Accumulator("use", inserts(_row_of))
write_in_background = _accumulator.write_in_background
write = _accumulator.write
forget = _accumulator.forget


def note(
    who: Principal | Visitor,
    *,
    source: str,
    model: str,
    version: str,
    requests: int = 1,
    rows: int = 1,
    errors: int = 0,
    ms: float | None = None,
) -> None:
    """Counts what was asked; of visitors as that of nobody. Costs some microseconds.

    version: "" where none has answered. requests: 0 for a further row of a request that was counted. errors: of the
    rows. ms: how long a row took, seen from the site; None where nobody waited for it.
    """
    user_id, key_id = (who.user.pk, who.key.pk if who.key else None) if isinstance(who, Principal) else (None, None)
    note_for(
        user_id,
        key_id,
        source=source,
        model=model,
        version=version,
        counts=Counts(requests, rows, errors, {} if ms is None else {bucket_of(ms): rows}),
    )


def note_for(user_id: int | None, key_id: int | None, *, source: str, model: str, version: str, counts: Counts) -> None:
    """The same where nobody is there to ask: for the owner of a batch."""
    metrics.rows.labels(source, model, "failed").inc(counts.errors)
    metrics.rows.labels(source, model, "ok").inc(counts.rows - counts.errors)
    today = datetime.fromtimestamp(time.time(), UTC).date()
    _accumulator.add(Subject(today, user_id, key_id, source, model, version), counts)


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """Which use is asked for: from `since` to `until`, both days among them; of one person, or None for all.

    key: by its public prefix. Empty texts leave nothing out.
    """

    user: User | None
    since: date
    until: date
    key: str = ""
    model: str = ""
    version: str = ""
    source: str = ""

    def use(self) -> QuerySet[Use]:
        rows = Use.objects.filter(day__gte=self.since, day__lte=self.until)
        if self.user is not None:
            rows = rows.filter(user=self.user)
        wanted = {"key__prefix": self.key, "model": self.model, "version": self.version, "source": self.source}
        return rows.filter(**{name: value for name, value in wanted.items() if value})

    @property
    def days(self) -> list[date]:
        return [self.since + timedelta(days=number) for number in range((self.until - self.since).days + 1)]


@dataclass(frozen=True)
class Line:
    """The use of one group. names: what each of the parts that it was grouped by is; "" where there is none."""

    names: tuple[str, ...]
    counts: Counts


# What use can be grouped by: the columns that make a group, and how it is called.
Naming = Callable[[Mapping[str, Any]], str]
PARTS: dict[str, tuple[tuple[str, ...], Naming]] = {
    "day": (("day",), lambda row: row["day"].isoformat()),
    "user": (("user__email",), lambda row: row["user__email"] or ""),
    "key": (("key__prefix",), lambda row: row["key__prefix"] or ""),
    "source": (("source",), lambda row: row["source"]),
    "model": (("model",), lambda row: row["model"]),
    "version": (("model", "version"), lambda row: row["version"]),
}


def total(wanted: Wanted) -> Counts:
    """All of it together."""
    sums = Counts()
    for row in wanted.use().values_list(*COUNTED).iterator():
        sums.add_row(*row)
    return sums


def by_day(wanted: Wanted) -> list[tuple[date, Counts]]:
    """The use of each day, also of those without any."""
    days = {day: Counts() for day in wanted.days}
    for day, *row in wanted.use().values_list("day", *COUNTED).iterator():
        days[day].add_row(*row)
    return list(days.items())


def lines(wanted: Wanted, parts: Sequence[str]) -> list[Line]:
    """The use by one or several of PARTS: in the order of the names where days are among them, else most rows first."""
    columns = tuple(dict.fromkeys(column for part in parts for column in PARTS[part][0]))
    groups: dict[tuple[str, ...], Counts] = {}
    for row in wanted.use().values(*columns, *COUNTED).iterator():
        names = tuple(PARTS[part][1](row) for part in parts)
        groups.setdefault(names, Counts()).add_row(*(row[name] for name in COUNTED))
    found = [Line(names, counts) for names, counts in groups.items()]
    if "day" in parts:
        return sorted(found, key=lambda line: line.names)
    return sorted(found, key=lambda line: (-line.counts.rows, line.names))


@dataclass(frozen=True)
class Choices:
    """What there is to choose from among the use of a while: keys by prefix and name, models, their versions."""

    keys: Sequence[tuple[str, str]]
    models: Sequence[str]
    versions: Sequence[str]


def choices(wanted: Wanted) -> Choices:
    """Whatever was used in the while, by the person or by all; the other wishes leave nothing out."""
    everything = Wanted(wanted.user, wanted.since, wanted.until).use()
    used_keys = everything.exclude(key=None).values("key").distinct()
    keys = ApiKey.objects.filter(pk__in=used_keys).order_by("name").values_list("prefix", "name")
    models = everything.values_list("model", flat=True).distinct().order_by("model")
    of_model = everything.filter(model=wanted.model) if wanted.model else everything
    versions = of_model.exclude(version="").values_list("version", flat=True).distinct()
    return Choices(list(keys), list(models), sorted(versions, key=_natural))


def _natural(name: str) -> tuple[int, str]:
    """Puts version 10 behind version 9."""
    return (int(name), name) if name.isdecimal() else (0, name)


# Keeping it small -----------------------------------------------------------------------------------------------------


def prune() -> None:
    """Deletes what is too old to keep."""
    Use.objects.filter(day__lt=timezone.now().date() - KEPT_FOR).delete()


def merge() -> None:
    """Makes one row of each subject's rows. May run any number of times, also twice at once."""
    while _merge_some() == MERGED_AT_ONCE:
        pass


def _merge_some() -> int:
    """Merges the oldest rows that are still single, with what was merged of the same before; returns how many."""
    with transaction.atomic():
        single = Use.objects.filter(merged=False).order_by("pk").select_for_update(skip_locked=True)[:MERGED_AT_ONCE]
        fresh = list(single.values_list("pk", *SUBJECT, *COUNTED))
        if not fresh:
            return 0
        sums: dict[Subject, Counts] = {}
        for _, subject, counted in map(_parted, fresh):
            sums.setdefault(subject, Counts()).add_row(*counted)
        known = [row for row in _merged_before(sums) if row[1] in sums]
        for _, subject, counted in known:
            sums[subject].add_row(*counted)
        Use.objects.bulk_create(_row_of(subject, counts, merged=True) for subject, counts in sums.items())
        Use.objects.filter(pk__in=[row[0] for row in fresh]).delete()
        Use.objects.filter(pk__in=[row[0] for row in known]).delete()
    return len(fresh)


def _merged_before(sums: Mapping[Subject, Counts]) -> Iterator[tuple[int, Subject, tuple[Any, ...]]]:
    """The merged rows of these subjects' days and people. One that another process holds stays for the next time."""
    people = {subject.user_id for subject in sums}
    of_people = Q(user__in=people - {None}) | (Q(user=None) if None in people else Q(pk__in=[]))
    rows = Use.objects.filter(of_people, merged=True, day__in={subject.day for subject in sums})
    yield from map(_parted, rows.select_for_update(skip_locked=True).values_list("pk", *SUBJECT, *COUNTED))


def _parted(row: Sequence[Any]) -> tuple[int, Subject, tuple[Any, ...]]:
    pk, *rest = row
    return pk, Subject(*rest[: len(SUBJECT)]), tuple(rest[len(SUBJECT) :])
