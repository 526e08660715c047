"""Whether a worker, or beat, still goes round its loop: what a kubelet asks at METRICS_BIND.

A process can be there, and answer, while the loop that takes messages hangs for ever: so the loop itself notes each
round. Whoever waits for the broker is alive, and not ready: to be started anew would not bring the broker back.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.beat import Scheduler
from django.conf import settings

NOTE_EVERY = 2.0  # seconds

STARTING = "It is starting."
NO_BROKER = "It waits for the message broker."
STUCK = "Its loop has not gone round for {seconds:.0f} s."


class Rounds:
    """When a loop last went round. One thread notes it, others ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._noted_at = math.inf
        self._waits_because = STARTING

    def note(self) -> None:
        self._noted_at, self._waits_because = self._clock(), ""

    def wait(self, because: str) -> None:
        """Until it is noted again, no round is missed."""
        self._noted_at, self._waits_because = math.inf, because

    def not_live_because(self) -> str:
        """Empty while it lives. A round takes less than three seconds, and waits for nothing but the broker."""
        still = self._clock() - self._noted_at
        return STUCK.format(seconds=still) if still > settings.WORKER_STUCK_AFTER else ""

    def not_ready_because(self) -> str:
        return self.not_live_because() or self._waits_because


of_worker, of_beat = Rounds(), Rounds()


class NoteRounds(bootsteps.StartStopStep):
    """Has the loop in which a worker takes messages note its rounds, as long as it has a connection to the broker."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, parent: Any) -> None:
        of_worker.note()
        if parent.hub:  # that of Redis; with files as the broker there is none, and nobody probes
            parent.hub.timer.call_repeatedly(NOTE_EVERY, of_worker.note)
        else:
            of_worker.wait("")

    def stop(self, parent: Any) -> None:
        of_worker.wait(NO_BROKER)


class NotingScheduler(Scheduler):
    """beat's, which keeps no file that a kill could damage, and notes its rounds."""

    def tick(self, *args: Any, **options: Any) -> Any:
        seconds = super().tick(*args, **options)
        of_beat.note()
        return seconds

    def _ensure_connected(self) -> Any:
        """Before it sends for the first time: as long as that takes."""
        of_beat.wait(NO_BROKER)
        connection = super()._ensure_connected()  # type: ignore[misc]  # which its types do not know
        of_beat.note()
        return connection
