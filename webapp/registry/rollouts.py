"""The way of a version into service, in two steps, each taken only when every ready pod is there.

LOADING: pods load, verify and warm up the version while the champion serves. When all ready pods have it, it becomes
champion. SWITCHING: when all ready pods answer with it, the rollout is done.

Pods that do not answer or are not ready are not waited for: they load what serves before they become ready. Everything
is decided from the rows and the pods as they are, so that a rollout goes on wherever its worker died.
"""

import time
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp import queues
from webapp.celery import stopping
from webapp.errors import StoreError
from webapp.registry import queries, services, trials
from webapp.registry.models import Event, Rollout, ScoringModel, Version
from webapp.registry.podwatch import LOAD_RETRY
from webapp.registry.publishing import publish, publish_on_commit
from webapp.registry.queries import PodProgress, RolloutView
from webapp.scoring.fleet import PodView

log = structlog.get_logger(__name__)

PAUSE = 0.15  # seconds between two looks at the pods
LEASE = timedelta(seconds=6)  # a worker that has not renewed it is dead; one look takes a second or two
SHIFT = 60.0  # seconds after which a worker leaves the rollout to the next, so that none is kept for ever
PATIENCE = timedelta(minutes=10)  # for all pods to load it
SELDOM = 30.0  # seconds between two looks at a pod that has not followed for longer
ACTIVE = queries.ACTIVE


def drive(rollout_id: int) -> None:
    """Takes the rollout to its end, or as far as one shift goes. Returns at once when another worker has it."""
    lease = _claim(rollout_id)
    if lease is None:
        return
    doubts = Doubts()
    until = time.monotonic() + SHIFT
    pause: float | None = None
    try:
        while (pause := _step(rollout_id, doubts)) == PAUSE and time.monotonic() < until and not stopping():
            time.sleep(PAUSE)
            if not lease.renew():
                return
    finally:
        lease.end(rest=SELDOM if pause == SELDOM else 0.0)


def resume_unattended() -> None:
    """Finds a worker for each rollout that has none: its worker died, or the message was lost."""
    for rollout_id in Rollout.objects.filter(_unattended()).values_list("pk", flat=True):
        queues.send("registry.drive", rollout_id, expires=LEASE.total_seconds())


def _unattended() -> Q:
    now = timezone.now()
    return Q(state__in=ACTIVE) & (Q(driven_until=None) | Q(driven_until__lt=now))


class _Lease:
    """A worker's sole right to drive a rollout. Its end says whose it is: no two are made in the same microsecond."""

    def __init__(self, rollout_id: int, until: datetime) -> None:
        self._rollout_id, self._until = rollout_id, until

    def renew(self) -> bool:
        """Extends it when half of it is over: not a write with each look. False: another worker has the rollout now."""
        now = timezone.now()
        return self._until > now + LEASE / 2 or self._change(now + LEASE)

    def end(self, *, rest: float) -> None:
        """Leaves the rollout to whoever claims it next, after so many seconds; to the one who has it, if one has."""
        self._change(timezone.now() + timedelta(seconds=rest) if rest else None)

    def _change(self, until: datetime | None) -> bool:
        mine = Rollout.objects.filter(pk=self._rollout_id, driven_until=self._until)
        if until:
            self._until = until
        return mine.update(driven_until=until) == 1


def _claim(rollout_id: int) -> _Lease | None:
    """None: another worker has it, or it is over."""
    until = timezone.now() + LEASE
    claimed = Rollout.objects.filter(_unattended(), pk=rollout_id).update(driven_until=until)
    return _Lease(rollout_id, until) if claimed else None


