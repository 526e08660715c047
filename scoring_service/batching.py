"""Many waiting rows, one model call.

An idle version scores at once; while it is busy, and for a moment after, arrivals gather into the next batch, so
batching adds no wait of its own under low load. The queue is bounded. Every caller gets exactly one answer or error,
whatever happens to the others.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from scoring_service.errors import (
    BadRequest,
    BadRow,
    DeadlineExpired,
    DeviceLost,
    NotReady,
    OutOfDeviceMemory,
    Overloaded,
    ServiceError,
    WrongAnswer,
)
from scoring_service.metrics import Metrics
from scoring_service.runtimes.base import Row, RowResult

GATHER_SHARE = 0.1  # of the last batch's time
GATHER_MOST = 0.05  # seconds


@dataclass(eq=False, slots=True)
class Call:
    """The rows of one request. The future holds one result or BadRow a row, or the error of the whole call."""

    rows: Sequence[Row]
    expires_at: float  # on the monotonic clock, seconds
    future: "asyncio.Future[list[RowResult | BadRow]]"
    arrived_at: float
    results: list[Any] = field(init=False)
    missing: int = field(init=False)  # results that are still to come
    queue_seconds: float = 0.0  # wait of its first row
    model_seconds: float = 0.0  # of all batches its rows were in

    def __post_init__(self) -> None:
        self.results = [None] * len(self.rows)
        self.missing = len(self.rows)

    @property
    def waits(self) -> bool:
        """False once it has its answer, its caller has left, or its deadline has passed."""
        return not self.future.done()


@dataclass(frozen=True, slots=True)
class Job:
    call: Call
    index: int

    @property
    def row(self) -> Row:
        return self.call.rows[self.index]


@dataclass(slots=True)
class Totals:
    """Sums since the version was loaded; times in seconds."""

    rows: int = 0  # scored, the bad ones among them
    bad_rows: int = 0
    failed_rows: int = 0  # those of batches that raised an error
    batches: int = 0
    queue_seconds: float = 0.0
    model_seconds: float = 0.0


class Batcher:
    """The queue in front of one loaded version. All methods belong to the event loop's thread."""

    def __init__(
        self,
        score: Callable[[Sequence[Row]], Sequence[RowResult | BadRow]],
        executor: Executor,
        *,
        max_rows: int,
        queue_rows: int,
        metrics: Metrics,
        labels: tuple[str, str],
        on_device_lost: Callable[[], None],
    ) -> None:
        """score: of the runtime, called only in `executor`; labels: model and version, for the metrics."""
        self._score = score
        self._executor = executor
        self._max_rows = max_rows
        self._queue_rows = queue_rows
        self._queue: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._expected = 0  # rows, when the last batch's callers come back
        self._last_ended = self._last_took = 0.0  # on the monotonic clock, and seconds
        self._worker = asyncio.create_task(self._work())
        self._on_device_lost = on_device_lost
        self.totals = Totals()
        self._rows_metric = {
            outcome: metrics.rows.labels(*labels, outcome) for outcome in ("scored", "bad", "failed", "dropped")
        }
        self._wait_metric = metrics.queue_wait.labels(*labels)
        self._model_metric = metrics.model_time.labels(*labels)
        self._batch_metric = metrics.batch_rows.labels(*labels)
        self._queued_metric = metrics.queued.labels(*labels)

    @property
    def takes_more(self) -> bool:
        """False once the version is being unloaded."""
        return not self._closing

    def submit(self, rows: Sequence[Row], expires_at: float) -> Call:
        """Queues the rows of one request; cancel the call's future when nobody waits for it any more.

        expires_at: when the answer becomes worthless, on the monotonic clock.
        Raises Overloaded when there is no room for all of them now, BadRequest when there never is, NotReady once the
        version is being unloaded.
        """
        if self._closing:
            raise NotReady("this version is being unloaded")
        if len(rows) > self._queue_rows:
            raise BadRequest(f"{len(rows)} rows in one request; this pod takes at most {self._queue_rows}")
        if len(self._queue) + len(rows) > self._queue_rows:
            self._drop_abandoned()
        if len(self._queue) + len(rows) > self._queue_rows:
            raise Overloaded(f"the queue of {self._queue_rows} rows is full")
        call = Call(rows, expires_at, asyncio.get_running_loop().create_future(), time.monotonic())
        if not rows:
            call.future.set_result([])
        self._queue.extend(Job(call, index) for index in range(len(rows)))
        self._queued_metric.set(len(self._queue))
        self._arrived.set()
        return call

    async def close(self) -> None:
        """Takes nothing more, and returns when all that is queued has its answer."""
        self._closing = True
        self._arrived.set()
        await self._worker

    async def _work(self) -> None:
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather()
            batch = self._take()
            if batch:
                began = time.monotonic()
                await self._settle(batch)
                self._last_ended = time.monotonic()
                self._last_took = self._last_ended - began
                self._expected = len(self._queue) + len(batch)

    async def _gather(self) -> None:
        """Right after a batch, waits a moment for its callers to ask again, to join those that wait already.

        They would else come back as a batch of the first one and a batch of the others. A version that was idle longer
        than that moment does not wait at all.
        """
        until = self._last_ended + min(GATHER_SHARE * self._last_took, GATHER_MOST)
        expected = min(self._expected, self._max_rows)
        while len(self._queue) < expected and not self._closing and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _take(self) -> list[Job]:
        """The next rows that somebody still waits for, oldest first."""
        batch: list[Job] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._max_rows:
            job = self._queue.popleft()
            if job.call.waits and job.call.expires_at <= now:
                job.call.future.set_exception(DeadlineExpired("the deadline passed while the rows waited"))
            if not job.call.waits:
                self._rows_metric["dropped"].inc()
                continue
            wait = now - job.call.arrived_at
            self._wait_metric.observe(wait)
            self.totals.queue_seconds += wait
            if job.index == 0:
                job.call.queue_seconds = wait
            batch.append(job)
        self._queued_metric.set(len(self._queue))
        return batch

    def _drop_abandoned(self) -> None:
        """Makes room: rows that nobody waits for any more would else hold their place until the model is free."""
        self._queue = deque(self._wanted(list(self._queue)))

    def _wanted(self, jobs: list[Job]) -> list[Job]:
        """Those that somebody still waits for."""
        waiting = [job for job in jobs if job.call.waits]
        self._rows_metric["dropped"].inc(len(jobs) - len(waiting))
        return waiting

    async def _settle(self, batch: list[Job]) -> None:
        """Gives each waiting caller its rows' results or an error. Rows whose caller has left are skipped."""
        began = time.monotonic()
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._scored, [job.row for job in batch]
            )
        except OutOfDeviceMemory as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._settle(batch[:half])
                if rest := self._wanted(batch[half:]):
                    await self._settle(rest)
            else:
                self._fail(batch, error)
            return
        except ServiceError as error:
            self._fail(batch, error)
            if isinstance(error, DeviceLost):
                self._on_device_lost()
            return
        seconds = time.monotonic() - began
        self._model_metric.observe(seconds)
        self._batch_metric.observe(len(batch))
        bad = sum(isinstance(result, BadRow) for result in results)
        self._rows_metric["bad"].inc(bad)
        self._rows_metric["scored"].inc(len(batch) - bad)
        self.totals.batches += 1
        self.totals.rows += len(batch)
        self.totals.bad_rows += bad
        self.totals.model_seconds += seconds
        previous = None
        for job, result in zip(batch, results, strict=True):
            call = job.call
            if call is not previous:
                call.model_seconds += seconds
                previous = call
            call.results[job.index] = result
            call.missing -= 1
            if call.missing == 0 and call.waits:
                call.future.set_result(call.results)

    def _scored(self, rows: Sequence[Row]) -> Sequence[RowResult | BadRow]:
        """As many results as rows, or a ServiceError. Runs in the executor."""
        try:
            results = self._score(rows)
            if len(results) != len(rows):
                raise WrongAnswer(f"the model gave {len(results)} results for {len(rows)} rows")
        except ServiceError:
            raise
        except MemoryError as error:
            raise OutOfDeviceMemory("there was not enough memory for so many rows at once") from error
        # Whatever else a runtime raises is the answer of this batch alone. StopIteration and SystemExit too: neither
        # would get through a future. Its text may hold what somebody asked; it stays out of the answer.
        except BaseException as error:
            raise ServiceError("the model failed on this batch") from error
        return results

    def _fail(self, batch: list[Job], error: ServiceError) -> None:
        self._rows_metric["failed"].inc(len(batch))
        self.totals.failed_rows += len(batch)
        for job in batch:
            if job.call.waits:
                job.call.future.set_exception(error)
