"""The pods while they check a version: whether they have loaded it, asking it, and waiting for those that are away.

A version that takes pods down with it must not do so for as long as anybody has patience: they are counted.
"""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from webapp.errors import ScoringError, ScoringRefused, ScoringTimeout, ScoringUnavailable
from webapp.registry.models import ScoringModel
from webapp.scoring import fleet
from webapp.scoring.fleet import PodVersionView, PodView

T = TypeVar("T")

MOST_LOSSES = 3  # pods that ended while they had the version
LOAD_RETRY = 12.0  # seconds within which a pod tries again to load a version that failed


class Unfit(Exception):
    """The version does not pass; the text says why."""


class OutOfPatience(Unfit):
    """What was waited for did not come."""


class Waiter(Protocol):
    def __call__(self, why: str, since: float) -> None:
        """Waits a moment. Raises OutOfPatience when that has gone on since `since` (monotonic clock) for too long."""
        ...


class PodWatch:
    """The pods of the model's pool, for as long as the check of one version takes."""

    def __init__(self, model: ScoringModel, version: str, wait: Waiter) -> None:
        self._model, self._version, self._wait = model, version, wait
        self._seen: set[tuple[str, str]] = set()  # name and start of every pod ever seen
        self._first: set[tuple[str, str]] = set()
        self._failed_since: dict[str, float] = {}  # pod to when it was first seen without being able to load it
        # A failure may come from what was before this check, or from a store that was away: then pods try once more.
        self.doubtful = False

    def look(self) -> list[PodView]:
        """The pods that count: those that are ready, or where none is, those that answer.

        Raises Unfit when one of them cannot load the version, or too many have ended.
        """
        answering = [pod for pod in fleet.pods(self._model.pool) if pod.reachable]
        self._count_losses({(pod.pod, pod.started_at) for pod in answering})
        counting = [pod for pod in answering if pod.ready] or answering
        for pod in counting:
            found = pod.version(self._model.name, self._version)
            if found and found.state == "UNAVAILABLE":
                self._note_failure(pod, found)
            else:
                self._failed_since.pop(pod.pod, None)
        return counting

    def wait_until_loaded(self, publish: Callable[[], object]) -> list[PodView]:
        """Returns when every pod that counts has the version ready. publish: names it to the pods; again and again."""
        since = time.monotonic()
        while True:
            publish()
            pods = self.look()
            missing = [pod for pod in pods if not self._has(pod, self._version)]
            if pods and not missing:
                return pods
            self._wait(self._why_not_loaded(pods, missing), since)

    def has(self, version: str) -> bool:
        """Whether a pod that counts has that version ready."""
        return any(self._has(pod, version) for pod in self.look())

    def ask(self, call: Callable[[], T], *, lost: Callable[[], None]) -> T:
        """What the call returns; where no pod can take it, it is made again until one can.

        lost: called each time that no pod could, and may raise. Raises ScoringError for what the asked version itself
        cannot do, Unfit when the version that is checked cannot be loaded any more.
        """
        since: float | None = None
        spent = False
        while True:
            try:
                return call()
            except ScoringUnavailable as error:
                since = since or time.monotonic()
                self.look()
                lost()
                self._wait(error.detail, since)
            except ScoringRefused:
                raise
            except (ScoringTimeout, ScoringError):
                if spent:
                    raise
                spent = True  # once may be the end of a pod, twice is the version

    def _has(self, pod: PodView, version: str) -> bool:
        found = pod.version(self._model.name, version)
        return found is not None and found.state == "READY"

    def _why_not_loaded(self, counting: list[PodView], missing: list[PodView]) -> str:
        pool = self._model.pool.upper()
        if counting:
            names = ", ".join(pod.pod for pod in missing)
            return f"{len(counting) - len(missing)} of {len(counting)} {pool} pods have loaded it, not yet {names}."
        problems = " ".join(f"{pod.address}: {pod.problem}" for pod in fleet.pods(self._model.pool))
        return f"No {pool} pod answers. {problems}".strip()

    def _note_failure(self, pod: PodView, found: PodVersionView) -> None:
        """Raises Unfit, unless the pod may yet succeed."""
        first = self._failed_since.setdefault(pod.pod, time.monotonic())
        if pod.store_problem:
            self.doubtful = True
        if not self.doubtful or time.monotonic() - first > LOAD_RETRY:
            raise Unfit(f"{pod.pod} cannot load it: {found.reason}")

    def _count_losses(self, now: set[tuple[str, str]]) -> None:
        """A pod that is gone and another that has come in its place: one that ended. Others may just be slow."""
        self._first = self._first or now
        self._seen |= now
        losses = min(len(self._seen - self._first), len(self._seen - now))
        if losses >= MOST_LOSSES:
            raise Unfit(f"Pods ended {losses} times while they had it. The check was stopped to protect what serves.")
