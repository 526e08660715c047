"""What limits are counted in, in one process; tests/redis asks the same of Redis."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from webapp.keys import counters
from webapp.keys.counters import Ask, MemoryStore, Unseeded

FAR = 4_000_000_000  # seconds since 1970


def nothing() -> None:
    pass


@pytest.fixture
def clock(monkeypatch):
    """Moves the clock that minutes are measured with: `clock(1.5)` is one and a half seconds later."""
    now = [1000.0]
    monkeypatch.setattr(counters.time, "monotonic", lambda: now[0])

    def later(seconds: float) -> None:
        now[0] += seconds

    return later


def taken(store: MemoryStore, *asks: Ask, **seeds: int) -> int | None:
    return store.take(asks, seeds, nothing).refused


def at_once(count: int, take: Callable[[], bool]) -> int:
    """How many of so many threads, let loose together, were let in."""
    gate = threading.Barrier(64)

    def work() -> int:
        gate.wait()
        return sum(take() for _ in range(count // 64))

    with ThreadPoolExecutor(64) as threads:
        return sum(each.result() for each in [threads.submit(work) for _ in range(64)])


def test_as_many_threads_as_there_are_get_exactly_the_quota():
    store = MemoryStore()
    asks = [Ask("key", 1000, 1), Ask("user", 777, 1), Ask("month", 900, 1, FAR)]
    assert at_once(6400, lambda: store.take(asks, {"month": 0}, nothing).refused is None) == 777
    left = store.take([Ask("key", 1000, 0), Ask("month", 900, 0, FAR)], {}, nothing)
    assert [each.used for each in left.standings] == [777, 777]


def test_what_one_limit_refuses_is_charged_to_none():
    store = MemoryStore()
    asks = [Ask("key", 10, 3), Ask("user", 5, 3), Ask("month", 100, 3, FAR)]
    assert taken(store, *asks, month=40) is None
    assert taken(store, *asks) == 1
    standings = store.take([Ask("key", 10, 0), Ask("user", 5, 0), Ask("month", 100, 0, FAR)], {}, nothing).standings
    assert [each.used for each in standings] == [3, 3, 43]
    assert taken(store, Ask("key", 10, 1), Ask("user", 5, 1)) is None


def test_room_may_be_needed_without_being_taken():
    store = MemoryStore()
    look, month = Ask("a", 2, 0, needs=1), Ask("month", 2, 0, FAR, needs=1)
    assert taken(store, look, month, month=1) is None
    assert taken(store, Ask("a", 2, 2), Ask("month", 2, 1, FAR)) is None
    assert (taken(store, look), taken(store, month)) == (0, 0)
    assert taken(store, Ask("a", 2, 0)) is None


def test_no_sixty_seconds_see_more_than_the_quota(clock):
    store = MemoryStore()
    assert [taken(store, Ask("a", 3, 1)) for _ in range(2)] == [None, None]
    clock(59)
    assert [taken(store, Ask("a", 3, 1)) for _ in range(2)] == [None, 0]
    clock(1)
    assert [taken(store, Ask("a", 3, 1)) for _ in range(3)] == [None, None, 0]
    clock(59)
    assert [taken(store, Ask("a", 3, 1)) for _ in range(2)] == [None, 0]


def test_a_refusal_says_when_there_is_room_for_what_was_asked(clock):
    store = MemoryStore()
    for _ in range(4):
        taken(store, Ask("a", 4, 1))
        clock(10)
    one, three = (store.take([Ask("a", 4, cost)], {}, nothing) for cost in (1, 3))
    assert (one.refused, three.refused) == (0, 0)
    assert one.standings[0].wait == pytest.approx(20)
    assert three.standings[0].wait == pytest.approx(40)
    clock(20)
    assert taken(store, Ask("a", 4, 1)) is None


def test_memory_is_bounded_however_high_the_quota(clock):
    store = MemoryStore()
    for _ in range(30_000):
        assert taken(store, Ask("a", 1_000_000, 5)) is None
        clock(0.003)
    assert store.take([Ask("a", 1_000_000, 0)], {}, nothing).standings[0].used > 99_000
    assert len(store._minutes["a"].entries) <= 601


def test_who_does_not_come_back_is_forgotten(clock):
    store = MemoryStore()
    for number in range(100):
        taken(store, Ask(f"minute {number}", 1, 1))
    clock(61)
    taken(store, Ask("another", 1, 1))
    assert set(store._minutes) == {"another"}


def test_a_sum_begins_with_what_it_was(clock):
    store = MemoryStore()
    month = Ask("month", 10, 1, FAR)
    with pytest.raises(Unseeded):
        store.take([month], {}, nothing)
    assert taken(store, month, month=9) is None
    assert taken(store, month, month=0) == 0  # it is known now
    store.give_back({"month": 4, "unknown": 1})
    assert store.take([month], {}, nothing).standings[0].used == 7


def test_what_other_processes_added_to_a_sum_is_asked_for_in_a_while(clock):
    store = MemoryStore()
    month = Ask("month", 10, 1, FAR)
    taken(store, month, month=0)
    clock(counters.SUM_KNOWN_FOR)
    with pytest.raises(Unseeded):
        store.take([month], {}, nothing)
    taken(store, month, month=5)
    store.doubt(["month"])
    with pytest.raises(Unseeded):
        store.take([month], {}, nothing)
