"""How everything is right now: models, pods, background work. For the start page of the admin and for /status."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.utils import timezone
from django.utils.functional import cached_property

from webapp import queues
from webapp.charts import Series
from webapp.registry.models import Event, Pulse, ScoringModel
from webapp.registry.queries import ModelCard, last_events, model_cards
from webapp.scoring import fleet
from webapp.scoring.fleet import PodView
from webapp.usage import traffic
from webapp.usage.traffic import Point, Totals

KEPT = 2  # seconds: however many people look at the pages, pods and database are asked this seldom
WINDOW = timedelta(hours=1)
SILENT_AFTER = timedelta(seconds=20)  # a worker says every two seconds that it is there
POOL_NAMES = dict(ScoringModel.Pool.choices)


@dataclass(frozen=True)
class ModelState:
    """A model with what it did in the last hour: `points` minute by minute, `totals` all together."""

    card: ModelCard
    totals: Totals
    points: Sequence[Point]
    pods_ready: int
    pods_answering: int  # of those: how many answer with the champion

    @property
    def availability(self) -> float | None:
        """The share of requests that were answered; None without requests."""
        return 1 - self.totals.error_rate if self.totals.requests else None

    @property
    def requests_by_minute(self) -> list[float | None]:
        return [float(point.requests) for point in self.points[:-1]]  # the last minute is not over yet

    @property
    def p95_by_minute(self) -> list[float | None]:
        return [point.p95_ms for point in self.points]

    @property
    def availability_chart(self) -> list[Series]:
        share = [(point.at, 1 - point.error_rate if point.requests else None) for point in self.points]
        return [Series("Answered", share, "good")]

    @property
    def availability_floor(self) -> float:
        """Where the chart of it begins: among full tenths of a per cent a failure would not be seen."""
        lowest = min((1 - point.error_rate for point in self.points), default=1.0)
        return next(floor for floor in (0.9, 0.5, 0.0) if lowest >= floor)

    @property
    def latency_chart(self) -> list[Series]:
        return [
            Series("95th percentile", [(point.at, point.p95_ms) for point in self.points]),
            Series("Median", [(point.at, point.p50_ms) for point in self.points], "quiet"),
        ]


@dataclass(frozen=True)
class Work:
    """The background work. waiting: messages in each queue; problem: why the broker cannot be asked, or empty."""

    waiting: dict[str, int]
    problem: str
    seen_at: datetime | None  # when a worker last said that it is there

    @property
    def silent(self) -> bool:
        return self.seen_at is None or timezone.now() - self.seen_at > SILENT_AFTER


@dataclass(frozen=True)
class Overview:
    models: list[ModelState]
    pods: list[PodView]
    work: Work
    at: datetime

    @cached_property
    def problems(self) -> list[str]:
        """What somebody should look at, one sentence each."""
        found = [sentence for pool in POOL_NAMES for sentence in self._pool_problems(pool)]
        found += [
            _because(f"{_name(pod)} cannot read the model store", pod.store_problem)
            for pod in self.pods
            if pod.store_problem
        ]
        found += self._load_problems()
        found += [
            f"{state.card.model.label} has no version that serves. Promote one that is ready."
            for state in self.models
            if not state.card.champion
        ]
        if self.work.problem:
            found.append(self.work.problem)
        elif self.work.silent:
            found.append(
                "No worker is running, so checks and promotions wait, and no canary ends by itself. Answers and "
                "rollbacks need none. Start a Celery worker and beat."
            )
        return found

    @property
    def says(self) -> str:
        """The same for a screen reader, told when it changes."""
        return " ".join(self.problems) or "All is well."

    def _load_problems(self) -> list[str]:
        """Versions that should be loaded and cannot be. Those in the gate or on their way have pages that tell it."""
        failed: dict[tuple[str, str], list[str]] = {}
        for pod in self.pods:
            for each in pod.versions:
                if each.state == "UNAVAILABLE" and each.role != "warm":
                    failed.setdefault((each.model, each.version), []).append(each.reason)
        return [
            _because(
                f"Version {version} of {model} cannot be loaded on {len(reasons)} "
                f"{'pod' if len(reasons) == 1 else 'pods'}",
                reasons[0],
            )
            for (model, version), reasons in failed.items()
        ]

    def _pool_problems(self, pool: str) -> list[str]:
        pods = [pod for pod in self.pods if pod.pool == pool]
        bad = [pod for pod in pods if not (pod.reachable and pod.ready)]
        if not any(state.card.model.pool == pool and state.card.champion for state in self.models):
            return []  # nothing serves there, so nothing is missed
        if len(bad) == len(pods):
            why = next((_why(pod) for pod in bad if _why(pod)), "")
            return [_because(f"None of the {POOL_NAMES[pool]} is ready, so their models cannot answer", why)]
        return [_because(f"{_name(pod)} is not ready", _why(pod)) for pod in bad]


def _name(pod: PodView) -> str:
    return f"The pod {pod.pod or pod.address}"


def _why(pod: PodView) -> str:
    return pod.reason if pod.reachable else pod.problem


def _because(sentence: str, why: str) -> str:
    """The sentence, and the reason as another one, which may begin with the name of a file."""
    first = why.split()[:1]
    if not first:
        return f"{sentence}."
    if first[0].isalpha():
        why = why[0].upper() + why[1:]
    return f"{sentence}. {why.removesuffix('.')}."


def now() -> Overview:
    """How everything is, as of two seconds ago at most. Takes a second at most when pods do not answer."""
    kept: Overview | None = cache.get("registry.overview")
    if kept is None:
        kept = _look()
        cache.set("registry.overview", kept, KEPT)
    return kept


def events(size: int = 12) -> list[Event]:
    """What happened last, to any model."""
    return last_events(size)


def _look() -> Overview:
    at = timezone.now()
    pods = fleet.fleet()
    return Overview(models=[_state(card, pods, at) for card in model_cards()], pods=pods, work=_work(), at=at)


def _state(card: ModelCard, pods: Sequence[PodView], at: datetime) -> ModelState:
    name, since = card.model.name, at - WINDOW
    ready = [pod for pod in pods if pod.pool == card.model.pool and pod.ready]
    champion = card.champion.name if card.champion else ""
    answers = [found for pod in ready if (found := pod.version(name, champion)) and found.answering]
    return ModelState(
        card=card,
        totals=traffic.totals(name, since=since, include_pinned=True),
        points=traffic.series(name, since=since, step_seconds=60, until=at),
        pods_ready=len(ready),
        pods_answering=len(answers),
    )


def _work() -> Work:
    seen = Pulse.objects.filter(name="watch").values_list("at", flat=True).first()
    waiting = queues.lengths()
    return Work(waiting=waiting, problem="" if waiting else queues.broker_problem(), seen_at=seen)
