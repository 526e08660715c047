"""Counts in memory on their way into the database.

Adding costs some microseconds and never waits for the database; a thread of each process writes once a second. What
was counted waits, within bounds, while the database is away.
"""

import atexit
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections
from django.db.models import Model

log = structlog.get_logger(__name__)

EVERY = 1.0  # seconds between two writes
LONGEST_PAUSE = 15.0  # seconds, while the database is away
MOST_WAITING = 10_000  # subjects that wait for it; then the oldest go
LOOK_WITHIN = 1.0  # seconds that who asks what waits does so for a write under way
LAST_WRITE_WITHIN = 5.0  # seconds that the end of the process waits for a write under way


class Sums(Protocol):
    """What is counted of one subject."""

    requests: int

    def add(self, other: Self, /) -> None: ...


S = TypeVar("S", bound=Hashable)  # what is counted apart
C = TypeVar("C", bound=Sums)


def add_latencies(to: dict[int, int], more: Mapping[int, int] | Mapping[str, int]) -> None:
    """Adds requests by bucket (usage/latencies.py), also from a row of the database, whose JSON knows only texts."""
    for bucket, count in more.items():
        to[int(bucket)] = to.get(int(bucket), 0) + count


def inserts(row_of: Callable[[S, C], Model]) -> Callable[[Mapping[S, C]], None]:
    """Writes by a new row for each subject, which `row_of` makes."""

    def write(counted: Mapping[S, C]) -> None:
        rows: Any = [row_of(subject, counts) for subject, counts in counted.items()]
        type(rows[0])._default_manager.bulk_create(rows)

    return write


class Accumulator(Generic[S, C]):
    """Counts of one process on their way into the database. Used by many threads at once."""

    def __init__(self, name: str, write: Callable[[Mapping[S, C]], None]) -> None:
        """name: for the log; write: puts counts into the database, all or none."""
        self._name, self._write = name, write
        self._in_background = False
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begins with nothing: in a forked process, which has neither the thread nor its locks, and between tests."""
        self._lock = threading.Lock()  # of `_waiting`; never held while the database is asked
        self._writing = threading.RLock()  # held by the one who writes
        self._waiting: dict[S, C] = {}
        self._under_way: dict[S, C] = {}  # taken out, and not yet known to be written
        self._thread: threading.Thread | None = None

    def add(self, subject: S, counts: C) -> None:
        with self._lock:
            self._add(subject, counts)
            if self._in_background and self._thread is None:
                self._thread = threading.Thread(target=self._write_for_ever, name=self._name, daemon=True)
                self._thread.start()

    def _add(self, subject: S, counts: C) -> None:
        if known := self._waiting.get(subject):
            known.add(counts)
            return
        if len(self._waiting) >= MOST_WAITING:
            lost = self._waiting.pop(next(iter(self._waiting)))
            log.warning("counts_lost", of=self._name, requests=lost.requests)
        self._waiting[subject] = counts

    def write_in_background(self) -> None:
        """From now on a thread writes once a second, and the end of the process writes the rest."""
        if not self._in_background:
            self._in_background = True
            atexit.register(self._write_the_rest)

    def write(self) -> None:
        """Writes what was counted until now. While the database is away it is kept; its error is raised.

        What the database refuses is lost, so that the rest does not wait behind it; that error is raised too.
        """
        with self._writing:
            with self._lock:
                self._under_way, self._waiting = self._waiting, {}
            try:
                if self._under_way:
                    self._write(self._under_way)
            except (OperationalError, InterfaceError):
                with self._lock:
                    since, self._waiting = self._waiting, self._under_way
                    self._under_way = {}
                    for subject, counts in since.items():
                        self._add(subject, counts)
                raise
            finally:
                self._under_way = {}

    @contextmanager
    def waiting(self, *subjects: S) -> Iterator[dict[S, list[C]]]:
        """What is counted of the subjects and not yet written; each may have several parts, to be added.

        Inside, the database holds all the rest, for nothing is being written. A write that takes longer than a second
        counts as not done: it waits for the database.
        """
        alone = self._writing.acquire(timeout=LOOK_WITHIN)
        try:
            with self._lock:
                parts = (self._under_way, self._waiting)
                waiting = {subject: [copy(part[subject]) for part in parts if subject in part] for subject in subjects}
            yield waiting
        finally:
            if alone:
                self._writing.release()

    def _write_for_ever(self) -> None:
        failures = 0
        while True:
            time.sleep(min(EVERY * 2**failures, LONGEST_PAUSE))
            if self._waiting:
                close_old_connections()
                failures = 0 if self._written() else min(failures + 1, 10)
                close_old_connections()

    def _write_the_rest(self) -> None:
        """Called while the process ends, when the thread may still be writing. Keeps the lock: nobody writes after."""
        if self._writing.acquire(timeout=LAST_WRITE_WITHIN):
            self._written()

    def _written(self) -> bool:
        """Writes; False while the database is away. What goes wrong is logged: nobody is there to hear it."""
        try:
            self.write()
        except (OperationalError, InterfaceError) as error:
            log.warning("counts_not_written", of=self._name, error=type(error).__name__, waiting=len(self._waiting))
            return False
        except Exception:  # whatever it is, the thread goes on
            log.exception("counts_lost", of=self._name)
        return True
