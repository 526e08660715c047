"""Reads of the registry: what serves, what served, and what may be done next."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from django.db import Error as DatabaseError
from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.utils import timezone

from webapp.paging import Page, page_of
from webapp.registry.models import Check, Event, Rollout, ScoringModel, Version
from webapp.scoring import fleet
from webapp.scoring.fleet import PodVersionView, PodView

Role = Version.Role
ACTIVE = (Rollout.State.LOADING, Rollout.State.SWITCHING)
PAGE_SIZE = 50
SHADOWS_KEPT = 2.0  # seconds
AHEAD = timedelta(minutes=1)
NOT_YET = "This moment has not come yet. Ask for one in the past."


# Now ------------------------------------------------------------------------------------------------------------------


def by_role(model: ScoringModel) -> dict[str, Version]:
    """The versions that have a role, by their role."""
    return {version.role: version for version in model.versions.exclude(role=Role.NONE)}


def champion_of(model: ScoringModel) -> Version | None:
    return model.versions.filter(role=Role.CHAMPION).first()


def standby_of(model: ScoringModel) -> Version | None:
    return model.versions.filter(role=Role.STANDBY).first()


def running_rollout(model: ScoringModel) -> Rollout | None:
    return model.rollouts.filter(state__in=ACTIVE).select_related("version", "replaces").first()


def serving_now(model: ScoringModel) -> dict[str, Any]:
    """What answers, as events keep it (Event.serving)."""
    in_role = by_role(model)

    def name(role: Role) -> str | None:
        return in_role[role].name if role in in_role else None

    def share(role: Role) -> dict[str, Any] | None:
        return {"version": in_role[role].name, "percent": in_role[role].percent} if role in in_role else None

    return {
        "champion": name(Role.CHAMPION),
        "canary": share(Role.CANARY),
        "shadow": share(Role.SHADOW),
        "standby": name(Role.STANDBY),
    }


def without_champion(names: Iterable[str]) -> set[str]:
    """Those of the models that are registered, but of which no version serves."""
    asked = list(names)
    if not asked:
        return set()
    found = ScoringModel.objects.filter(name__in=asked).exclude(versions__role=Role.CHAMPION)
    return set(found.values_list("name", flat=True))


def worse_than_champion(version: Version) -> list[str]:
    """Why promoting the version needs a reason, one sentence each; none: it needs none.

    Either its last check beside the champion of now found it worse than tolerated, or there was no such check.
    """
    champion = champion_of(version.model)
    if champion is None or champion.pk == version.pk:
        return []
    check = version.checks.filter(state=Check.State.PASSED, champion=champion).first()
    if check is None:
        return [f"Version {version.name} has not been checked beside version {champion.name}, which serves now."]
    worse: list[str] = check.report.get("verdict", {}).get("worse", [])
    return worse


def reason_needed(version: Version) -> str:
    """The same in one string; empty: promoting the version needs no reason."""
    return " ".join(worse_than_champion(version))


def registered_by(version: Version) -> str | None:
    """Who registered the version, as the history keeps it; None: nobody did, it was found in the model store."""
    return version.events.filter(kind=Event.Kind.REGISTERED).values_list("actor", flat=True).first()


def last_passed(version: Version) -> datetime | None:
    """When the version last passed a check; None: never."""
    return version.checks.filter(state=Check.State.PASSED).values_list("finished_at", flat=True).first()


def pinnable(model_name: str) -> list[str]:
    """The versions that callers may ask for by name: pods keep them loaded. The champion comes first."""
    order = [Role.CHAMPION, Role.CANARY, Role.STANDBY, Role.SHADOW]
    found = Version.objects.filter(model__name=model_name).exclude(role=Role.NONE)
    return [version.name for version in sorted(found, key=lambda version: order.index(Role(version.role)))]


@dataclass(frozen=True)
class Shadow:
    """The version that scores `percent` of the champion's requests again."""

    version: str
    percent: int
    champion: str


class _Shadows:
    """All models' shadows, read every two seconds at most: each request asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[str, Shadow] = {}
        self._read_at = float("-inf")

    def of(self, model_name: str) -> Shadow | None:
        with self._lock:
            mine = time.monotonic() - self._read_at >= SHADOWS_KEPT
            if mine:
                self._read_at = time.monotonic()  # the other threads need not wait for this one
        if mine:
            self._read()
        return self._known.get(model_name)

    def _read(self) -> None:
        champion = Version.objects.filter(model=OuterRef("model"), role=Role.CHAMPION).values("name")
        shadows = Version.objects.filter(role=Role.SHADOW).annotate(champion=Subquery(champion))
        rows = shadows.values_list("model__name", "name", "percent", "champion")
        try:
            self._known = {model: Shadow(name, percent, beside) for model, name, percent, beside in rows}
        except DatabaseError:
            self._known = {}  # nobody waits for a second scoring

    def forget(self) -> None:
        self._read_at = float("-inf")


_shadows = _Shadows()
forget_shadows = _shadows.forget


def shadow_of(model_name: str) -> Shadow | None:
    """The model's shadow, as it was at most two seconds ago. Never raises."""
    return _shadows.of(model_name)


# All models -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelCard:
    """A model at a glance. checking: the versions that are in the gate; versions: how many there are."""

    model: ScoringModel
    champion: Version | None
    canary: Version | None
    shadow: Version | None
    standby: Version | None
    checking: list[Version]
    rollout: Rollout | None
    versions: int


def model_cards() -> list[ModelCard]:
    """Every model, by name."""
    running = Rollout.objects.filter(state__in=ACTIVE).select_related("version", "replaces")
    models = ScoringModel.objects.prefetch_related("versions", Prefetch("rollouts", running, to_attr="running"))
    return [_card(model) for model in models]


