"""Figures of a long span of time, read once for all who look."""

import threading
import time
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T")

SHARE = 1 / 600  # of the span that figures are about; as long they are kept
LONGEST = 60.0  # seconds
MOST = 200


class Remembered(Generic[T]):
    """What was read is kept for a six-hundredth of the span that it is about, for a minute at most.

    So a process reads about as many rows a second however long the span, and however many people look.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[float, T]] = {}  # until when on the monotonic clock, and what

    def get(self, key: Hashable, span: timedelta, read: Callable[[], T]) -> T:
        """What `read` returned last for the key, or returns now. Who looks meanwhile waits for it."""
        with self._lock:
            until, known = self._known.get(key, (0.0, None))
            if known is not None and time.monotonic() < until:
                return known
            found = read()
            now = time.monotonic()
            if len(self._known) >= MOST:
                self._known = {each: kept for each, kept in self._known.items() if kept[0] > now}
            self._known[key] = now + min(span.total_seconds() * SHARE, LONGEST), found
            return found
