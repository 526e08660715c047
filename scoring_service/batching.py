"""Many waiting rows, one model call.

An idle version scores at once; while it is busy, and for a moment after, arrivals gather into the next batch, so
batching adds no wait of its own under low load. The queue is bounded. Every caller gets exactly one answer or error,
whatever happens to the others.

Rows of low priority wait in a queue of their own, so that they take no place from others, and are scored while no
others wait, in calls short enough that whoever comes meanwhile waits little (docs/decisions/0008).
"""

import asyncio
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
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

# How long a call with rows of low priority may take, for whoever comes meanwhile waits for its end: so many times as
# long as one with a single row, or these seconds; longer after a while in which nobody came.
LOW_TIMES, LOW_TIMES_ALONE = 3, 8
LOW_SECONDS = 0.004
LIGHT_MOST = 0.01  # seconds that the event loop may stand still for a call of the model
ALONE_AFTER = 30.0  # seconds
PROBE_EVERY = 32  # low calls at most: then one has a single row, unless a single row has come by itself
RECENT = 9  # measurements
LOOP_TURNS = 4  # of the event loop, from a request that has arrived to its rows in the queue, or from results to answer


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


class Queue:
    """Rows of one priority that wait, oldest first, and what is counted of them."""

    def __init__(self, priority: str, most: int, metrics: Metrics, labels: tuple[str, str]) -> None:
        """most: rows that may wait."""
        self.most = most
        self.jobs: deque[Job] = deque()
        self.counted = {
            outcome: metrics.rows.labels(*labels, outcome, priority)
            for outcome in ("scored", "bad", "failed", "dropped")
        }
        self.wait = metrics.queue_wait.labels(*labels, priority)
        self._called = "" if priority == "normal" else f" of {priority} priority"
        metrics.queued.labels(*labels, priority).set_function(self.__len__)

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, call: Call) -> None:
        """Raises Overloaded when there is no room for all its rows now, BadRequest when there never is."""
        rows = len(call.rows)
        if rows > self.most:
            raise BadRequest(f"{rows} rows{self._called} in one request; this pod takes at most {self.most}")
        if (
            len(self) + rows > self.most
        ):  # rows that nobody waits for would else hold their place until it is their turn
            self.jobs = deque(self.wanted(list(self.jobs)))
        if len(self) + rows > self.most:
            raise Overloaded(f"the queue of {self.most} rows{self._called} is full")
        self.jobs.extend(Job(call, index) for index in range(rows))

    def wanted(self, jobs: list[Job]) -> list[Job]:
        """Those that somebody still waits for."""
        waiting = [job for job in jobs if job.call.waits]
        self.counted["dropped"].inc(len(jobs) - len(waiting))
        return waiting

    def take(self, most: int, totals: Totals) -> list[Job]:
        """The next rows that somebody still waits for, oldest first."""
        batch: list[Job] = []
        now = time.monotonic()
        while self.jobs and len(batch) < most:
            job = self.jobs.popleft()
            if job.call.waits and job.call.expires_at <= now:
                job.call.future.set_exception(DeadlineExpired("the deadline passed while the rows waited"))
            if not job.call.waits:
                self.counted["dropped"].inc()
                continue
            wait = now - job.call.arrived_at
            self.wait.observe(wait)
            totals.queue_seconds += wait
            if job.index == 0:
                job.call.queue_seconds = wait
            batch.append(job)
        return batch


