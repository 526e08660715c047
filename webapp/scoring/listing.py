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
HEATMAP = "heatmap"  # the output of image models that can say where they saw what they name


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
        models: dict[str, list[IndexEntry]] = {}
        for entry in index:
            models.setdefault(entry.name, []).append(entry)
        return Models(in_parallel(lambda name: self._about(name, models[name], until), list(models)))

    def _about(self, name: str, index: Sequence[IndexEntry], until: float) -> ModelInfo:
        """The model as the version describes it that answers those who name none.

        By name alone, of the pool's own kind and not ready, where none does: versions that are only being checked or
        kept for going back are in the index too. index: the entries of the model's versions.
        """
        call = Call("GET", f"/v2/models/{quote(name, safe='')}")
        try:
            answer = self._pool.send(call, timeout=until - time.monotonic())
            with readable():
                metadata = decode_json(answer.content, ModelMetadata)
                version, *_others = metadata.versions
        except ScoringError as error:
            reason = error.said or error.detail
            return ModelInfo(name, "", self._kind, title=name, description="", sample=False, ready=False, reason=reason)
        # A pod that the index does not come from may answer with another version; that one is there.
        current = IndexEntry(name=name, version=version, state="READY")
        entry = next((entry for entry in index if entry.version == version), current)
        ready, about = entry.state == "READY", metadata.parameters
        return ModelInfo(
            name=name,
            version=version,
            kind=str(about.get("kind", self._kind)),
            title=str(about.get("title") or name),
            description=str(about.get("description", "")),
            sample=bool(about.get("sample", False)),
            ready=ready,
            reason="" if ready else entry.reason or "It is being loaded.",
            explains=any(output.name == HEATMAP for output in metadata.outputs),
            metrics=about.get("metrics") or {},
        )


def in_parallel(call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What the call returns for each item, in their order. The calls log with the id of this request."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        waiting = [threads.submit(copy_context().run, call, item) for item in items]
        return [each.result() for each in waiting]
