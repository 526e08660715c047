"""The batcher on its own: arrivals, departures, failures and shutdown in every order hypothesis thinks of."""

import asyncio
import itertools
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring_service.batching import Batcher
from scoring_service.errors import BadRow, DeadlineExpired, NotReady, OutOfDeviceMemory, Overloaded, ServiceError
from scoring_service.metrics import Metrics
from scoring_service.pace import CallSize, Pace, RowCost
from scoring_service.runtimes.base import Row

ENOUGH = 30.0  # seconds


class Model:
    """Answers each row with itself. What a row's text is decides whether its call fails; `fits` is its memory."""

    def __init__(self, fits: int = 1000) -> None:
        self.fits = fits
        self.go_on = threading.Event()
        self.go_on.set()
        self.batches: list[list[str]] = []

    def __call__(self, rows):
        self.go_on.wait(ENOUGH)
        texts = [row.inputs[0] for row in rows]
        if len(texts) > self.fits:
            raise OutOfDeviceMemory
        self.batches.append(texts)
        for text in texts:
            if text.startswith("crash"):
                raise ValueError(text)
            if text.startswith("end"):
                raise SystemExit
        results = [BadRow(text) if text.startswith("bad") else {"text": [text]} for text in texts]
        return results[:-1] if any(text.startswith("miscount") for text in texts) else results


def batcher_for(
    model, executor, *, max_rows=4, queue_rows=12, target=ENOUGH, light=False, expect=lambda rows: None
) -> Batcher:
    return Batcher(
        model,
        executor,
        max_rows=max_rows,
        queue_rows=queue_rows,
        target=target,
        metrics=Metrics(),
        labels=("m", "1"),
        on_device_lost=lambda: None,
        light=lambda rows: light,
        expect=expect,
    )


def rows(*texts: str) -> list[Row]:
    return [Row((text,)) for text in texts]


KINDS = st.sampled_from(["good", "good", "good", "bad", "crash", "end", "miscount"])
NUMBER = st.integers(0, 11)  # of a call
EVENTS = st.one_of(
    st.tuples(
        st.just("ask"),
        st.lists(KINDS, max_size=6),
        st.sampled_from([0.0, 0.002, ENOUGH, ENOUGH, ENOUGH]),  # seconds until its deadline
        st.booleans(),  # whether it is of low priority
    ),
    st.tuples(st.just("leave"), NUMBER),
    st.tuples(st.just("give up"), NUMBER),  # as when its deadline passes while the model is at it
    st.tuples(st.just("turns"), st.integers(1, 5)),  # of the event loop
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.003])),  # seconds
    st.tuples(st.sampled_from(["hold", "let go", "close"])),
)


