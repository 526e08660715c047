"""Bodies and answers that are large enough to be decoded and encoded beside the event loop: the same as small ones."""

import pytest

from scoring_service.endpoints import SMALL_ANSWER, SMALL_BODY
from tests.pods import CLIENT
from tests.scoring_service.asking import answers, ask, error_of

LONG = "x" * SMALL_BODY
MANY = SMALL_ANSWER + 1


def test_a_long_question_is_answered_by_either_address(pod):
    assert answers(ask(pod, LONG)) == [LONG]
    assert CLIENT.post(f"{pod.url}/score", json={"input": LONG}).json() == [[LONG, "1", 1.0]]


def test_what_a_client_sends_beside_its_question_is_passed_over(pod):
    body = {"input": "hello", "more": [[]] * SMALL_BODY}
    assert CLIENT.post(f"{pod.url}/score", json=body).json() == [["hello", "1", 1.0]]


def test_many_values_of_many_rows_keep_their_order(pod):
    answer = ask(pod, f"many {MANY}", "hello", f"many {MANY}")
    assert answer.status_code == 500, "rows of different lengths"
    answer = ask(pod, f"many {MANY}", f"many {MANY}", outputs=[{"name": "faq_id"}])
    assert answers(answer) == [f"many {MANY}"] * MANY * 2
    assert answer.json()["outputs"][0]["shape"] == [2, MANY]


def test_a_ranking_of_many_entries_is_whole(pod):
    answer = CLIENT.post(f"{pod.url}/score", json={"input": f"many {MANY}"})
    assert answer.json() == [[f"many {MANY}", "1", 1.0]] * MANY


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        pytest.param("/score", "application/json", "[" * SMALL_BODY * 2, id="a question nested without end"),
        pytest.param("/score", "application/json", f'{{"input": ["{LONG}"]}}', id="a question that is a list"),
        pytest.param("/score", "multipart/form-data; boundary=x", f"--y{LONG}", id="a form of another boundary"),
        pytest.param("/v2/repository/index", "application/json", f'{{"ready": "{LONG}"}}', id="an index option"),
    ],
)
def test_a_large_body_that_makes_no_sense_is_400(pod, path, content_type, body):
    answer = CLIENT.post(f"{pod.url}{path}", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert error_of(answer)
