"""Pictures are prepared while they wait for their turn."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from scoring_service.images.ahead import Ahead
from scoring_service.runtimes.base import Row

SOON = 10  # seconds, for what must happen at all


class Kitchen:
    """Prepares rows: each waits until it is let go, where its text says so, and all are noted."""

    def __init__(self, threads: int = 2, most: int = 8) -> None:
        self.prepared: list[str] = []
        self.gates = {"held": threading.Event()}
        self.changed = threading.Condition()
        self.ahead = Ahead(self.prepare, threads=threads, most=most)

    def prepare(self, row: Row) -> str:
        (text,) = row.inputs
        if text in self.gates:
            assert self.gates[text].wait(SOON)
        if text == "bad":
            raise ValueError(text)
        with self.changed:
            self.prepared.append(text)
            self.changed.notify_all()
        return text.upper()

    def wait_for(self, *texts: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: set(texts) <= set(self.prepared), SOON), self.prepared


@pytest.fixture
def kitchen():
    kitchen = Kitchen()
    yield kitchen
    kitchen.gates["held"].set()
    kitchen.ahead.close()


def rows(*texts: str) -> list[Row]:
    return [Row((text,)) for text in texts]


def test_what_waits_is_ready_before_its_turn_and_prepared_once(kitchen):
    waiting = rows("a", "b", "c")
    kitchen.ahead.expect(waiting)
    kitchen.wait_for("a", "b", "c")
    assert kitchen.ahead.take(waiting) == ["A", "B", "C"]
    assert sorted(kitchen.prepared) == ["a", "b", "c"]


def test_rows_that_nobody_expected_are_prepared_when_their_turn_comes(kitchen):
    assert kitchen.ahead.take(rows("a", "b", "c")) == ["A", "B", "C"]


def test_whose_turn_has_come_does_not_wait_for_all_that_wait(kitchen):
    waiting = rows("held", *"abcdef")
    kitchen.ahead.expect(waiting[:1])
    kitchen.ahead.expect(waiting[1:])
    assert kitchen.ahead.take(rows("urgent")) == ["URGENT"]
    kitchen.gates["held"].set()
    assert kitchen.ahead.take(waiting) == [row.inputs[0].upper() for row in waiting]
    assert len(kitchen.prepared) == 8


def test_no_more_lie_ready_than_there_is_room_for_until_some_are_taken():
    kitchen = Kitchen(threads=1, most=2)
    waiting = rows("a", "b", "c", "d")
    kitchen.ahead.expect(waiting)
    kitchen.wait_for("a", "b")
    assert kitchen.ahead.take(rows("other")) == ["OTHER"]  # the one thread has nothing else to do by then
    assert kitchen.prepared == ["a", "b", "other"]
    assert kitchen.ahead.take(waiting[:2]) == ["A", "B"]
    kitchen.wait_for("c", "d")
    kitchen.ahead.close()


def test_rows_that_nobody_holds_any_more_make_room():
    kitchen = Kitchen(threads=1, most=2)
    waiting = rows("a", "b", "gone", "c")
    kitchen.ahead.expect(waiting)
    kitchen.wait_for("a", "b")
    kitchen.ahead.take(rows("other"))  # then the thread has let go of the rows it had
    del waiting[:3]
    gc.collect()
    kitchen.ahead.expect(rows())
    kitchen.wait_for("c")
    assert "gone" not in kitchen.prepared
    assert kitchen.ahead.take(waiting) == ["C"]
    kitchen.ahead.close()


def test_an_error_comes_when_the_row_is_taken_and_spoils_no_other(kitchen):
    bad, good = rows("bad", "good")
    kitchen.ahead.expect([bad, good])
    with pytest.raises(ValueError, match="bad"):
        kitchen.ahead.take([bad])
    assert kitchen.ahead.take([good]) == ["GOOD"]


def test_rows_may_be_expected_and_taken_by_several_threads_at_once():
    kitchen = Kitchen(threads=2, most=4)

    def one(number: int) -> list[str]:
        own = rows(*(f"row {number}.{place}" for place in range(5)))
        kitchen.ahead.expect(own)
        return kitchen.ahead.take(own)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(one, range(200)))
    assert answers == [[f"ROW {number}.{place}" for place in range(5)] for number in range(200)]
    assert len(kitchen.prepared) == len(set(kitchen.prepared)) == 1000
    kitchen.ahead.close()


def test_in_a_pause_nothing_is_begun_that_only_waits(kitchen):
    waiting = rows("a", "b")
    with kitchen.ahead.paused():
        kitchen.ahead.expect(waiting)
        assert kitchen.ahead.take(rows("now")) == ["NOW"]
        assert kitchen.prepared == ["now"]
    kitchen.wait_for("a", "b")
    assert kitchen.ahead.take(waiting) == ["A", "B"]