@given(
    events=st.lists(EVENTS, max_size=30),
    max_rows=st.integers(1, 5),
    fits=st.integers(1, 5),
    target=st.sampled_from([1e-6, 0.001, ENOUGH]),
    light=st.booleans(),
)
def test_every_caller_gets_its_own_rows_or_one_error_whatever_the_others_do(events, max_rows, fits, target, light):
    """Callers come, leave and give up, the model is busy, fails and has no memory, and the version is unloaded, in any
    order.

    light: the model is called on the event loop's thread, and so never held.
    """

    async def play() -> None:
        model = Model(fits)
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor, max_rows=max_rows, target=target, light=light)
            closing = None
            calls: list[tuple[list[str], float, asyncio.Future]] = []
            gone, given_up = set(), set()
            for event, *told in events:
                match event, *told:
                    case "ask", kinds, seconds, low:
                        texts = [f"{kind} {len(calls)}.{row} {'low' if low else ''}" for row, kind in enumerate(kinds)]
                        try:
                            call = batcher.submit(rows(*texts), time.monotonic() + seconds, low=low)
                        except Overloaded:
                            assert not closing
                        except NotReady:
                            assert closing
                        else:
                            calls.append((texts, seconds, call.future))
                    case "leave", number if number < len(calls) and calls[number][2].cancel():
                        gone.add(number)
                    case "give up", number if number < len(calls) and not calls[number][2].done():
                        calls[number][2].set_exception(DeadlineExpired())
                        given_up.add(number)
                    case "turns", turns:
                        for _ in range(turns):
                            await asyncio.sleep(0)
                    case "wait", seconds:
                        await asyncio.sleep(seconds)
                    case ("hold",) if not light:
                        model.go_on.clear()
                    case ("let go",):
                        model.go_on.set()
                    case ("close",) if not closing:
                        closing = asyncio.create_task(batcher.close())
                        await asyncio.sleep(0)
            model.go_on.set()
            await asyncio.wait_for(closing or batcher.close(), ENOUGH)
            for number, (texts, seconds, future) in enumerate(calls):
                assert future.done(), "closing leaves nobody waiting"
                assert future.cancelled() == (number in gone)
                if number not in gone:
                    check(texts, future, may_expire=seconds < ENOUGH or number in given_up)
        scored = [text for batch in model.batches for text in batch]
        assert len(scored) == len(set(scored)), "no row is scored twice"
        assert all(len(batch) <= min(max_rows, fits) for batch in model.batches)
        assert all(len({text.endswith("low") for text in batch}) == 1 for batch in model.batches), "nobody is mixed"

    asyncio.run(play())


def check(texts, future, *, may_expire: bool) -> None:
    error = future.exception()
    if error is None:
        answers = [str(each) if isinstance(each, BadRow) else each["text"][0] for each in future.result()]
        assert answers == texts
    elif isinstance(error, DeadlineExpired):
        assert may_expire
    else:
        assert isinstance(error, ServiceError)


def test_an_idle_model_scores_at_once_and_a_busy_one_gathers():
    async def play() -> list[list[str]]:
        model = Model()
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)
            model.go_on.clear()
            calls = [batcher.submit(rows("first"), time.monotonic() + ENOUGH)]
            await asyncio.sleep(0.01)
            calls += [batcher.submit(rows(text), time.monotonic() + ENOUGH) for text in "abcde"]
            model.go_on.set()
            await asyncio.gather(*(call.future for call in calls))
            await batcher.close()
        return model.batches

    assert asyncio.run(play()) == [["first"], ["a", "b", "c", "d"], ["e"]]


def test_a_crash_tells_the_caller_nothing_of_what_was_asked():
    async def play() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(Model(), executor)
            with pytest.raises(ServiceError, match=r"^the model failed on this batch$"):
                await batcher.submit(rows("crash my diary"), time.monotonic() + ENOUGH).future
            await batcher.close()

    asyncio.run(play())


def test_the_second_half_of_a_batch_is_not_scored_when_nobody_waits_for_it_any_more():
    async def play() -> list[list[str]]:
        model = Model(fits=1)
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)
            with pytest.raises(ServiceError):
                await batcher.submit(rows("crash first", "good second"), time.monotonic() + ENOUGH).future
            await batcher.close()
        return model.batches

    assert asyncio.run(play()) == [["crash first"]]


def test_callers_who_ask_again_as_soon_as_they_are_answered_stay_one_batch():
    class Slow(Model):
        def __call__(self, rows):
            time.sleep(0.2)
            return super().__call__(rows)

    async def play() -> list[int]:
        model = Slow()
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)

            async def keep_asking(begin: float) -> None:
                await asyncio.sleep(begin)
                for _ in range(5):
                    await batcher.submit(rows("good"), time.monotonic() + ENOUGH).future
                    await asyncio.sleep(0.002)  # its answer travels, and its next question

            await asyncio.gather(*(keep_asking(begin) for begin in (0, 0.05, 0.05, 0.05)))
            await batcher.close()
        return [len(batch) for batch in model.batches]

    # The first finds an idle model and is scored at once; from then on all four wait for one another.
    assert asyncio.run(play()) == [1, 4, 4, 4, 4, 3]


