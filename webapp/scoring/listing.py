"""Which models a pool of pods has, kept for a moment so that pages need not ask each time."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import TypeVar
from urllib.parse import quote

from scoring_service.contract import IndexEntry, ModelMetadata, decode_json
from webapp.errors import ScoringError
from webapp.scoring.answers import ModelInfo, Models
from webapp.scoring.pods import Call, PodPool, readable

Item = TypeVar("Item")
Result = TypeVar("Result")
TIMEOUT = 2.0  # seconds for a whole list
FRESH = 2.0  # seconds a list is used again
STALE = 60.0  # seconds after which a list is too old even while a newer one is on its way
AT_ONCE = 8  # calls in parallel


class ModelList:
    """The models of one pool. May be used by many threads at once.

    One of them fetches a new list; the others get the one before it meanwhile, so that a pool that swallows requests
    holds up one caller and not all.
    """

    def __init__(self, kind: str, pool: PodPool) -> None:
        self._kind, self._pool = kind, pool
        self._lock = Lock()
        self._known = Models(())
        self._known_since = float("-inf")
        self._coming: Future[Models] | None = None

    def current(self) -> Models:
        """The models as they were at most two seconds ago, older only while another thread asks for newer ones.

        Where the pool does not answer there are none, and it is named in `unreachable`.
        """
        with self._lock:
            age = time.monotonic() - self._known_since
            if age < FRESH or (self._coming and age < STALE):
                return self._known
            coming = self._coming
            if coming is None:
                mine: Future[Models] = Future()
                self._coming = mine
        return coming.result() if coming else self._renew(mine)

    def _renew(self, mine: "Future[Models]") -> Models:
        """Fetches the list, keeps it, and gives it to those who wait. Whatever goes wrong, nobody waits for ever."""
        try:
            found = self._fetch()
        except BaseException as error:
            with self._lock:
                self._coming = None
            mine.set_exception(error)
            raise
        with self._lock:
            self._known, self._known_since, self._coming = found, time.monotonic(), None
        mine.set_result(found)
        return found

    def _fetch(self) -> Models:
        until = time.monotonic() + TIMEOUT
        try:
            answer = self._pool.send(Call("POST", "/v2/repository/index", b"{}"), timeout=TIMEOUT)
            with readable():
                index = decode_json(answer.content, list[IndexEntry])
        except ScoringError as error:
            return Models((), [error.detail])
        # One entry a version: of several, the one that answers stands for the model.
        entries = {entry.name: entry for entry in sorted(index, key=lambda entry: entry.state == "READY")}
        return Models(in_parallel(lambda entry: self._about(entry, until), list(entries.values())))

    def _about(self, entry: IndexEntry, until: float) -> ModelInfo:
        """The model as its metadata describe it; by name alone, and of the pool's own kind, where there are none."""
        call = Call("GET", f"/v2/models/{quote(entry.name, safe='')}")
        try:
            answer = self._pool.send(call, timeout=until - time.monotonic())
            with readable():
                about = decode_json(answer.content, ModelMetadata).parameters
        except ScoringError:
            about = {}
        ready = entry.state == "READY"
        return ModelInfo(
            name=entry.name,
            version=entry.version,
            kind=str(about.get("kind", self._kind)),
            title=str(about.get("title") or entry.name),
            description=str(about.get("description", "")),
            sample=bool(about.get("sample", False)),
            ready=ready,
            reason="" if ready else entry.reason or "It is being loaded.",
            metrics=about.get("metrics") or {},
        )


def in_parallel(call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What the call returns for each item, in their order. The calls log with the id of this request."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        waiting = [threads.submit(copy_context().run, call, item) for item in items]
        return [each.result() for each in waiting]
