"""Counts in memory on their way into the database.

Adding costs some microseconds and never waits for the database; a thread of each process writes once a second. What
was counted waits, within bounds, while the database is away.
"""

import atexit
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections

from webapp.usage.models import Traffic

log = structlog.get_logger(__name__)

EVERY = 1.0  # seconds between two writes
LONGEST_PAUSE = 15.0  # seconds, while the database is away
MOST_WAITING = 10_000  # subjects that wait for it; then the oldest go
LAST_WRITE_WITHIN = 5.0  # seconds that the end of the process waits for a write under way


@dataclass(frozen=True)
class Subject:
    """What is counted apart: each version, pinned or not, in each second (since 1970)."""

    second: int
    model: str
    version: str
    pinned: bool


@dataclass
class Counts:
    """How the requests of one subject went. latency: requests by bucket."""

    requests: int = 0
    errors: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    confidence_sum: float = 0.0
    confidence_count: int = 0

    def add(self, other: "Counts") -> None:
        self.add_row(other.requests, other.errors, other.latency, other.confidence_sum, other.confidence_count)

    def add_row(
        self,
        requests: int,
        errors: int,
        latency: Mapping[int, int] | Mapping[str, int],
        confidence_sum: float,
        confidence_count: int,
    ) -> None:
        """Adds a row of the database, whose JSON has made texts of the buckets' numbers."""
        self.requests += requests
        self.errors += errors
        for bucket, count in latency.items():
            self.latency[int(bucket)] = self.latency.get(int(bucket), 0) + count
        self.confidence_sum += confidence_sum
        self.confidence_count += confidence_count


class Accumulator:
    """Counts of one process on their way into the database. Used by many threads at once."""

    def __init__(self) -> None:
        self._in_background = False
        self.forget()

    def forget(self) -> None:
        """Begins with nothing: in a forked process, which has neither the thread nor its locks, and between tests."""
        self._lock = threading.Lock()  # of `_waiting`; never held while the database is asked
        self._writing = threading.RLock()  # held by the one who writes
        self._waiting: dict[Subject, Counts] = {}
        self._thread: threading.Thread | None = None

    def add(self, subject: Subject, counts: Counts) -> None:
        with self._lock:
            self._add(subject, counts)
            if self._in_background and self._thread is None:
                self._thread = threading.Thread(target=self._write_for_ever, name="traffic", daemon=True)
                self._thread.start()

    def _add(self, subject: Subject, counts: Counts) -> None:
        if known := self._waiting.get(subject):
            known.add(counts)
            return
        if len(self._waiting) >= MOST_WAITING:
            lost = self._waiting.pop(next(iter(self._waiting)))
            log.warning("traffic_lost", requests=lost.requests)
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
                taken, self._waiting = self._waiting, {}
            try:
                Traffic.objects.bulk_create(row_of(subject, counts) for subject, counts in taken.items())
            except (OperationalError, InterfaceError):
                with self._lock:
                    since, self._waiting = self._waiting, taken
                    for subject, counts in since.items():
                        self._add(subject, counts)
                raise

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
            log.warning("traffic_not_written", error=type(error).__name__, waiting=len(self._waiting))
            return False
        except Exception:  # whatever it is, the thread goes on
            log.exception("traffic_lost")
        return True


def row_of(subject: Subject, counts: Counts, seconds: int = Traffic.SECOND) -> Traffic:
    return Traffic(
        at=datetime.fromtimestamp(subject.second, UTC),
        seconds=seconds,
        model=subject.model,
        version=subject.version,
        pinned=subject.pinned,
        requests=counts.requests,
        errors=counts.errors,
        latency=counts.latency,
        confidence_sum=counts.confidence_sum,
        confidence_count=counts.confidence_count,
    )