class Doubts:
    """Which failures to load say nothing yet of the version: what a pod cannot read it tries again by itself."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # by pod, on the monotonic clock

    def about(self, pod: PodView, *, tried_before: bool) -> bool:
        """Whether the pod may yet succeed. tried_before: it may have failed long ago, when other versions filled it."""
        now = time.monotonic()
        if pod.store_problem:
            self._until[pod.pod] = now + LOAD_RETRY
        elif tried_before:
            self._until.setdefault(pod.pod, now + LOAD_RETRY)
        return now < self._until.get(pod.pod, now)


def _step(rollout_id: int, doubts: Doubts) -> float | None:
    """Looks at the pods and does what can be done. Returns after how many seconds to look again, None: it is over."""
    rollout = Rollout.objects.select_related("model", "version", "replaces").get(pk=rollout_id)
    if rollout.state not in ACTIVE:
        return None
    view = queries.rollout_view(rollout)
    if rollout.state == Rollout.State.LOADING:
        return _load(rollout, view, doubts)
    return _switch(rollout, view)


def _load(rollout: Rollout, view: RolloutView, doubts: Doubts) -> float | None:
    tried_before = rollout.version.role != Version.Role.NONE
    broken = [each for each in view.pods if each.state == "failed" and each.counts]
    if certain := [each for each in broken if not doubts.about(each.pod, tried_before=tried_before)]:
        _fail(rollout, _cannot_load(certain[0]), at_fault=True)
        return None
    if view.complete:
        _install(rollout)
        return PAUSE
    if timezone.now() - rollout.started_at > PATIENCE:
        minutes = PATIENCE // timedelta(minutes=1)
        _fail(rollout, f"Not all pods had loaded it within {minutes} minutes. {_waits_for(view)}", at_fault=False)
        return None
    _tell(rollout, _waits_for(view))
    return PAUSE


def _switch(rollout: Rollout, view: RolloutView) -> float | None:
    if view.complete:
        _finish(rollout)
        return None
    _tell(rollout, _waits_for(view))
    overdue = timezone.now() - (rollout.switched_at or rollout.started_at) > PATIENCE
    return SELDOM if overdue else PAUSE


def _waits_for(view: RolloutView) -> str:
    """What the rollout waits for, for people; empty while all goes its way."""
    untold = _untold(view.rollout.model)
    pool = view.rollout.model.pool.upper()
    if view.total == 0:
        why = next((each.pod.problem or each.pod.reason for each in view.pods), "")
        return f"{untold} No {pool} pod is ready. {why}".strip()
    failed = [_cannot_load(each) for each in view.pods if each.state == "failed" and each.counts]
    away = [f"{each.pod.address} is not ready; not waiting for it." for each in view.pods if not each.counts]
    return " ".join([untold, *failed, *away]).strip()


def _untold(model: ScoringModel) -> str:
    """Why pods do not know yet what they shall do; empty when they have been told."""
    try:
        publish(model)
    except StoreError as error:
        return f"The pods cannot be told yet. {error.detail}"
    return ""


def _cannot_load(pod: PodProgress) -> str:
    reason = pod.target.reason if pod.target else ""
    return f"{pod.pod.pod} cannot load it: {reason.rstrip('.')}."


# What is decided ------------------------------------------------------------------------------------------------------


def _install(rollout: Rollout) -> None:
    figures = trials.canary_figures(rollout.model)  # may be many rows, for which no lock is held
    with transaction.atomic():
        fresh = _still(rollout, Rollout.State.LOADING)
        if fresh is None:
            return
        fresh.state, fresh.problem, fresh.switched_at = Rollout.State.SWITCHING, "", timezone.now()
        fresh.save(update_fields=["state", "problem", "switched_at"])
        services.install(fresh, by=services.Actor.of(fresh), figures=figures)
        publish_on_commit(fresh.model)


def _fail(rollout: Rollout, reason: str, *, at_fault: bool) -> None:
    """Ends the rollout without having switched anything. at_fault: the version itself cannot serve."""
    with transaction.atomic():
        fresh = _still(rollout, Rollout.State.LOADING)
        if fresh is None:
            return
        fresh.state, fresh.problem, fresh.finished_at = Rollout.State.FAILED, reason, timezone.now()
        fresh.save(update_fields=["state", "problem", "finished_at"])
        services.fail_promotion(fresh, reason, at_fault=at_fault)
        publish_on_commit(fresh.model)


def _finish(rollout: Rollout) -> None:
    with transaction.atomic():
        fresh = _still(rollout, Rollout.State.SWITCHING)
        if fresh is None:
            return
        fresh.state, fresh.problem, fresh.finished_at = Rollout.State.DONE, "", timezone.now()
        fresh.save(update_fields=["state", "problem", "finished_at"])
        seconds = (fresh.finished_at - fresh.started_at).total_seconds()
        services.record_event(
            fresh.model,
            Event.Kind.CONVERGED,
            by=None,
            version=fresh.version,
            details={"rollout": fresh.pk, "seconds": round(seconds, 3)},
        )


def _still(rollout: Rollout, state: Rollout.State) -> Rollout | None:
    """The rollout with its model's row locked, if it is still in that state; a person may have been quicker."""
    model = services.locked(rollout.model)
    found = Rollout.objects.select_related("model", "version", "replaces").filter(pk=rollout.pk, state=state).first()
    if found:
        found.model = model
    return found


def _tell(rollout: Rollout, problem: str) -> None:
    if problem != rollout.problem:
        Rollout.objects.filter(pk=rollout.pk, state=rollout.state).update(problem=problem)
