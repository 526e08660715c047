"""How each version does: requests, errors, latency, confidence, and what people say of its answers.

`note` is on the way of every answer and only counts (counting.py); the rest reads what was written.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from webapp.counting import Accumulator, add_latencies, inserts
from webapp.usage.latencies import bucket_of, quantile
from webapp.usage.models import Feedback, Traffic

MERGED_AFTER = timedelta(minutes=2)
KEPT_FOR = timedelta(days=30)
MERGED_AT_ONCE = 2_000  # rows
COUNTED = ("requests", "errors", "latency", "confidence_sum", "confidence_count")  # of a row


# Counting -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subject:
    """What is counted apart: each version, pinned or not, in each second (since 1970)."""

    second: int
    model: str
    version: str
    pinned: bool


@dataclass
class Counts:
    """How the requests of one subject went. latency: requests by bucket."""

    requests: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    confidence_sum: float = 0.0
    confidence_count: int = 0

    def add(self, other: "Counts") -> None:
        self.add_row(other.requests, other.errors, other.latency, other.confidence_sum, other.confidence_count)

    def add_row(
        self,
        requests: int,
        errors: int,
        latency: Mapping[int, int] | Mapping[str, int],
        confidence_sum: float,
        confidence_count: int,
    ) -> None:
        """Adds a row of the database."""
        self.requests += requests
        self.errors += errors
        add_latencies(self.latency, latency)
        self.confidence_sum += confidence_sum
        self.confidence_count += confidence_count


def _row_of(subject: Subject, counts: Counts, seconds: int = Traffic.SECOND) -> Traffic:
    return Traffic(
        at=datetime.fromtimestamp(subject.second, UTC),
        seconds=seconds,
        model=subject.model,
        version=subject.version,
        pinned=subject.pinned,
        requests=counts.requests,
        errors=counts.errors,
        latency=counts.latency,
        confidence_sum=counts.confidence_sum,
        confidence_count=counts.confidence_count,
    )


_accumulator = Accumulator("traffic", inserts(_row_of))
write_in_background = _accumulator.write_in_background
write = _accumulator.write
forget = _accumulator.forget


def note(
    *,
    model: str,
    version: str,
    ms: float,
    failed: bool = False,
    confidence: float | None = None,
    pinned: bool = False,
) -> None:
    """Counts one request to a version. ms: how long the pod took, seen from here. Costs some microseconds.

    version: "" where no pod said which it was. failed: the pod could not answer, though the input was fine.
    confidence: the highest probability in the answer. pinned: the caller named the version.
    """
    counts = Counts(1, int(failed), {bucket_of(ms): 1})
    if confidence is not None and math.isfinite(confidence):
        counts.confidence_sum, counts.confidence_count = confidence, 1
    _accumulator.add(Subject(int(time.time()), model, version, pinned), counts)


# Reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Totals:
    """What a version did in a while. Latencies in milliseconds; what was never measured is None.

    right, wrong: how many answers people called so. latency: requests by bucket (latencies.py).
    """

    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    mean_confidence: float | None
    right: int
    wrong: int
    latency: Mapping[int, int] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """0 to 1; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Point:
    """The same for one step of a series, which begins at `at`."""

    at: datetime
    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0


def totals(
    model: str,
    version: str | None = None,
    *,
    since: datetime,
    until: datetime | None = None,
    include_pinned: bool = False,
) -> Totals:
    """What one version of a model did, or all of them, and what people said of it; about a second behind.

    A second or, when it is long ago, a minute that lies partly before `since` counts wholly.
    """
    rows = _between(since, until, model, version, include_pinned)
    sums = Counts()
    for row in rows.values_list(*COUNTED).iterator():
        sums.add_row(*row)
    verdicts = Feedback.objects.filter(model=model, at__gte=since)
    if version is not None:
        verdicts = verdicts.filter(version=version)
    if until is not None:
        verdicts = verdicts.filter(at__lt=until)
    said = verdicts.aggregate(all=Count("pk"), right_ones=Count("pk", filter=Q(right=True)))
    return Totals(
        requests=sums.requests,
        errors=sums.errors,
        p50_ms=quantile(sums.latency, 0.50),
        p95_ms=quantile(sums.latency, 0.95),
        mean_confidence=sums.confidence_sum / sums.confidence_count if sums.confidence_count else None,
        right=said["right_ones"],
        wrong=said["all"] - said["right_ones"],
        latency=sums.latency,
    )


