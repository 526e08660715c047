"""Many waiting rows, one model call.

An idle version scores at once; while it is busy, and for a moment after, arrivals gather into the next batch, so
batching adds no wait of its own under low load. Calls and queue are bounded by rows and by the time they are expected
to take: who would have to wait longer than the target is refused at once (docs/decisions/0014). Every caller gets
exactly one answer or error, whatever happens to the others.

Rows of low priority wait in a queue of their own, so that they take no place from others, and are scored while no
others wait, in calls short enough that whoever comes meanwhile waits little (docs/decisions/0008). Where others never
stop coming, they get a small part of the model's time.
"""

import asyncio
import math
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
from scoring_service.pace import CallSize, Pace, RowCost
from scoring_service.runtimes.base import Row, RowResult

CALL_SHARE = 0.5  # of the target: one may come right after a call has begun, and then waits for it and its own
GATHER_SHARE = 0.1  # of the last batch's time
GATHER_MOST = 0.05  # seconds

LIGHT_MOST = 0.01  # seconds that the event loop may stand still for a call of the model
ALONE_AFTER = 30.0  # seconds
# While normal rows never end, low ones get this part of the model's time, in calls with normal ones between them.
LOW_SHARE = 0.1
NORMAL_BETWEEN = 2  # calls
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

    def has_room_for(self, rows: int) -> bool:
        """Raises BadRequest for more than it ever has room for."""
        if rows > self.most:
            raise BadRequest(f"{rows} rows{self._called} in one request; this pod takes at most {self.most}")
        return len(self) + rows <= self.most

    def add(self, call: Call) -> None:
        self.jobs.extend(Job(call, index) for index in range(len(call.rows)))

    def forget_unwanted(self) -> None:
        """Rows that nobody waits for would else hold their place until it is their turn."""
        self.jobs = deque(self.wanted(list(self.jobs)))

    @property
    def full(self) -> str:
        """What to tell whom there is no room for."""
        return f"the queue of {self.most} rows{self._called} is full"

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


