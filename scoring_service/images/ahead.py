"""Pictures are decoded before it is their turn: while others are looked at, or are still on their way."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar
from weakref import ref

from scoring_service.runtimes.base import Row

T = TypeVar("T")


class Ahead(Generic[T]):
    """Threads that prepare rows: at once those whose turn has come, else those that wait, in their order.

    What is ready lies here until it is taken, or until nobody holds the row any more.
    """

    def __init__(self, prepare: Callable[[Row], T], *, threads: int, most: int) -> None:
        """most: rows that may lie here before it is their turn."""
        self._prepare = prepare
        self._threads = threads
        self._most = most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._lock = threading.RLock()
        # Both by the row's id, which is its own for as long as somebody holds it; a reference tells when nobody does.
        self._waiting: dict[int, ref[Row]] = {}
        self._begun: dict[int, tuple[ref[Row], Future[T]]] = {}
        self._running = 0  # of those begun
        self._pauses = 0  # under way

    def expect(self, rows: Sequence[Row]) -> None:
        """These wait from now on."""
        for row in rows:
            self._waiting[id(row)] = ref(row, self._forgetting(id(row)))
        self._begin_more()

    def take(self, rows: Sequence[Row]) -> list[T]:
        """What each has become. Raises what `prepare` raises."""
        with self._lock:
            futures = [self._taken(row) for row in rows]
        self._begin_more()
        return [future.result() for future in futures]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile nothing is begun that only waits."""
        with self._lock:
            self._pauses += 1
        try:
            yield
        finally:
            with self._lock:
                self._pauses -= 1
            self._begin_more()

    def close(self) -> None:
        """Waits for what is being prepared; what only waits is forgotten."""
        with self._lock:
            self._waiting.clear()
        self._pool.shutdown()

    def _taken(self, row: Row) -> "Future[T]":
        self._waiting.pop(id(row), None)
        begun = self._begun.pop(id(row), None)
        return begun[1] if begun else self._pool.submit(self._prepare, row)

    def _begin_more(self) -> None:
        """Never more than there are threads, so that those whose turn has come find no queue before them."""
        with self._lock:
            while self._waiting and not self._pauses and self._has_room:
                key = next(iter(self._waiting))
                reference = self._waiting.pop(key)
                row = reference()
                if row is not None:
                    self._running += 1
                    self._begun[key] = reference, self._pool.submit(self._prepared, row)

    @property
    def _has_room(self) -> bool:
        return self._running < self._threads and len(self._begun) < self._most

    def _prepared(self, row: Row) -> T:
        try:
            return self._prepare(row)
        finally:
            with self._lock:
                self._running -= 1
                self._begin_more()

    def _forgetting(self, key: int) -> Callable[[object], None]:
        def forget(_: object) -> None:
            self._waiting.pop(key, None)
            self._begun.pop(key, None)

        return forget
