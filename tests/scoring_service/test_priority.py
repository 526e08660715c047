"""Rows of low priority, those of batches: they wait for all others, and take nothing from them."""

import pytest

from tests.pods import start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import Asking, Gate, answers, ask, error_of, metric, wait_for_queue
from tests.scoring_service.conftest import OBEDIENT

LOW = {"priority": 2}


def together(response) -> list[str]:
    """For each row of an answer, how many rows were scored with it."""
    return answers(response, "answer_id")


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """A pod with room for eight rows in its queue, and for eight of low priority beside them."""
    root = tmp_path_factory.mktemp("store")
    obedient.write(root)
    limits = {"SCORING_MAX_ROWS": "8", "SCORING_QUEUE_ROWS": "8"}
    with start_pod(root, "cpu", command=OBEDIENT, **limits) as pod:
        yield pod


@pytest.fixture
def second_gate(tmp_path):
    gate = Gate(tmp_path / "second gate")
    yield gate
    gate.open()


@pytest.mark.parametrize("priority", [0, 1, 2, 3, 2**64 - 1])
def test_any_priority_gets_its_answer_and_the_model_never_sees_it(pod, priority):
    answer = ask(pod, "parameters", parameters={"priority": priority, "top_k": 3})
    assert answers(answer) == ['{"top_k": 3}']


@pytest.mark.parametrize("priority", [-1, 1.0, 1.5, "2", True, None, [2]])
def test_a_priority_that_is_no_whole_number_is_refused(pod, priority):
    refused = ask(pod, "hello", parameters={"priority": priority})
    assert refused.status_code == 400
    assert "priority must be a whole number" in error_of(refused)


@pytest.mark.parametrize("normal", [{}, {"priority": 0}, {"priority": 1}])
def test_normal_rows_overtake_low_ones_and_are_never_scored_with_them(roomy, gate, second_gate, normal):
    gate.hold(roomy)
    low = Asking(roomy, "low", parameters=LOW, outputs=[{"name": "answer_id"}])
    wait_for_queue(roomy, 1)
    normal = Asking(roomy, second_gate.row, parameters=normal, outputs=[{"name": "answer_id"}])
    wait_for_queue(roomy, 2)
    gate.open()
    wait_for_queue(roomy, 1)
    assert metric(roomy, "scoring_queued_rows", priority="low") == 1
    assert not low.done
    second_gate.open()
    assert together(normal.response) == ["1"]
    assert together(low.response) == ["1"]


def test_low_rows_are_scored_while_nobody_else_waits(roomy):
    assert answers(ask(roomy, "one", "two", "three", parameters=LOW)) == ["one", "two", "three"]


def test_low_rows_take_no_place_from_normal_ones(roomy, gate):
    gate.hold(roomy)
    low = [Asking(roomy, *"abcd", parameters=LOW), Asking(roomy, *"efgh", parameters=LOW)]
    wait_for_queue(roomy, 8)
    refused = ask(roomy, "i", parameters=LOW)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert error_of(refused) == "the queue of 8 rows of low priority is full"
    normal = Asking(roomy, *"12345678")
    wait_for_queue(roomy, 16)
    assert ask(roomy, "9").status_code == 503
    gate.open()
    assert answers(normal.response) == [*"12345678"]
    assert [answers(each.response) for each in low] == [[*"abcd"], [*"efgh"]]


def test_more_low_rows_than_ever_may_wait_are_refused_for_good(roomy):
    refused = ask(roomy, *"abcdefghi", parameters=LOW)
    assert refused.status_code == 400
    assert error_of(refused) == "9 rows of low priority in one request; this pod takes at most 8"


def test_low_rows_whose_caller_has_left_make_room(roomy, gate):
    gate.hold(roomy)
    late = ask(roomy, *"abcdefgh", parameters=LOW, headers={"X-Request-Deadline-Ms": "30"})
    assert late.status_code == 504
    waiting = Asking(roomy, "e", parameters=LOW)
    wait_for_queue(roomy, 1)
    gate.open()
    assert answers(waiting.response) == ["e"]


def test_queue_wait_and_rows_are_counted_by_priority(roomy):
    def counted(priority: str) -> list[float]:
        scored = metric(roomy, "scoring_rows_total", outcome="scored", priority=priority)
        return [scored, metric(roomy, "scoring_queue_seconds_count", priority=priority)]

    before = {priority: counted(priority) for priority in ("normal", "low")}
    ask(roomy, "one", parameters=LOW)
    ask(roomy, "one", "two")
    for priority, rows in (("low", 1), ("normal", 2)):
        assert counted(priority) == [count + rows for count in before[priority]]


def test_a_pod_that_is_told_to_stop_answers_the_low_rows_that_wait(store, gate):
    with start_pod(store, "cpu", command=OBEDIENT) as pod:
        held = gate.hold(pod)
        low = [Asking(pod, *texts, parameters=LOW) for texts in ("abc", "defg")]
        wait_for_queue(pod, 7)
        pod.process.terminate()
        gate.open()
        assert [answers(each.response) for each in low] == [[*"abc"], [*"defg"]]
        assert held.response.status_code == 200
        assert pod.process.wait(timeout=60) == 0
