"""Scores a share of the requests once more with the version that runs in the shadow, and says how the two compare.

The caller never waits for it. `offer_…` puts what was asked into a short queue of this process; a thread sends bundles
of it as Celery tasks; a worker asks the pods (`compare`). Whatever is full or away on that path, the offer is dropped.
"""

import base64
import math
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from threading import Condition, Thread
from typing import Any

import structlog
from django.db.models import Avg, Count, F, Q, QuerySet, Sum
from django.db.models.functions import Round, TruncMinute
from django.utils import timezone

from webapp import problems, queues
from webapp.celery import stopping
from webapp.errors import ScoringError, ScoringUnavailable
from webapp.registry import queries
from webapp.registry.models import ScoringModel, ShadowComparison, Version
from webapp.scoring.answers import FaqAnswer, ImageAnswer
from webapp.scoring.client import scoring_client

log = structlog.get_logger(__name__)

TASK = "registry.shadow"
QUEUE = "batch"
MOST_WAITING = 1_000  # offers in this process
MOST_WAITING_BYTES = 64_000_000
BUNDLE = 50  # offers in one task
# What waits with the broker is in its memory, and nearly twice as large there: pictures fill 40 tasks, questions none.
BUNDLE_BYTES = 1_000_000
LARGEST = 4_000_000  # bytes of one input
MOST_TASKS = 40  # waiting with the broker
EXPIRES = 60  # seconds; a comparison later than this says nothing about now
LOOK_AGAIN = 1.0  # seconds between two looks at the broker's queue
LOADS_WITHIN = timedelta(seconds=30)  # until then it is no failure of the shadow that pods do not have it
TIMEOUTS = {"faq": 5.0, "image": 20.0}  # seconds for one input
TASK_WITHIN = 40.0  # seconds for one bundle; what is left then is dropped
KEPT = timedelta(days=30)
DELETED_AT_ONCE = 10_000  # rows
REPORTED = timedelta(days=1)
POINTS = 60  # of the series
BARS = 20  # of the histogram
NOTHING: tuple[str, float | None] = ("", None)  # the first of no answers
FINE = 1_000  # steps of a difference in probability from 0 to 1, of which the percentiles are made


# On the request's way -------------------------------------------------------------------------------------------------


def offer_faq(question: str, answer: FaqAnswer) -> None:
    """Has the shadow score the question, too, when it is its turn. Costs the caller nothing, whatever happens."""
    _offer("faq", question.encode(), answer, _first_match(answer))


def offer_image(data: bytes, answer: ImageAnswer) -> None:
    """The same with a picture, a file as received."""
    _offer("image", data, answer, _first_prediction(answer))


def _first_match(answer: FaqAnswer) -> tuple[str, float | None]:
    return next(((each.faq_id, each.probability) for each in answer.scores), NOTHING)


def _first_prediction(answer: ImageAnswer) -> tuple[str, float | None]:
    return next(((each.label_id, each.probability) for each in answer.predictions), NOTHING)


@dataclass(frozen=True)
class Offer:
    """What the shadow shall score, and what the version that answered put first."""

    kind: str
    model: str
    shadow: str
    version: str
    input: bytes
    first: str
    probability: float | None
    ms: float | None

    def message(self) -> dict[str, Any]:
        """The offer as JSON can hold it."""
        return {**self.__dict__, "input": base64.b64encode(self.input).decode()}


def _offer(kind: str, content: bytes, answer: FaqAnswer | ImageAnswer, first: tuple[str, float | None]) -> None:
    try:
        shadow = queries.shadow_of(answer.model)
        # What a canary answered would say nothing of how the shadow compares with the champion.
        if shadow is None or shadow.champion != answer.version:
            return
        if random.random() * 100 >= shadow.percent:  # noqa: S311  # a share, no secret
            return
        _sender.put(Offer(kind, answer.model, shadow.version, answer.version, content, *first, answer.model_ms))
    except Exception:  # the answer is there, and the caller shall have it
        log.exception("shadow_not_offered", model=answer.model)