def series(
    model: str | None = None,
    version: str | None = None,
    *,
    since: datetime,
    step_seconds: int,
    until: datetime | None = None,
    include_pinned: bool = True,
) -> list[Point]:
    """The course of one version, one model or all of them: a point for each step, also where nothing was asked.

    Steps begin at multiples of `step_seconds` since 1970, the first at or before `since`; the last holds `until` (by
    default now). What is some minutes old is known by the minute.
    """
    until = until or timezone.now()
    first, last = (int(moment.timestamp()) // step_seconds for moment in (since, until))
    steps = {number: Counts() for number in range(first, last + 1)}
    began = datetime.fromtimestamp(first * step_seconds, UTC)
    for at, *row in _between(began, until, model, version, include_pinned).values_list("at", *COUNTED).iterator():
        if step := steps.get(int(at.timestamp()) // step_seconds):
            step.add_row(*row)
    return [
        Point(
            at=datetime.fromtimestamp(number * step_seconds, UTC),
            requests=step.requests,
            errors=step.errors,
            p50_ms=quantile(step.latency, 0.50),
            p95_ms=quantile(step.latency, 0.95),
        )
        for number, step in steps.items()
    ]


def _between(
    since: datetime, until: datetime | None, model: str | None, version: str | None, include_pinned: bool
) -> QuerySet[Traffic]:
    second, minute = (
        Q(seconds=each, at__gt=since - timedelta(seconds=each)) for each in (Traffic.SECOND, Traffic.MINUTE)
    )
    # The last condition alone bounds the index scan.
    rows = Traffic.objects.filter(second | minute, at__gt=since - timedelta(seconds=Traffic.MINUTE))
    if until is not None:
        rows = rows.filter(at__lt=until)
    if model is not None:
        rows = rows.filter(model=model)
    if version is not None:
        rows = rows.filter(version=version)
    return rows if include_pinned else rows.filter(pinned=False)


# Keeping it small -----------------------------------------------------------------------------------------------------


def prune_and_merge() -> None:
    """Deletes what is too old to keep, and merges. May run any number of times, also twice at once."""
    Traffic.objects.filter(at__lt=timezone.now() - KEPT_FOR).delete()
    merge()


def merge() -> None:
    """Makes minutes of the seconds that are some minutes old; where there are none it costs one look-up."""
    until = (timezone.now() - MERGED_AFTER).replace(second=0, microsecond=0)
    old = Traffic.objects.filter(seconds=Traffic.SECOND, at__lt=until)
    while old.exists():
        if not _merge_some(old):
            return  # another process has the rest in hand


def _merge_some(old: QuerySet[Traffic]) -> int:
    """Merges the oldest of these rows; returns how many. A minute that is merged in parts is several rows."""
    columns = old.order_by("at").values_list("pk", "at", "model", "version", "pinned", *COUNTED)
    with transaction.atomic():
        rows = list(columns.select_for_update(skip_locked=True)[:MERGED_AT_ONCE])
        minutes: dict[Subject, Counts] = {}
        for _, at, model, version, pinned, *counted in rows:
            second = int(at.timestamp())
            minute = Subject(second - second % Traffic.MINUTE, model, version, pinned)
            minutes.setdefault(minute, Counts()).add_row(*counted)
        Traffic.objects.bulk_create(_row_of(subject, counts, Traffic.MINUTE) for subject, counts in minutes.items())
        Traffic.objects.filter(pk__in=[pk for pk, *_ in rows]).delete()
    return len(rows)
