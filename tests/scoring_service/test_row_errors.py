"""Requests that want an answer for their good rows, whatever becomes of the others."""

import msgspec
import pytest

from scoring_service.contract import JSON_LENGTH_HEADER, InferRequest, Tensor, decode_response, encode_request
from tests.pods import CLIENT
from tests.scoring_service.asking import INFER, answers, ask, error_of

WANTED = {"row_errors": True}


def reasons(response) -> dict[str, str]:
    return msgspec.json.decode(response.json()["parameters"]["row_errors"])


def test_good_rows_are_answered_in_their_order_and_the_others_say_why(pod):
    answer = ask(pod, "one", "refuse", "two", "refuse", parameters=WANTED)
    assert answers(answer) == ["one", "two"]
    assert [tensor["shape"] for tensor in answer.json()["outputs"]] == [[2, 1], [2, 1]]
    assert reasons(answer) == {"1": "as you wish", "3": "as you wish"}


def test_an_answer_without_bad_rows_says_that_there_are_none(pod):
    answer = ask(pod, "one", "two", parameters=WANTED)
    assert answers(answer) == ["one", "two"]
    assert reasons(answer) == {}


@pytest.mark.parametrize("binary", [False, True])
def test_all_rows_may_be_bad(pod, binary):
    answer = ask(pod, "refuse", "refuse", parameters={**WANTED, "binary_data_output": binary})
    assert answer.status_code == 200
    read = decode_response(answer.content, answer.headers.get(JSON_LENGTH_HEADER))
    assert read.row_errors == {0: "as you wish", 1: "as you wish"}
    assert {tensor.name: (tensor.shape, tensor.data) for tensor in read.outputs} == {
        "faq_id": ([0, 0], []),
        "probability": ([0, 0], []),
    }


@pytest.mark.parametrize("parameters", [{}, {"row_errors": False}])
def test_who_does_not_ask_for_it_is_refused_by_the_first_bad_row(pod, parameters):
    refused = ask(pod, "one", "refuse", parameters=parameters)
    assert refused.status_code == 400
    assert error_of(refused) == "input 'question', row 1: as you wish"
    assert "row_errors" not in ask(pod, "one", parameters=parameters).json()["parameters"]


@pytest.mark.parametrize("value", ["true", 1, None])
def test_a_wish_that_is_not_true_or_false_is_refused(pod, value):
    refused = ask(pod, "one", parameters={"row_errors": value})
    assert (refused.status_code, error_of(refused)) == (400, "parameter row_errors must be true or false")


def test_the_model_never_sees_the_wish(pod):
    assert answers(ask(pod, "parameters", parameters={**WANTED, "top_k": 1})) == ['{"top_k": 1}']


def test_an_element_that_is_no_text_fails_alone(pod):
    tensor = Tensor(name="question", datatype="BYTES", shape=[3], data=[b"one", b"\xff", b"two"])
    for parameters, status in ((WANTED, 200), ({}, 400)):
        body, headers = encode_request(InferRequest(inputs=[tensor], parameters=parameters), binary=True)
        answer = CLIENT.post(f"{pod.url}{INFER}", content=body, headers=headers)
        assert answer.status_code == status
        if status == 200:
            assert answers(answer) == ["one", "two"]
            assert reasons(answer) == {"1": "text must be UTF-8"}
        else:
            assert error_of(answer) == "input 'question', row 1: text must be UTF-8"


def test_a_request_of_which_no_element_can_be_read_is_answered(pod):
    tensor = Tensor(name="question", datatype="BYTES", shape=[1], data=[b"\xff"])
    body, headers = encode_request(InferRequest(inputs=[tensor], parameters=WANTED), binary=True)
    answer = CLIENT.post(f"{pod.url}{INFER}", content=body, headers=headers)
    assert answers(answer) == []
    assert reasons(answer) == {"0": "text must be UTF-8"}


@pytest.mark.parametrize("failure", ["crash", "miscount"])
def test_what_fails_the_model_fails_the_request(pod, failure):
    assert ask(pod, "one", failure, parameters=WANTED).status_code == 500