def test_a_lone_caller_is_scored_at_once_however_often_it_asks():
    async def play() -> list[int]:
        model = Model()
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)
            for _ in range(5):
                await batcher.submit(rows("good"), time.monotonic() + ENOUGH).future
            await batcher.close()
        return [len(batch) for batch in model.batches]

    assert asyncio.run(play()) == [1, 1, 1, 1, 1]


def test_a_normal_row_waits_for_one_call_with_low_rows_at_most():
    async def play() -> list[list[str]]:
        model = Model()
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)
            model.go_on.clear()
            low = batcher.submit(rows(*(f"low {number}" for number in range(6))), time.monotonic() + ENOUGH, low=True)
            await asyncio.sleep(0.01)
            normal = [batcher.submit(rows(text), time.monotonic() + ENOUGH) for text in ("first", "second")]
            model.go_on.set()
            await asyncio.gather(low.future, *(call.future for call in normal))
            await batcher.close()
        return model.batches

    before, *rest = asyncio.run(play())
    assert before == ["low 0"], "a version that knows nothing yet of its model begins with one row"
    assert rest[0] == ["first", "second"]
    assert [text for batch in rest[1:] for text in batch] == [f"low {number}" for number in range(1, 6)]


def test_a_normal_request_that_is_being_read_when_a_low_call_ends_goes_before_the_next_one():
    async def play() -> list[list[str]]:
        model = Model()
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor)
            first, second = (
                batcher.submit(rows(*texts), time.monotonic() + ENOUGH, low=True) for texts in (["low 0"], ["low 1"])
            )

            async def arrive() -> None:
                await asyncio.sleep(0)
                await batcher.submit(rows("normal"), time.monotonic() + ENOUGH).future

            arriving: list[asyncio.Task] = []
            first.future.add_done_callback(lambda _: arriving.append(asyncio.create_task(arrive())))
            await second.future
            await arriving[0]
            await batcher.close()
        return model.batches

    assert asyncio.run(play()) == [["low 0"], ["normal"], ["low 1"]]


class Slow(Model):
    """Takes so many seconds a row."""

    def __init__(self, row: float) -> None:
        super().__init__()
        self.row = row

    def __call__(self, rows):
        time.sleep(self.row * len(rows))
        return super().__call__(rows)


def test_low_rows_are_scored_in_turn_where_normal_ones_never_stop():
    async def play() -> list[list[str]]:
        model = Slow(0.001)
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor, max_rows=1)
            low = batcher.submit(rows("low", "low", "low"), time.monotonic() + ENOUGH, low=True)

            async def keep_asking() -> None:
                while not low.future.done():
                    await batcher.submit(rows("normal"), time.monotonic() + ENOUGH).future

            await asyncio.wait_for(asyncio.gather(*(keep_asking() for _ in range(3))), ENOUGH)
            await batcher.close()
        return model.batches

    batches = asyncio.run(play())
    low_calls = [number for number, batch in enumerate(batches) if batch == ["low"]]
    assert len(low_calls) == 3
    assert all(after - before > 2 for before, after in itertools.pairwise(low_calls)), "normal ones go in between"


def sizes_until_steady(row: float, target: float, max_rows: int) -> list[int]:
    """How many rows each call of a model has that takes so many seconds a row, when many wait."""

    async def play() -> list[int]:
        model = Slow(row)
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor, max_rows=max_rows, queue_rows=1000, target=target)
            await batcher.submit(rows("good") * 10 * max_rows, time.monotonic() + ENOUGH).future
            await batcher.close()
        return [len(batch) for batch in model.batches]

    return asyncio.run(play())


def test_calls_have_as_few_rows_as_take_half_of_the_target():
    sizes = sizes_until_steady(row=0.010, target=0.080, max_rows=32)
    assert sizes[0] == 32, "nothing is known yet"
    assert max(sizes[5:]) <= 4
    assert sum(sizes) == 320


