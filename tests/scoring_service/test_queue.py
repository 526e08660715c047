"""What happens to rows that wait: batches, deadlines, callers that leave, a full queue, a model that fails."""

import socket

import msgspec
import pytest

from tests.pods import CLIENT, start_pod
from tests.scoring_service.asking import (
    INFER,
    Asking,
    answers,
    ask,
    error_of,
    metric,
    question,
    wait_for_queue,
)
from tests.scoring_service.conftest import OBEDIENT


def dropped(pod) -> float:
    return metric(pod, "scoring_rows_total", outcome="dropped")


def statistics(pod) -> dict:
    [statistics] = CLIENT.get(f"{pod.url}/v2/models/obedient/stats").json()["model_stats"]
    return statistics


def test_rows_that_arrive_while_the_model_is_busy_are_scored_together(pod, gate):
    gate.hold(pod)
    waiting = [Asking(pod, text, outputs=[{"name": "answer_id"}]) for text in ("one", "two")]
    wait_for_queue(pod, 2)
    gate.open()
    assert [answers(each.response, "answer_id") for each in waiting] == [["2"], ["2"]]


def test_every_answer_goes_to_its_own_question(pod, gate):
    gate.hold(pod)
    waiting = {text: Asking(pod, text) for text in ("one", "two", "three", "four")}
    wait_for_queue(pod, 4)
    gate.open()
    assert {text: answers(each.response) for text, each in waiting.items()} == {text: [text] for text in waiting}


def test_a_request_larger_than_a_batch_is_answered_in_its_order(pod):
    assert answers(ask(pod, "one", "two", "three", "four")) == ["one", "two", "three", "four"]


def test_light_rows_are_scored_right_where_they_arrive(pod):
    assert [answers(ask(pod, f"light {text}")) for text in ("a", "b", "c")] == [["light a"], ["light b"], ["light c"]]
    refused = ask(pod, "light crash")
    assert (refused.status_code, error_of(refused)) == (500, "the model failed on this batch")
    assert answers(ask(pod, "light d")) == ["light d"]


def test_rows_that_turned_out_to_take_long_do_not_hold_up_others_any_more(pod, tmp_path):
    for _ in range(2):  # the first call tells what rows take, the second one may still be where others wait for it
        ask(pod, "light sleep 100")
    waiting = Asking(pod, f"light hold {tmp_path / 'opened'}")
    wait_for_queue(pod, 0)
    assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 200
    (tmp_path / "opened").touch()
    assert answers(waiting.response) == [f"light hold {tmp_path / 'opened'}"]


def test_the_answer_says_how_long_it_waited_and_took(pod):
    parameters = ask(pod, "hello").json()["parameters"]
    assert parameters["threshold"] == 0.5
    assert parameters["queue_ms"] >= 0
    assert parameters["model_ms"] > 0


def test_a_row_whose_deadline_passes_in_the_queue_is_504_and_never_scored(pod, gate):
    gate.hold(pod)
    scored, gone = statistics(pod)["inference_count"], dropped(pod)
    late = ask(pod, "too late", headers={"X-Request-Deadline-Ms": "30"})
    assert late.status_code == 504
    assert "deadline" in error_of(late)
    gate.open()
    answers(ask(pod, "still there?"))
    assert statistics(pod)["inference_count"] == scored + 2, "the held row and the last one"
    assert dropped(pod) == gone + 1


def test_a_deadline_that_has_passed_already_is_504(pod):
    assert ask(pod, "hello", headers={"X-Request-Deadline-Ms": "0"}).status_code == 504


def test_the_row_of_a_client_that_leaves_is_never_scored(pod, gate):
    gate.hold(pod)
    gone = dropped(pod)
    body = msgspec.json.encode(question("nobody waits for this"))
    with socket.create_connection(("127.0.0.1", pod.port)) as client:
        client.sendall(
            b"POST %s HTTP/1.1\r\nHost: pod\r\nContent-Length: %d\r\n\r\n%s" % (INFER.encode(), len(body), body)
        )
        wait_for_queue(pod, 1)
    pod.wait_until("notices that", lambda pod: metric(pod, "scoring_requests_total", status="499"))
    gate.open()
    answers(ask(pod, "still there?"))
    assert dropped(pod) == gone + 1


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(pod, gate):
    gate.hold(pod)
    waiting = Asking(pod, "one", "two", "three", "four")
    wait_for_queue(pod, 4)
    refused = ask(pod, "five")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert "full" in error_of(refused)
    assert not waiting.done, "the others go on waiting"
    gate.open()
    assert len(answers(waiting.response)) == 4


def test_rows_whose_caller_has_left_make_room_in_a_full_queue(pod, gate):
    gate.hold(pod)
    ask(pod, "one", "two", "three", "four", headers={"X-Request-Deadline-Ms": "30"})
    waiting = Asking(pod, "five")
    wait_for_queue(pod, 1)
    gate.open()
    assert answers(waiting.response) == ["five"]


def test_more_rows_than_the_queue_ever_holds_are_refused_for_good(pod):
    refused = ask(pod, *"abcde")
    assert refused.status_code == 400
    assert "at most 4" in error_of(refused)


def test_a_bad_row_fails_alone_in_its_batch(pod, gate):
    gate.hold(pod)
    good, bad = Asking(pod, "good"), Asking(pod, "refuse")
    wait_for_queue(pod, 2)
    gate.open()
    assert answers(good.response) == ["good"]
    assert bad.response.status_code == 400


def test_a_bad_row_among_good_ones_is_named(pod):
    refused = ask(pod, "good", "refuse")
    assert refused.status_code == 400
    assert error_of(refused) == "input 'question', row 1: as you wish"


@pytest.mark.parametrize("order", ["crash", "end", "stop", "miscount", "ragged"])
def test_a_model_that_fails_is_500_for_that_batch_alone(pod, order):
    failed = ask(pod, order, "good")
    assert failed.status_code == 500
    assert "crash" not in error_of(failed)
    assert answers(ask(pod, "good")) == ["good"]


def test_a_batch_too_large_for_the_device_is_scored_in_halves(pod):
    assert answers(ask(pod, "large", "large")) == ["large", "large"]


def test_one_row_too_large_for_the_device_is_503(tmp_path_factory):
    from tests.scoring_service import obedient

    root = tmp_path_factory.mktemp("store")
    obedient.write(root, parameters={"fits": 0})
    with start_pod(root, "cpu", command=OBEDIENT) as pod:
        assert ask(pod, "large").status_code == 503
        assert answers(ask(pod, "small")) == ["small"]


def test_statistics_count_rows_and_calls_of_the_model(pod):
    before = statistics(pod)
    ask(pod, "one", "two")
    after = statistics(pod)
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 2


def test_a_lost_device_fails_liveness_so_that_the_pod_is_replaced(store):
    with start_pod(store, "cpu", command=OBEDIENT) as pod:
        assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 200
        assert ask(pod, "lose").status_code == 503
        assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 503
        assert pod.readiness == (503, "the device does not answer")
