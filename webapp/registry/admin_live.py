"""What moves on a model's page: what serves and how it does, and the way of a version into the pods."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.utils import timezone
from django.utils.functional import cached_property

from webapp.charts import Bins, Series, Tone
from webapp.registry import queries, shadow, trials
from webapp.registry.models import Check, Rollout, ScoringModel, Version
from webapp.registry.queries import PodProgress, RolloutView
from webapp.registry.shadow import ShadowReport
from webapp.registry.trials import CanaryReport
from webapp.scoring.fleet import PodView, pods
from webapp.usage import traffic
from webapp.usage.remembered import Remembered
from webapp.usage.traffic import Point, Totals

REMEMBERED = timedelta(minutes=5)  # how long the page still speaks of a rollout that has ended well
FAILURE_REMEMBERED = timedelta(days=1)
HOUR = timedelta(hours=1)
NEWEST = 15  # versions in the table, until all are asked for
POINTS, LEAST_STEP = 40, 5  # of a chart; seconds between two of them

# Seconds between two looks: while something is on its way, while figures come in, and else.
MOVING, TRYING, RESTING = 1, 3, 10

_courses = Remembered[list[Point]]()


@dataclass(frozen=True)
class Lane:
    """One version in service. share: of the requests that it answers (a shadow: scores again), in percent.

    holding: how many of the ready pods have it loaded. totals: what it did in the last hour; None for a standby.
    """

    version: Version
    share: int
    holding: int
    totals: Totals | None


@dataclass(frozen=True)
class PodStep:
    """How far one pod is with the version of a rollout. state: as PodProgress has it."""

    name: str
    state: str
    words: str


@dataclass(frozen=True)
class Stage:
    """A step of the rollout as a whole. state: done, running, waiting or failed."""

    title: str
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Way:
    """A rollout with each pod's state."""

    rollout: Rollout
    pods: Sequence[PodStep]
    stages: Sequence[Stage]
    seconds: float

    @property
    def is_running(self) -> bool:
        return self.rollout.state in queries.ACTIVE


@dataclass(frozen=True)
class VersionRow:
    """A line of the table of versions. check: the one that runs, if any."""

    version: Version
    check: Check | None


