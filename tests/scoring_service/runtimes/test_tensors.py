"""Tensors of any datatype and shape, through a pod's scoring scripts, asked by Triton's client and by hand."""

from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest

from tests.pods import CLIENT, start_pod
from tests.scoring_service.asking import error_of
from tests.scoring_service.runtimes.asking import add_script, infer, spec

ECHO = "def run(rows):\n    return rows\n"
SQUARES = """
def run(rows):
    assert all(not isinstance(row, list) for row in rows)
    return [{"square": row * row, "sum": row.sum()} for row in rows]
"""
ARRAYS = {
    "BOOL": np.array([[[True, False]], [[False, True]], [[True, True]]]),
    **{f"INT{bits}": np.array([[[-1, 2]], [[2 ** (bits - 1) - 1, 0]]], f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.array([[[1, 2]], [[2**bits - 1, 0]]], f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.array([[[0.5, -2]], [[1e4, 0]]], f"f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": np.array([[[0.5, -2]], [[256, 0]]], ml_dtypes.bfloat16),
    "BYTES": np.array([[["one", "zwei"]], [["drei – „3“", ""]]], dtype=object),
}
NOT_IN_JSON = {"FP16", "BF16"}  # by Triton's client


@pytest.fixture(scope="module")
def pod(tmp_path_factory):
    store = tmp_path_factory.mktemp("tensors") / "store"
    for datatype in ARRAYS:
        sides = {side: [spec(side[0], datatype, -1, 1, 2)] for side in ("inputs", "outputs")}
        add_script(store, f"echo-{datatype}", ECHO, parameters=sides)
    any_length = {
        "inputs": [spec("x", "FP32", -1, -1)],
        "outputs": [spec("square", "FP32", -1, -1), spec("sum", "FP64", -1)],
    }
    add_script(store, "squares", SQUARES, parameters=any_length)
    add_script(
        store,
        "raw",
        ECHO,
        parameters={side: [spec(side[0], "BYTES", -1, 2, encoding="base64")] for side in ("inputs", "outputs")},
    )
    with start_pod(store, "cpu", ALLOW_SCORING_SCRIPTS="1") as pod:
        yield pod


@pytest.mark.parametrize(
    ("datatype", "binary"),
    [*((each, True) for each in ARRAYS), *((each, False) for each in ARRAYS if each not in NOT_IN_JSON)],
)
def test_every_datatype_comes_back_in_its_shape(pod, datatype, binary):
    array = ARRAYS[datatype]
    answer = infer(pod, f"echo-{datatype}", binary=binary, outputs=["o"], i=(datatype, array)).as_numpy("o")
    if datatype == "BYTES":
        answer = np.vectorize(lambda each: each.decode() if isinstance(each, bytes) else each, otypes=[object])(answer)
    assert answer.shape == array.shape
    assert answer.tolist() == array.tolist()


def test_a_large_tensor_comes_back_as_bytes(pod):
    array = np.random.default_rng(0).random((3, 1_000_000), dtype=np.float32)
    answer = infer(pod, "squares", outputs=["square", "sum"], x=("FP32", array))
    assert np.array_equal(answer.as_numpy("square"), array * array)
    assert np.allclose(answer.as_numpy("sum"), array.sum(1), rtol=1e-4)


def test_numbers_come_in_json_unless_bytes_are_asked_for(pod):
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}
    outputs = CLIENT.post(f"{pod.url}/v2/models/squares/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [(each["name"], each["shape"], each["data"]) for each in outputs] == [
        ("square", [2, 2], [1, 4, 9, 16]),
        ("sum", [2], [3, 7]),
    ]


def test_rows_of_other_lengths_that_are_scored_together_keep_apart(pod):
    def ask(length: int) -> list:
        answer = infer(pod, "squares", x=("FP32", np.full((2, length), length, np.float32)))
        return answer.as_numpy("square").tolist()

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(1, 65)))
    assert answers == [[[length**2] * length] * 2 for length in range(1, 65)]


def test_no_rows_have_no_answers(pod):
    tensor = {"name": "i", "datatype": "INT64", "shape": [0, 1, 2], "data": []}
    [output] = CLIENT.post(f"{pod.url}/v2/models/echo-INT64/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert (output["shape"], output["data"]) == ([0, 1, 2], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"datatype": "INT64"}, "input 'i' must be FP32, not INT64"),
        ({"shape": [1, 2], "data": [1, 2]}, "input 'i' must have shape [n, 1, 2], not [1, 2]"),
        ({"shape": [1, 1, 3], "data": [1, 2, 3]}, "input 'i' must have shape [n, 1, 2], not [1, 1, 3]"),
        ({"data": [1, 2, 3]}, "tensor 'i': shape [1, 1, 2] needs 2 elements, 3 came"),
        ({"data": [1, "2"]}, "tensor 'i': str is not FP32"),
        ({"data": "AAAA"}, "tensor 'i': data must be a list"),
        ({"name": "j"}, "the inputs of this model are i; got j"),
    ],
)
def test_an_input_of_another_kind_is_refused_by_name(pod, change, said):
    tensor = {"name": "i", "datatype": "FP32", "shape": [1, 1, 2], "data": [1, 2], **change}
    answer = CLIENT.post(f"{pod.url}/v2/models/echo-FP32/infer", json={"inputs": [tensor]})
    assert (answer.status_code, error_of(answer)) == (400, said)


def test_bytes_of_another_number_than_the_shape_says_are_refused(pod):
    head = b'{"inputs":[{"name":"i","datatype":"FP32","shape":[1,1,2],"parameters":{"binary_data_size":7}}]}'
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = CLIENT.post(f"{pod.url}/v2/models/echo-FP32/infer", content=head + b"1234567", headers=headers)
    assert (answer.status_code, error_of(answer)) == (400, "tensor 'i': 7 bytes are not whole elements of FP32")


def test_a_row_that_is_no_base64_fails_alone_where_that_is_asked_for(pod):
    tensor = {"name": "i", "datatype": "BYTES", "shape": [2, 2], "data": ["AAAA", "no!", "AAAA", "//8="]}
    body = {"inputs": [tensor], "parameters": {"row_errors": True}}
    answer = CLIENT.post(f"{pod.url}/v2/models/raw/infer", json=body).json()
    assert answer["parameters"]["row_errors"] == '{"0":"bytes in JSON must be base64"}'
    assert answer["outputs"][0]["data"] == ["AAAA", "//8="]


def test_metadata_tell_the_declared_tensors(pod):
    about = CLIENT.get(f"{pod.url}/v2/models/squares").json()
    assert [(each["name"], each["datatype"], each["shape"]) for each in about["inputs"] + about["outputs"]] == [
        ("x", "FP32", [-1, -1]),
        ("square", "FP32", [-1, -1]),
        ("sum", "FP64", [-1]),
    ]