class Pace:
    """How many rows of low priority one call of the model may have, learned from how long calls take."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._single: deque[float] = deque(maxlen=RECENT)  # seconds of calls with one row
        self._each: deque[float] = deque(maxlen=RECENT)  # seconds a row of low calls
        self._since_single = 0  # low calls
        self._probe_after = 0  # so many of them; at first one call has hardly told what the next one will take

    def longest(self, *, alone: bool) -> float:
        """Seconds that a low call may take. alone: no other rows have come for a while."""
        single = statistics.median(self._single) if self._single else 0.0
        return max((LOW_TIMES_ALONE if alone else LOW_TIMES) * single, LOW_SECONDS)

    def rows(self, *, alone: bool) -> int:
        """For the next low call."""
        if self._since_single >= self._probe_after or not self._single:
            return 1
        # The median, for a call that had to wait for the processor says nothing of the model. A row among others costs
        # no more than one alone, whatever was measured while the machine was slow: else calls would shrink to one row,
        # and nothing would ever be measured of larger ones again.
        single = statistics.median(self._single)
        each = min(statistics.median(self._each), single) if self._each else single
        return max(1, min(int(self.longest(alone=alone) / max(each, 1e-9)), self._max_rows))

    def note_normal(self, rows: int, seconds: float) -> None:
        """A call with normal rows has ended."""
        if rows == 1:
            self._single.append(seconds)
            self._since_single = 0
            self._probe_after = min(2 * self._probe_after + 1, PROBE_EVERY)

    def note_low(self, rows: int, seconds: float, *, most: int, alone: bool) -> None:
        """A low call has ended; it might have had `most` rows.

        With fewer it says little of what so many take, unless they took too long already.
        """
        self._since_single += 1
        if rows == 1:
            self.note_normal(rows, seconds)
        elif rows == most or seconds > self.longest(alone=alone):
            self._each.append(seconds / rows)


class Batcher:
    """The queues in front of one loaded version. All methods belong to the event loop's thread."""

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
        light: Callable[[Sequence[Row]], bool] = lambda rows: False,
    ) -> None:
        """score: of the runtime, called only in `executor`, but for `light` rows; labels: model and version, for the
        metrics.
        """
        self._score = score
        self._executor = executor
        self._max_rows = max_rows
        self._normal = Queue("normal", queue_rows, metrics, labels)
        self._low = Queue("low", queue_rows, metrics, labels)
        self._pace = Pace(max_rows)
        self._normal_came = -math.inf  # last, on the monotonic clock
        self._arrived = asyncio.Event()
        self._closing = False
        self._enough = 1  # normal rows waiting that wake the worker
        self._light = light
        self._row_took = math.inf  # seconds, in the last call; before the first one nobody knows
        self._expected = 0  # rows, when the last batch's callers come back
        self._last_ended = self._last_took = 0.0  # on the monotonic clock, and seconds
        self._worker = asyncio.create_task(self._work())
        self._on_device_lost = on_device_lost
        self.totals = Totals()
        self._model_metric = metrics.model_time.labels(*labels)
        self._batch_metric = metrics.batch_rows.labels(*labels)

    @property
    def takes_more(self) -> bool:
        """False once the version is being unloaded."""
        return not self._closing

    def submit(self, rows: Sequence[Row], expires_at: float, *, low: bool = False) -> Call:
        """Queues the rows of one request; cancel the call's future when nobody waits for it any more.

        expires_at: when the answer becomes worthless, on the monotonic clock. low: whether all others go first.
        Raises Overloaded when there is no room for all of them now, BadRequest when there never is, NotReady once the
        version is being unloaded.
        """
        if self._closing:
            raise NotReady("this version is being unloaded")
        call = Call(rows, expires_at, asyncio.get_running_loop().create_future(), time.monotonic())
        if low:
            self._low.add(call)
        else:
            self._normal.add(call)
            self._normal_came = call.arrived_at
        if not rows:
            call.future.set_result([])
        if len(self._normal) >= self._enough or low:
            self._arrived.set()
        return call

    async def close(self) -> None:
        """Takes nothing more, and returns when all that is queued has its answer."""
        self._closing = True
        self._arrived.set()
        await self._worker

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(0)  # answers leave before the next call, which may hold up the event loop
            while not (self._normal or self._low):
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            if self._normal:
                await self._gather()
            else:
                await self._let_others_in()
            # Low rows neither join waiting normal ones, which would wait for their results too, nor go before them.
            if batch := self._normal.take(self._max_rows, self.totals):
                took = await self._settle_timed(batch, self._normal)
                self._pace.note_normal(len(batch), took)
                self._last_ended, self._last_took = time.monotonic(), took
                self._expected = len(self._normal) + len(batch)
                continue
            alone = time.monotonic() - self._normal_came > ALONE_AFTER
            most = self._pace.rows(alone=alone)
            if batch := self._low.take(most, self.totals):
                took = await self._settle_timed(batch, self._low)
                self._pace.note_low(len(batch), took, most=most, alone=alone)

    async def _gather(self) -> None:
        """Right after a batch, waits a moment for its callers to ask again, to join those that wait already.

        They would else come back as a batch of the first one and a batch of the others. A version that was idle longer
        than that moment does not wait at all.
        """
        left = self._last_ended + min(GATHER_SHARE * self._last_took, GATHER_MOST) - time.monotonic()
        expected = min(self._expected, self._max_rows)
        if left <= 0 or len(self._normal) >= expected:
            return
        timer = asyncio.get_running_loop().call_later(left, self._arrived.set)
        self._enough = expected
        self._arrived.clear()
        try:
            await self._arrived.wait()
        finally:
            timer.cancel()
            self._enough = 1

    async def _let_others_in(self) -> None:
        """Lets the event loop finish what it has begun: normal rows on their way in, and answers on their way out.

        Once the model runs, each waits until its thread lets another one compute.
        """
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)

    async def _settle_timed(self, batch: list[Job], queue: Queue) -> float:
        """Settles the batch; returns the seconds it took."""
        began = time.monotonic()
        await self._settle(batch, queue)
        return time.monotonic() - began

    async def _settle(self, batch: list[Job], queue: Queue) -> None:
        """Gives each waiting caller its rows' results or an error. Rows whose caller has left are skipped."""
        began = time.monotonic()
        try:
            results = await self._score_rows([job.row for job in batch])
        except OutOfDeviceMemory as error:
            if len(batch) > 1:
                half = len(batch) // 2
                await self._settle(batch[:half], queue)
                if rest := queue.wanted(batch[half:]):
                    await self._settle(rest, queue)
            else:
                self._fail(batch, queue, error)
            return
        except ServiceError as error:
            self._fail(batch, queue, error)
            if isinstance(error, DeviceLost):
                self._on_device_lost()
            return
        seconds = time.monotonic() - began
        self._row_took = seconds / len(batch)
        self._model_metric.observe(seconds)
        self._batch_metric.observe(len(batch))
        bad = sum(isinstance(result, BadRow) for result in results)
        queue.counted["bad"].inc(bad)
        queue.counted["scored"].inc(len(batch) - bad)
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

    async def _score_rows(self, rows: Sequence[Row]) -> Sequence[RowResult | BadRow]:
        """In the executor's thread, or at once where the way there and back would take longer than the rows are worth.

        A model that computes in Python gains nothing by a thread of its own: the event loop's could not run meanwhile.
        """
        if len(rows) * self._row_took > LIGHT_MOST or not self._light(rows):
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._scored, rows)
        return self._scored(rows)

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

    def _fail(self, batch: list[Job], queue: Queue, error: ServiceError) -> None:
        queue.counted["failed"].inc(len(batch))
        self.totals.failed_rows += len(batch)
        for job in batch:
            if job.call.waits:
                job.call.future.set_exception(error)