def test_calls_are_as_large_as_they_may_be_where_there_is_time():
    assert sizes_until_steady(row=0.0, target=ENOUGH, max_rows=32) == [32] * 10


def call_size_after(*seconds: float, max_rows: int = 32, longest: float = 0.1) -> int:
    """How many rows a call may have after calls that were full and took so long each."""
    size = CallSize(max_rows, longest)
    for each in seconds:
        size.note(size.rows, each)
    return size.rows


def test_one_call_that_took_long_by_chance_costs_half_at_most_and_is_made_up_for():
    assert call_size_after(5.0) == 16
    assert call_size_after(5.0, *[0.01] * 15) == 31
    assert call_size_after(5.0, *[0.01] * 20) == 32
    assert call_size_after(0.11) == 29


def test_a_call_always_has_a_row():
    assert call_size_after(*[5.0] * 20) == 1


def test_a_row_costs_what_it_did_in_calls_of_its_size_else_in_smaller_ones():
    cost = RowCost()
    assert cost.among(32) == 0.0
    cost.note(1, 0.010)
    assert cost.among(32) == 0.010
    cost.note(32, 0.064)
    cost.note(32, 0.064)
    cost.note(32, 5.0)
    assert cost.among(32) == 0.002, "the usual one"
    assert cost.among(8) == 0.010


def asked_while_busy(model: Model, *, asks: int, learned: int = 5, **settings) -> list[int | list[str]]:
    """The answer to each of the rows that come one by one while the model is held, or what Retry-After it was refused.

    learned: so many rows were scored before.
    """

    async def play() -> list[int | list[str]]:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_for(model, executor, queue_rows=1000, **settings)
            for _ in range(learned):
                await batcher.submit(rows("before"), time.monotonic() + ENOUGH).future
            model.go_on.clear()
            outcomes = [batcher.submit(rows("held"), time.monotonic() + ENOUGH).future]
            await asyncio.sleep(0.01)
            for number in range(asks):
                try:
                    outcomes.append(batcher.submit(rows(f"{number}"), time.monotonic() + ENOUGH).future)
                except Overloaded as error:
                    outcomes.append(error.retry_after)
            model.go_on.set()
            told = [each if isinstance(each, int) else await each for each in outcomes[1:]]
            await batcher.close()
        return [each if isinstance(each, int) else each[0]["text"] for each in told]

    return asyncio.run(play())


def test_whoever_would_wait_longer_than_the_target_is_refused_and_all_others_are_answered():
    outcomes = asked_while_busy(Slow(0.100), asks=30, max_rows=1, target=2.0)
    let_in = [each for each in outcomes if isinstance(each, list)]
    assert let_in == [[f"{number}"] for number in range(len(let_in))], "who came first"
    assert 1 <= len(let_in) <= 19
    assert set(outcomes[len(let_in) :]) <= {1, 2}, "seconds, in which those let in are scored"


def test_what_goes_into_one_call_may_always_wait():
    outcomes = asked_while_busy(Slow(0.010), asks=6, max_rows=4, target=1e-6)
    assert outcomes == [["0"], 1, 1, 1, 1, 1], "a call has one row by then"


def test_nobody_is_refused_by_guesswork():
    assert all(isinstance(each, list) for each in asked_while_busy(Model(), asks=20, learned=0, target=1e-6))


def low_calls(
    call: float, row: float, *, alone: bool = False, max_rows: int = 32, singles: int = 0, calls: int = 200
) -> list[int]:
    """How many rows the low calls of a model have that takes so many seconds a call and a row, when many rows wait.

    singles: so many normal calls of one row went before.
    """
    pace = Pace(max_rows)
    for _ in range(singles):
        pace.note_normal(1, call + row)
    sizes = []
    for _ in range(calls):
        most = pace.rows(alone=alone)
        pace.note_low(most, call + row * most, most=most, alone=alone)
        sizes.append(most)
    return sizes