def _card(model: ScoringModel) -> ModelCard:
    versions = list(model.versions.all())
    in_role = {version.role: version for version in versions}
    running: list[Rollout] = getattr(model, "running")  # noqa: B009  # set by the prefetch above
    return ModelCard(
        model=model,
        champion=in_role.get(Role.CHAMPION),
        canary=in_role.get(Role.CANARY),
        shadow=in_role.get(Role.SHADOW),
        standby=in_role.get(Role.STANDBY),
        checking=[version for version in versions if version.state == Version.State.CHECKING],
        rollout=running[0] if running else None,
        versions=len(versions),
    )


def last_events(size: int = 20) -> list[Event]:
    """The newest events of all models."""
    return list(Event.objects.select_related("model", "version").order_by("-pk")[:size])


# History --------------------------------------------------------------------------------------------------------------


def history(
    model: ScoringModel,
    *,
    before: str | None = None,
    size: int = PAGE_SIZE,
    kinds: Collection[str] = (),
    version: str = "",
    actor: str = "",
    until: datetime | None = None,
) -> Page[Event]:
    """One page of what happened to the model. before: the `next_cursor` of the page above; actor: part of an address.

    Raises InvalidInput for a cursor that was not made here.
    """
    events = model.events.select_related("version")
    if kinds:
        events = events.filter(kind__in=kinds)
    if version:
        events = events.filter(version__name=version)
    if actor:
        events = events.filter(actor__icontains=actor)
    if until:
        events = events.filter(at__lte=until)
    return page_of(events, cursor=before, limit=size, by=("at", "pk"))


@dataclass(frozen=True)
class ServedAt:
    """What answered at a moment, and since when just so. Canary and shadow: {"version", "percent"}.

    event: what made it so. switching_from: the champion before, while it was not known yet that all pods had switched;
    converged_at: when that was known.
    """

    champion: str | None
    canary: dict[str, Any] | None
    shadow: dict[str, Any] | None
    standby: str | None
    since: datetime
    event: Event
    converged_at: datetime | None
    switching_from: str | None


def has_come(moment: datetime) -> bool:
    """Whether anything can be known of the moment. Clocks of those who ask for now may be a little ahead."""
    return moment <= timezone.now() + AHEAD


def served_at(model: ScoringModel, moment: datetime) -> ServedAt | None:
    """What served at the moment; None: before anything is known of the model."""
    until = model.events.select_related("version").filter(at__lte=moment)
    latest = until.first()
    if latest is None:
        return None
    serving = latest.serving
    event = _first_after(until, until.exclude(serving=serving).first())
    converged_at, switching_from = None, None
    if champion := serving["champion"]:
        other = until.exclude(serving__champion=champion).first()
        installed = _first_after(until, other)
        converged = model.events.filter(kind=Event.Kind.CONVERGED, version__name=champion, pk__gt=installed.pk)
        converged_at = converged.order_by("pk").values_list("at", flat=True).first()
        if other and (converged_at is None or moment < converged_at):
            switching_from = other.serving["champion"]
    return ServedAt(
        champion=serving["champion"],
        canary=serving["canary"],
        shadow=serving["shadow"],
        standby=serving["standby"],
        since=event.at,
        event=event,
        converged_at=converged_at,
        switching_from=switching_from,
    )


def _first_after(events: QuerySet[Event], event: Event | None) -> Event:
    """The one that followed; without an event the very first."""
    later = events.filter(pk__gt=event.pk) if event else events
    return later.order_by("pk")[0]


# Rollouts -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PodProgress:
    """How far one pod is with a rollout.

    state: unreachable, not-ready, waiting (it does not know of it yet), loading, loaded, answering, failed.
    target: what the pod says of the version, if anything. counts: whether the rollout waits for this pod.
    """

    pod: PodView
    target: PodVersionView | None
    state: str
    counts: bool


@dataclass(frozen=True)
class RolloutView:
    """A rollout with the state of each pod. done of total: pods that count and are where this step leads to."""

    rollout: Rollout
    pods: list[PodProgress]
    done: int
    total: int

    @property
    def complete(self) -> bool:
        return self.total > 0 and self.done == self.total


def rollout_view(rollout: Rollout, pods: Sequence[PodView] | None = None) -> RolloutView:
    """The rollout as the pods see it right now. pods: how they are; without, all are asked, for a second at most."""
    found = fleet.pods(rollout.model.pool) if pods is None else pods
    progress = [_progress(pod, rollout) for pod in found]
    there = {"answering"} if rollout.state != Rollout.State.LOADING else {"loaded", "answering"}
    waited_for = [each for each in progress if each.counts]
    done = sum(each.state in there for each in waited_for)
    return RolloutView(rollout, progress, done, len(waited_for))


def _progress(pod: PodView, rollout: Rollout) -> PodProgress:
    target = pod.version(rollout.model.name, rollout.version.name)
    # Where nothing has served yet, a pod may not be ready for want of this very version.
    counts = pod.reachable and (pod.ready or rollout.replaces is None)
    return PodProgress(pod, target, _state(pod, target, counts), counts)


def _state(pod: PodView, target: PodVersionView | None, counts: bool) -> str:
    if not pod.reachable:
        return "unreachable"
    if target is not None and target.state == "UNAVAILABLE":
        return "failed"
    if not counts:
        return "not-ready"
    if target is None:
        return "waiting"
    if target.state != "READY":
        return "loading"
    return "answering" if target.answering else "loaded"