class Sender:
    """Offers on their way to the broker. Drops what does not fit, and says so at most once a second."""

    def __init__(self, send: Callable[[list[Offer]], bool]) -> None:
        self._send = send
        self._changed = Condition()
        self._waiting: deque[Offer] = deque()
        self._bytes = 0
        self._dropped = 0
        self._thread: Thread | None = None

    def put(self, offer: Offer) -> None:
        """Takes the offer in, or drops it. Never waits."""
        with self._changed:
            if (
                len(offer.input) > LARGEST
                or len(self._waiting) >= MOST_WAITING
                or self._bytes + len(offer.input) > MOST_WAITING_BYTES
            ):
                self._dropped += 1
                return
            self._waiting.append(offer)
            self._bytes += len(offer.input)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="shadow-sender", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        room, look_at = 0, float("-inf")  # for how many tasks the broker has room; nothing is sent without
        while True:
            bundle = self._next_bundle()
            sent = False
            try:
                if (now := time.monotonic()) >= look_at:
                    room, look_at = _room_at_broker(), now + LOOK_AGAIN
                    self._report_dropped()
                sent = room > 0 and self._send(bundle)
            except Exception:  # whatever it is, the next bundle may get through
                log.exception("shadow_not_sent")
            room = room - 1 if sent else 0
            if not sent:
                with self._changed:
                    self._dropped += len(bundle)

    def _next_bundle(self) -> list[Offer]:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            bundle: list[Offer] = []
            size = 0
            while self._waiting and len(bundle) < BUNDLE and (not bundle or size < BUNDLE_BYTES):
                bundle.append(self._waiting.popleft())
                size += len(bundle[-1].input)
            self._bytes -= size
            return bundle

    def _report_dropped(self) -> None:
        with self._changed:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("shadow_offers_dropped", count=dropped)


def _room_at_broker() -> int:
    """For how many more of our tasks it has room; for none where it does not say how many wait."""
    return MOST_TASKS - queues.lengths().get(QUEUE, MOST_TASKS)


def _publish(bundle: list[Offer]) -> bool:
    return queues.send(TASK, [offer.message() for offer in bundle], queue=QUEUE, expires=EXPIRES)


_sender = Sender(_publish)


def _new_sender() -> None:
    global _sender  # noqa: PLW0603  # a fork copies the queue and its lock, but not the thread
    _sender = Sender(_publish)


os.register_at_fork(after_in_child=_new_sender)


# In the worker --------------------------------------------------------------------------------------------------------


def compare(offers: list[dict[str, Any]]) -> None:
    """Asks the shadow what the callers had asked, and keeps how its first answers compare with theirs.

    offers: as Offer.message() made them. Those to a version that is no shadow any more are left out.
    """
    shadows = {
        (version.model.name, version.name): version
        for version in Version.objects.filter(role=Version.Role.SHADOW).select_related("model")
    }
    until = time.monotonic() + TASK_WITHIN
    found = []
    for offer in offers:
        shadow = shadows.get((offer["model"], offer["shadow"]))
        if shadow and time.monotonic() < until and not stopping() and (comparison := _compared(offer, shadow)):
            found.append(comparison)
    if len(found) < len(offers):
        log.info("shadow_offers_left_out", count=len(offers) - len(found))
    ShadowComparison.objects.bulk_create(found)


def _compared(offer: dict[str, Any], shadow: Version) -> ShadowComparison | None:
    """How the two compare; None while pods may still be loading the shadow."""
    comparison = ShadowComparison(
        model=shadow.model,
        champion=offer["version"],
        shadow=shadow.name,
        at=timezone.now(),
        champion_probability=offer["probability"],
        champion_ms=offer["ms"],
    )
    try:
        first, comparison.shadow_probability, comparison.shadow_ms = _first_answer(offer, shadow.model.pool)
        comparison.agrees = first == offer["first"]
    except ScoringError as error:
        if (
            isinstance(error, ScoringUnavailable)
            and timezone.now() - (shadow.role_since or comparison.at) < LOADS_WITHIN
        ):
            return None
        comparison.failure = problems.kind_of(error).slug
    return comparison


def _first_answer(offer: dict[str, Any], pool: str) -> tuple[str, float | None, float | None]:
    """What the shadow puts first: its id, its probability, and the milliseconds that the model took."""
    data = base64.b64decode(offer["input"])
    how: dict[str, Any] = {"model": offer["model"], "version": offer["shadow"], "top_k": 1, "pool": pool}
    how["timeout"] = TIMEOUTS[offer["kind"]]
    if offer["kind"] == "faq":
        matched = scoring_client().match_faq(data.decode(), **how)
        return *_first_match(matched), matched.model_ms
    named = scoring_client().classify_image(data, **how)
    return *_first_prediction(named), named.model_ms


def prune() -> int:
    """Deletes comparisons older than 30 days; returns how many."""
    old = ShadowComparison.objects.filter(at__lt=timezone.now() - KEPT)
    deleted = 0
    while keys := list(old.values_list("pk", flat=True)[:DELETED_AT_ONCE]):
        deleted += ShadowComparison.objects.filter(pk__in=keys).delete()[0]
    return deleted


# What came of it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """The comparisons of a span of time that begins at `at`."""

    at: datetime
    compared: int
    agreement: float | None
    mean_difference: float | None


@dataclass(frozen=True)
class Bar:
    """How many differences lie from `start` up to `end`."""

    start: float
    end: float
    count: int