def usual(sizes: list[int]) -> int:
    return statistics.mode(sizes[len(sizes) // 2 :])


def test_a_call_with_low_rows_lasts_three_times_as_long_as_one_with_a_single_row():
    assert usual(low_calls(0.010, 0.002)) == 12, "34 ms; one takes 12"


def test_it_may_last_longer_when_nobody_has_come_for_a_while():
    assert usual(low_calls(0.010, 0.005, alone=True)) == 21, "115 ms; one takes 15"


def test_where_a_row_costs_hardly_anything_a_call_with_low_rows_is_as_large_as_any():
    assert usual(low_calls(0.010, 0.0001, max_rows=16)) == 16


def test_where_a_call_costs_nothing_but_its_rows_few_are_scored_together():
    assert usual(low_calls(0.0, 0.1)) == 3
    assert usual(low_calls(0.0, 0.1, alone=True)) == 8


def test_a_call_with_low_rows_may_last_some_milliseconds_however_quick_one_row_is():
    assert usual(low_calls(0.0, 0.0002)) == 20


def test_a_single_row_is_measured_anew_now_and_then_at_first_more_often():
    sizes = low_calls(0.010, 0.002)
    assert [number for number, size in enumerate(sizes) if size == 1] == [0, 2, 6, 14, 30, 62, 95, 128, 161, 194]


def test_normal_calls_tell_what_a_single_row_takes():
    sizes = low_calls(0.010, 0.002, singles=20, calls=30)
    assert 1 not in sizes
    assert sizes[-1] == 12


def test_calls_that_last_too_long_get_smaller_even_where_they_might_have_had_more_rows():
    pace = Pace(32)
    pace.note_low(1, 0.001, most=1, alone=False)
    pace.note_low(32, 0.004, most=32, alone=False)
    for _ in range(20):
        pace.note_low(20, 0.200, most=32, alone=False)
    pace.note_normal(1, 0.001)
    assert pace.rows(alone=False) == 4, "as many as single rows fit into the time"


@pytest.mark.parametrize(("times", "calls"), [(4, 12), (8, 5), (8, 20), (12, 12)])
def test_calls_grow_again_once_the_machine_is_no_longer_slow(times, calls):
    def call(times_as_long: int) -> int:
        rows = pace.rows(alone=False)
        pace.note_low(rows, (0.0032 + 0.00055 * rows) * times_as_long, most=rows, alone=False)
        return rows

    pace = Pace(32)
    usual = max(call(1) for _ in range(100))
    for _ in range(calls):
        call(times)
    for _ in range(400):
        call(1)
    assert max(call(1) for _ in range(100)) == usual > 10


def test_a_call_that_had_to_wait_for_the_processor_changes_nothing():
    pace = Pace(32)
    for _ in range(5):
        pace.note_normal(1, 0.010)
        pace.note_low(10, 0.020, most=10, alone=False)
    pace.note_normal(1, 5.0)
    pace.note_low(10, 5.0, most=10, alone=False)
    assert pace.rows(alone=False) == 15


def test_the_runtime_is_told_of_rows_as_they_join_the_queue_and_of_no_others():
    async def check(executor: ThreadPoolExecutor) -> None:
        model, told = Model(), []
        batcher = batcher_for(model, executor, queue_rows=2, expect=lambda rows: told.append(list(rows)))
        first, later, refused = rows("a", "b"), rows("c"), rows("d", "e")
        calls = [batcher.submit(first, time.monotonic() + ENOUGH)]
        calls.append(batcher.submit(later, time.monotonic() + ENOUGH, low=True))
        with pytest.raises(Overloaded):
            batcher.submit(refused, time.monotonic() + ENOUGH)
        assert told == [first, later]
        await asyncio.gather(*(call.future for call in calls))
        assert told == [first, later]
        await batcher.close()

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(check(executor))