class Live:
    """A model as it is right now. every_version: its table of versions is not cut short."""

    def __init__(self, model: ScoringModel, *, every_version: bool = False) -> None:
        self.model = model
        self.every_version = every_version
        self.now = timezone.now()

    @cached_property
    def pods(self) -> list[PodView]:
        return pods(self.model.pool)

    @cached_property
    def ready(self) -> list[PodView]:
        return [pod for pod in self.pods if pod.ready]

    @cached_property
    def versions(self) -> list[VersionRow]:
        """All of them, the newest first, without what makes their rows large."""
        checks = Check.objects.filter(version__model=self.model, state=Check.State.RUNNING).only("version", "progress")
        running = {check.version_id: check for check in checks}
        versions = self.model.versions.defer("manifest", "labels", "signature")
        return [VersionRow(version, running.get(version.pk)) for version in versions]

    @property
    def rows(self) -> list[VersionRow]:
        """The lines of the table: the newest versions, and all that are in use."""
        if self.every_version:
            return self.versions
        return [row for number, row in enumerate(self.versions) if number < NEWEST or row.version.role or row.check]

    @cached_property
    def lanes(self) -> list[Lane]:
        """What serves, the champion first."""
        roles = {row.version.role: row.version for row in self.versions if row.version.role}
        canary = roles.get(Version.Role.CANARY)
        champion_share = 100 - (canary.percent if canary else 0)
        lanes = []
        for role in (Version.Role.CHAMPION, Version.Role.CANARY, Version.Role.SHADOW, Version.Role.STANDBY):
            if version := roles.get(role):
                share = champion_share if role == Version.Role.CHAMPION else version.percent
                answers = role in {Version.Role.CHAMPION, Version.Role.CANARY}
                totals = traffic.totals(self.model.name, version.name, since=self.now - HOUR) if answers else None
                lanes.append(Lane(version, share, self._holding(version), totals))
        return lanes

    @cached_property
    def champion(self) -> Version | None:
        return next((lane.version for lane in self.lanes if lane.version.role == Version.Role.CHAMPION), None)

    @cached_property
    def standby(self) -> Version | None:
        return next((lane.version for lane in self.lanes if lane.version.role == Version.Role.STANDBY), None)

    def _holding(self, version: Version) -> int:
        found = (pod.version(self.model.name, version.name) for pod in self.ready)
        return sum(each is not None and each.state == "READY" for each in found)

    @cached_property
    def way(self) -> Way | None:
        """The rollout on its way, or the last one while it is news."""
        rollout = self.model.rollouts.select_related("version", "replaces").first()
        if rollout is None:
            return None
        if rollout.finished_at:
            failed = rollout.state == Rollout.State.FAILED
            if self.now - rollout.finished_at > (FAILURE_REMEMBERED if failed else REMEMBERED):
                return None
        end = rollout.finished_at or self.now
        view = queries.rollout_view(rollout, self.pods)
        shown = view.pods if rollout.state in {*queries.ACTIVE, Rollout.State.DONE} else []
        steps = [PodStep(each.pod.pod or each.pod.address, each.state, _words(each, rollout)) for each in shown]
        return Way(rollout, steps, self._stages(view), (end - rollout.started_at).total_seconds())

    def _stages(self, view: RolloutView) -> list[Stage]:
        State = Rollout.State  # noqa: N806  # a class, as it is called
        rollout = view.rollout
        state, began = rollout.state, rollout.started_at
        so_far = f"{view.done} of {view.total} {'ready pods' if rollout.replaces else 'pods'}"
        if state == State.LOADING:
            load = Stage("Load and warm up", "running", so_far)
        elif rollout.switched_at:
            load = Stage("Load and warm up", "done", _seconds(began, rollout.switched_at))
        else:
            load = Stage("Load and warm up", "failed" if state == State.FAILED else "waiting")
        if state == State.SWITCHING:
            switch = Stage("Switch", "running", so_far)
        elif state == State.DONE:
            switch = Stage("Switch", "done", _seconds(rollout.switched_at or began, rollout.finished_at))
        else:
            switch = Stage("Switch", "waiting")
        done = Stage("In service", "done" if state == State.DONE else "waiting")
        return [switch, done] if rollout.kind == Rollout.Kind.ROLLBACK else [load, switch, done]

    @cached_property
    def canary(self) -> CanaryReport | None:
        return trials.canary_report(self.model)

    @cached_property
    def _canary_traffic(self) -> list[tuple[Version, Tone, list[Point]]]:
        """What both versions did since the canary began, in about as many steps as a chart shows."""
        if self.canary is None:
            return []
        span = self.now - self.canary.since
        canary, champion = self.canary.canary, self.canary.champion
        sides: list[tuple[Version, Tone]] = [(canary, "accent"), (champion, "quiet")]
        began = (canary.role_since, champion.role_since)
        return [
            (version, tone, _courses.get((version.pk, *began), span, partial(self._course, version, span)))
            for version, tone in sides
        ]

    def _course(self, version: Version, span: timedelta) -> list[Point]:
        step = max(LEAST_STEP, int(span.total_seconds() / POINTS))
        since = self.now - span
        return traffic.series(self.model.name, version.name, since=since, step_seconds=step, include_pinned=False)

    @property
    def canary_latency(self) -> list[Series]:
        return [
            Series(f"Version {version.name}", [(point.at, point.p95_ms) for point in points], tone)
            for version, tone, points in self._canary_traffic
        ]

    @property
    def canary_errors(self) -> list[Series]:
        return [
            Series(
                f"Version {version.name}",
                [(point.at, point.error_rate if point.requests else None) for point in points],
                tone,
            )
            for version, tone, points in self._canary_traffic
        ]

    @cached_property
    def shadow(self) -> ShadowReport | None:
        return shadow.shadow_report(self.model)

    @property
    def shadow_agreement(self) -> list[Series]:
        points = self.shadow.series if self.shadow else []
        return [Series("Agreement", [(point.at, point.agreement) for point in points])]

    @property
    def shadow_drift(self) -> list[Series]:
        points = self.shadow.series if self.shadow else []
        # To a tenth of a percentage point: what lies below is noise, and would fill the whole chart.
        drift = [
            (point.at, None if point.mean_difference is None else round(point.mean_difference, 3)) for point in points
        ]
        return [Series("Mean difference", drift)]

    @property
    def shadow_differences(self) -> list[Bins]:
        bars = self.shadow.histogram if self.shadow else []
        return [Bins("Requests", [(bar.start, bar.end, bar.count) for bar in bars])]

    @property
    def every(self) -> int:
        """Seconds after which the page looks again."""
        if (self.way and self.way.is_running) or any(row.check for row in self.versions):
            return MOVING
        return TRYING if self.canary or self.shadow else RESTING

    @property
    def announcement(self) -> str:
        """The one sentence that a screen reader is told when it changes."""
        if self.way is None:
            return ""
        name, state = self.way.rollout.version.name, self.way.rollout.state
        return {
            Rollout.State.LOADING: f"Pods load version {name}.",
            Rollout.State.SWITCHING: f"Pods switch to version {name}.",
            Rollout.State.DONE: f"Version {name} is in service on all ready pods.",
            Rollout.State.FAILED: f"The promotion of version {name} has failed.",
            Rollout.State.CANCELLED: f"The promotion of version {name} was cancelled.",
        }[Rollout.State(state)]


def _seconds(begin: datetime, end: datetime | None) -> str:
    return f"{(end - begin).total_seconds():.1f} s" if end else ""


def _words(progress: PodProgress, rollout: Rollout) -> str:
    pod, target = progress.pod, progress.target
    if progress.state == "unreachable":
        return f"Does not answer and is not waited for. {pod.problem}"
    if progress.state == "failed":
        reason = (target.reason if target else "") or "Could not load it"
        return reason if progress.counts else f"{reason.rstrip('.')}. It is not ready and not waited for."
    if progress.state == "not-ready":
        return f"Not ready and not waited for. {pod.reason}"
    if progress.state == "waiting":
        return "Has not begun yet"
    if progress.state == "loading":
        return "Verifies its files, loads it and warms it up"
    took = f" in {target.load_seconds:.1f} s" if target and target.load_seconds is not None else ""
    if progress.state == "answering":
        return f"Loaded{took}; answers with version {rollout.version.name}"
    return f"Loaded and warm{took}"
