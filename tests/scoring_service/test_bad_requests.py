"""What a client can get wrong: always a 4xx that says what, never a 500, and nothing hangs."""

import gzip
import http.client
import json
import socket
import struct

import httpx2 as httpx
import pytest

from tests.pods import CLIENT
from tests.scoring_service.asking import INFER, answers, ask, error_of, question

LENGTH = "Inference-Header-Content-Length"


def post(pod, content, path=INFER, **headers):
    return CLIENT.post(f"{pod.url}{path}", content=content, headers=headers)


def tensor(**changed):
    """An inference request whose one tensor is right but for what is changed; None leaves a part out."""
    whole = {"name": "question", "datatype": "BYTES", "shape": [1], "data": ["hello"], **changed}
    return json.dumps({"inputs": [{name: value for name, value in whole.items() if value is not None}]})


def raw(pod, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to bytes on a connection of their own, which stays open for writing: status, headers, body."""
    with socket.create_connection(("127.0.0.1", pod.port), timeout=30) as client:
        client.sendall(request)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b"", "truncated", id="nothing"),
        pytest.param(b"{", "truncated", id="half a JSON"),
        pytest.param(b"\xff\xfe", "", id="no text at all"),
        pytest.param(b'{"inputs": "hello"}', "$.inputs", id="inputs are text"),
        pytest.param(b"{}", "inputs", id="no inputs"),
        pytest.param(b'{"inputs": []}', "question", id="none of the inputs"),
        pytest.param(b'{"inputs": [], "id": "\xff"}', "utf-8", id="an id that is not UTF-8"),
        pytest.param(b'{"inputs": [], "parameters": {"a":' + b"[" * 50_000, "", id="nested without end"),
        pytest.param(b"[" * 50_000, "", id="lists without end"),
        pytest.param(tensor(name="image"), "question", id="an input of another name"),
        pytest.param(tensor(name=7), "$.inputs[0].name", id="a name that is a number"),
        pytest.param(tensor(datatype="TEXT"), "unknown datatype 'TEXT'", id="an unknown datatype"),
        pytest.param(tensor(datatype="INT8", data=[1]), "must be BYTES, not INT8", id="another datatype"),
        pytest.param(tensor(datatype="INT8", data=[999]), "'question': a number does not fit INT8", id="out of range"),
        pytest.param(tensor(datatype="FP32", data=[1e300]), "a number does not fit FP32", id="a float out of range"),
        pytest.param(tensor(datatype="FP32", data=[10**400]), "a number does not fit FP32", id="a number without end"),
        pytest.param(tensor(datatype="FP64", data=[True]), "'question': bool is not FP64", id="a truth as a number"),
        pytest.param(tensor(data=[5]), "'question': int is not BYTES", id="a number as text"),
        pytest.param(tensor(data=[None]), "'question': NoneType is not BYTES", id="null as text"),
        pytest.param(tensor(data=[{}]), "'question': dict is not BYTES", id="an object as text"),
        pytest.param(tensor(data=None), "'question' has neither data", id="no data"),
        pytest.param(tensor(shape=None), "shape", id="no shape"),
        pytest.param(tensor(shape=[2]), "shape [2] needs 2 elements, 1 came", id="fewer elements than the shape has"),
        pytest.param(tensor(shape=[]), "must have shape [n]", id="no dimension"),
        pytest.param(tensor(shape=[1, 2], data=["a", "b"]), "must have shape [n]", id="two elements a row"),
        pytest.param(tensor(shape=[-1]), "$.inputs[0].shape[0]", id="a negative shape"),
        pytest.param(tensor(shape=[1.5]), "$.inputs[0].shape[0]", id="half a row"),
        pytest.param(tensor(shape=[2**70]), "$.inputs[0].shape[0]", id="a shape without end"),
        pytest.param(tensor(shape=[2**40] * 5000), "$.inputs[0].shape", id="dimensions without end"),
        pytest.param(tensor(data=[[["hello"]]]), "nested deeper", id="nested deeper than the shape"),
        pytest.param(tensor(data=None, parameters={"binary_data_size": 5}), "'question': the body ends", id="no bytes"),
        pytest.param(tensor(data=None, parameters={"binary_data_size": "5"}), "binary_data_size", id="a size in text"),
        pytest.param(tensor(data=None, parameters={"binary_data_size": -5}), "binary_data_size", id="a negative size"),
        pytest.param(tensor(parameters={"binary_data_size": 0}), "'question' has both", id="data twice"),
        pytest.param(json.dumps({"inputs": question("a")["inputs"] * 2}), "the inputs of", id="an input twice"),
        pytest.param(json.dumps(question("a", outputs=[{"name": "?"}])), "no output '?'", id="an unknown output"),
        pytest.param(json.dumps(question("a", parameters={"top_k": -1})), "top_k", id="a negative top_k"),
        pytest.param(json.dumps(question("a", parameters={"top_k": "all"})), "top_k", id="a top_k in text"),
    ],
)
def test_a_request_that_makes_no_sense_is_400_and_says_what_is_wrong(pod, body, says):
    answer = post(pod, body)
    assert answer.status_code == 400
    assert says in error_of(answer)


@pytest.mark.parametrize(
    ("elements", "says"),
    [
        pytest.param(b"\x05\0\0\0hell", "end inside an element", id="an element cut off"),
        pytest.param(b"\x05\0", "end inside the length", id="a length cut off"),
        pytest.param(b"\xff\xff\xff\xff", "end inside an element", id="an element without end"),
        pytest.param(b"\0\0\0\0\0\0\0\0", "needs 1 elements, 2 came", id="an element too many"),
        pytest.param(struct.pack("<I", 1) + b"\xff", "'question', row 0: text must be UTF-8", id="not UTF-8"),
    ],
)
def test_broken_binary_data_names_its_tensor(pod, elements, says):
    head = tensor(data=None, parameters={"binary_data_size": len(elements)}).encode()
    answer = post(pod, head + elements, **{LENGTH: str(len(head))})
    assert answer.status_code == 400
    assert says in error_of(answer)
    assert "'question'" in error_of(answer)


@pytest.mark.parametrize("length", ["-1", "abc", "99999", "9" * 5000, "1.5", "", "٣"])
def test_a_wrong_length_of_the_json_part_is_400(pod, length):
    answer = post(pod, tensor(), **{LENGTH: length.encode()})
    assert answer.status_code == 400
    assert LENGTH in error_of(answer)


def test_bytes_that_belong_to_no_tensor_are_400(pod):
    answer = post(pod, tensor().encode() + b"more", **{LENGTH: str(len(tensor()))})
    assert answer.status_code == 400
    assert "4 bytes follow the last tensor" in error_of(answer)


@pytest.mark.parametrize("deadline", ["soon", "-5", "1e3", "", "9" * 40])
def test_a_deadline_that_is_no_number_is_400(pod, deadline):
    answer = ask(pod, "hello", headers={"X-Request-Deadline-Ms": deadline})
    assert answer.status_code == 400
    assert "X-Request-Deadline-Ms" in error_of(answer)


def test_a_body_that_says_it_is_too_large_is_413_before_it_is_sent(pod):
    head = f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nContent-Length: {2**21}\r\n\r\n"
    status, _, body = raw(pod, head.encode())
    assert status == 413
    assert json.loads(body) == {"error": "the body is larger than 1 MB"}


def test_a_body_in_chunks_is_413_as_soon_as_it_is_too_large(pod):
    head = f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, body = raw(pod, head.encode() + (b"10000\r\n" + b" " * 2**16 + b"\r\n") * 17)
    assert status == 413
    assert json.loads(body) == {"error": "the body is larger than 1 MB"}


def test_a_large_body_is_read_to_its_end_so_that_the_connection_can_go_on(pod):
    with httpx.Client() as client:
        assert client.post(f"{pod.url}{INFER}", content=b" " * 2**22).status_code == 413
        assert answers(client.post(f"{pod.url}{INFER}", json=question("still there?"))) == ["still there?"]


def test_a_body_that_never_comes_is_504_at_the_deadline(pod):
    head = f"POST {INFER} HTTP/1.1\r\nHost: pod\r\nContent-Length: 100\r\nX-Request-Deadline-Ms: 50\r\n\r\n"
    status, _, body = raw(pod, head.encode() + b"{")
    assert status == 504
    assert "body" in json.loads(body)["error"]


def test_a_compressed_body_is_400(pod):
    answer = post(pod, gzip.compress(tensor().encode()), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "Content-Encoding" in error_of(answer)


def test_what_is_not_http_is_400(pod):
    status, headers, body = raw(pod, b"this is not HTTP\r\n\r\n")
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", INFER), ("DELETE", "/score"), ("GET", "/v2/repository/index"), ("POST", "/v2")]
)
def test_a_wrong_method_is_405_and_says_which_are_right(pod, method, path):
    answer = CLIENT.request(method, f"{pod.url}{path}")
    assert answer.status_code == 405
    assert method in error_of(answer)
    assert answer.headers["Allow"]


def test_a_wrong_method_on_score_names_all_that_are_right(pod):
    answer = CLIENT.put(f"{pod.url}/score")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    "path",
    ["/", "/v2/models", "/v2/models/unknown", "/v2/models/unknown/ready", "/v2/models/obedient/versions/9", "/v2/%00"],
)
def test_what_is_not_there_is_404(pod, path):
    answer = CLIENT.get(f"{pod.url}{path}")
    assert answer.status_code == 404
    assert error_of(answer)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("multipart/form-data", b"--x", id="no boundary"),
        pytest.param("multipart/form-data; boundary=x", b"", id="nothing"),
        pytest.param("multipart/form-data; boundary=x", b"\0\1\2", id="not multipart"),
        pytest.param(
            "multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: a\r\n\r\n1\r\n--x--", id="no name"
        ),
        pytest.param(
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
            id="no file",
        ),
        pytest.param("multipart/form-data; boundary=x; charset=none", b"--x--", id="an unknown character set"),
        pytest.param("multipart/form-data; boundary=" + "x" * 5000, b"--x--", id="a boundary without end"),
        pytest.param("application/json", b"[]", id="a list"),
        pytest.param("application/json", b'{"question": "hello"}', id="no input"),
        pytest.param("application/json", b'{"input": 5}', id="a number as question"),
        pytest.param("text/plain", b"hello", id="plain text"),
    ],
)
def test_a_reference_request_that_makes_no_sense_is_400(pod, content_type, body):
    answer = post(pod, body, "/score", **{"Content-Type": content_type})
    assert answer.status_code == 400
    assert error_of(answer)


def test_index_options_that_are_no_json_are_400(pod):
    assert post(pod, b"{", "/v2/repository/index").status_code == 400
    assert post(pod, b"[]", "/v2/repository/index").status_code == 400