@dataclass(frozen=True)
class ShadowReport:
    """A shadow beside the versions that answered, since `since`.

    agreement: share, 0 to 1, of the compared requests for which both put the same answer first. A difference is the
    probability of the shadow's first answer minus that of the caller's. failures: slug of the problem and how often,
    the most frequent first. champion_ms, shadow_ms: means of the time that the models themselves took.
    """

    shadow: Version
    percent: int
    since: datetime
    compared: int
    agreeing: int
    failed: int
    agreement: float | None
    mean_difference: float | None
    p05: float | None
    p50: float | None
    p95: float | None
    champion_ms: float | None
    shadow_ms: float | None
    series: list[Point]
    histogram: list[Bar]
    failures: list[tuple[str, int]]


DIFFERENCE = F("shadow_probability") - F("champion_probability")


def shadow_report(model: ScoringModel, since: datetime | None = None) -> ShadowReport | None:
    """How the model's shadow compares, by default for the last day, never since before it began; None: it has none."""
    shadow = model.versions.filter(role=Version.Role.SHADOW).first()
    if shadow is None:
        return None
    now = timezone.now()
    since = max(since or now - REPORTED, shadow.role_since or now)
    rows = ShadowComparison.objects.filter(model=model, shadow=shadow.name, at__gte=since)
    sums = rows.aggregate(
        compared=Count("pk", filter=Q(agrees__isnull=False)),
        agreeing=Count("pk", filter=Q(agrees=True)),
        failed=Count("pk", filter=Q(agrees=None)),
        mean_difference=Avg(DIFFERENCE),
        champion_ms=Avg("champion_ms"),
        shadow_ms=Avg("shadow_ms"),
    )
    steps = _steps(rows)
    failures = rows.exclude(failure="").values_list("failure").annotate(count=Count("pk")).order_by("-count", "failure")
    return ShadowReport(
        shadow=shadow,
        percent=shadow.percent,
        since=since,
        agreement=_share(sums["agreeing"], sums["compared"]),
        p05=_percentile(steps, 0.05),
        p50=_percentile(steps, 0.50),
        p95=_percentile(steps, 0.95),
        series=_series(rows, since, now),
        histogram=_histogram(steps),
        failures=list(failures),
        **sums,
    )


def figures_of(shadow: Version) -> dict[str, Any]:
    """How a shadow compared in its last day, as an event keeps it."""
    since = max(timezone.now() - REPORTED, shadow.role_since or timezone.now())
    rows = ShadowComparison.objects.filter(model=shadow.model, shadow=shadow.name, at__gte=since)
    sums = rows.aggregate(
        compared=Count("pk", filter=Q(agrees__isnull=False)),
        agreeing=Count("pk", filter=Q(agrees=True)),
        failed=Count("pk", filter=Q(agrees=None)),
        mean_difference=Avg(DIFFERENCE),
    )
    return {"version": shadow.name, "since": since.isoformat(), **sums}


def _steps(rows: QuerySet[ShadowComparison]) -> dict[int, int]:
    """How many differences there are of each thousandth: few numbers, however many rows."""
    known = rows.filter(shadow_probability__isnull=False, champion_probability__isnull=False)
    counted = known.annotate(step=Round(DIFFERENCE * FINE)).values_list("step").annotate(count=Count("pk"))
    return {int(step): count for step, count in counted.order_by("step")}


def _percentile(steps: dict[int, int], share: float) -> float | None:
    """The least difference that `share` of all differences do not exceed. steps: in rising order."""
    wanted, seen = share * sum(steps.values()), 0
    for step, count in steps.items():
        seen += count
        if seen >= wanted:
            return step / FINE
    return None


def _histogram(steps: dict[int, int]) -> list[Bar]:
    width = 2 * FINE // BARS
    counts = Counter[int]()
    for step, count in steps.items():
        counts[min((step + FINE) // width, BARS - 1)] += count
    return [Bar((bar * width - FINE) / FINE, ((bar + 1) * width - FINE) / FINE, counts[bar]) for bar in range(BARS)]


def _series(rows: QuerySet[ShadowComparison], since: datetime, now: datetime) -> list[Point]:
    """The comparisons over time, in at most POINTS spans of whole minutes; those without any are left out."""
    start = since.replace(second=0, microsecond=0)
    span = timedelta(minutes=math.ceil((now - start) / timedelta(minutes=POINTS)) or 1)
    minutes = (
        rows.filter(agrees__isnull=False)
        .annotate(minute=TruncMinute("at"))
        .values_list("minute")
        .annotate(
            compared=Count("pk"),
            agreeing=Count("pk", filter=Q(agrees=True)),
            difference=Sum(DIFFERENCE),
            differences=Count(DIFFERENCE),
        )
        .order_by("minute")
    )
    points = []
    for number, group in groupby(minutes, key=lambda minute: (minute[0] - start) // span):
        _, compared, agreeing, difference, differences = zip(*group, strict=True)
        points.append(
            Point(
                at=start + number * span,
                compared=sum(compared),
                agreement=_share(sum(agreeing), sum(compared)),
                mean_difference=_share(sum(filter(None, difference)), sum(differences)),
            )
        )
    return points


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