class Batcher:
    """The queues in front of one loaded version. All methods belong to the event loop's thread."""

    def __init__(
        self,
        score: Callable[[Sequence[Row]], Sequence[RowResult | BadRow]],
        executor: Executor,
        *,
        max_rows: int,
        queue_rows: int,
        target: float,
        metrics: Metrics,
        labels: tuple[str, str],
        on_device_lost: Callable[[], None],
        light: Callable[[Sequence[Row]], bool] = lambda rows: False,
        expect: Callable[[Sequence[Row]], None] = lambda rows: None,
    ) -> None:
        """score: of the runtime, called only in `executor`, but for `light` rows; labels: model and version, for the
        metrics. target: seconds within which normal rows shall be scored. expect: told of rows as they join the queue.
        """
        self._score = score
        self._executor = executor
        self._target = target
        self._normal = Queue("normal", queue_rows, metrics, labels)
        self._low = Queue("low", queue_rows, metrics, labels)
        self._pace = Pace(max_rows)
        self._size = CallSize(max_rows, CALL_SHARE * target)
        self._cost = RowCost()
        self._ends_at = 0.0  # on the monotonic clock: when the call that runs is expected to end
        self._last_call_ended = math.inf  # on the monotonic clock, if rows waited already
        self._looked_over = False  # the queue, since the last call, for rows that nobody waits for
        self._owed = 0.0  # seconds of the model that low rows have earned by waiting for normal ones
        self._normal_between = 0  # calls since a low one, while low rows wait
        self._normal_came = -math.inf  # last, on the monotonic clock
        self._arrived = asyncio.Event()
        self._closing = False
        self._enough = 1  # normal rows waiting that wake the worker
        self._light = light
        self._expect = expect
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
        Raises Overloaded when there is no room for all of them now, or they would wait too long, BadRequest when there
        never is, NotReady once the version is being unloaded.
        """
        if self._closing:
            raise NotReady("this version is being unloaded")
        queue = self._low if low else self._normal
        if not queue.has_room_for(len(rows)):
            queue.forget_unwanted()
            if not queue.has_room_for(len(rows)):
                raise Overloaded(queue.full, self._expected_wait(low=low))
        if not low and (refusal := self.refusal()):
            raise refusal
        call = Call(rows, expires_at, asyncio.get_running_loop().create_future(), time.monotonic())
        queue.add(call)
        if not low:
            self._normal_came = call.arrived_at
        if not rows:
            call.future.set_result([])
        self._expect(rows)
        if len(self._normal) >= self._enough or low:
            self._arrived.set()
        return call

    @property
    def is_crowded(self) -> bool:
        """Whether more normal rows wait than go into one call."""
        return len(self._normal.jobs) >= self._size.rows

    def refusal(self) -> Overloaded | None:
        """What normal rows are told that come now and would not be scored within the target; None when they are let in.

        What goes into one call may always wait, for else the model would.
        """
        if not self.is_crowded:
            return None
        wait = self._expected_wait()
        if wait + self._size.rows * self._cost.among(self._size.rows) <= self._target:
            return None
        if not self._looked_over:
            self._looked_over = True
            self._normal.forget_unwanted()
            return self.refusal()
        return Overloaded(f"{len(self._normal)} rows wait, which takes longer than this pod lets anybody wait", wait)

    def _expected_wait(self, *, low: bool = False) -> float:
        """Seconds until all rows that wait now have been scored; low: those of low priority, too."""
        seconds = max(0.0, self._ends_at - time.monotonic())
        seconds += len(self._normal) * self._cost.among(self._size.rows) * (1 + LOW_SHARE if self._low else 1)
        if low:
            seconds += len(self._low) * self._cost.among(self._pace.rows(alone=False))
        return seconds

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
            # Low rows never join waiting normal ones, which would wait for their results too, and hardly ever go before
            # them.
            if not self._low_is_due and (batch := self._normal.take(self._size.rows, self.totals)):
                took = await self._settle_timed(batch, self._normal)
                self._pace.note_normal(len(batch), took)
                self._size.note(len(batch), took)
                self._last_ended, self._last_took = time.monotonic(), took
                self._expected = len(self._normal) + len(batch)
                self._owed = self._owed + LOW_SHARE * took if self._low else 0.0
                self._normal_between = self._normal_between + 1 if self._low else 0
                continue
            self._owed, self._normal_between = 0.0, 0
            alone = time.monotonic() - self._normal_came > ALONE_AFTER
            most = self._pace.rows(alone=alone)
            if batch := self._low.take(most, self.totals):
                took = await self._settle_timed(batch, self._low)
                self._pace.note_low(len(batch), took, most=most, alone=alone)

    @property
    def _low_is_due(self) -> bool:
        """Whether low rows have waited so long for normal ones that it is their turn."""
        return self._normal_between >= NORMAL_BETWEEN and self._owed >= self._pace.longest(alone=False)

    async def _gather(self) -> None:
        """Right after a batch, waits a moment for its callers to ask again, to join those that wait already.

        They would else come back as a batch of the first one and a batch of the others. A version that was idle longer
        than that moment does not wait at all.
        """
        left = self._last_ended + min(GATHER_SHARE * self._last_took, GATHER_MOST) - time.monotonic()
        expected = min(self._expected, self._size.rows)
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
        """Settles the batch; returns the seconds it took.

        Where rows wait, a call costs more than its own time: what the event loop does between it and the last one, too.
        """
        began = time.monotonic()
        self._ends_at = began + len(batch) * self._cost.among(len(batch))
        before, self._last_call_ended = self._last_call_ended, math.inf
        await self._settle(batch, queue)
        ended = time.monotonic()
        self._cost.note(len(batch), ended - min(began, before))
        self._last_call_ended = ended if self._normal else math.inf
        self._ends_at = 0.0
        self._looked_over = False
        return ended - began

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
