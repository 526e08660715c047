"""The protocol's codecs: what is encoded comes back, and whatever else comes in is a ContractError at worst."""

import math
import struct
from contextlib import suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scoring_service.contract import (
    DATATYPES,
    ContractError,
    InferRequest,
    InferResponse,
    RequestedOutput,
    Tensor,
    bytes_of,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    text_of,
)

HEADER = "Inference-Header-Content-Length"


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


def upper_half(number: float) -> float:
    """The bfloat16 that a float32 is cut to."""
    return struct.unpack("<f", b"\0\0" + struct.pack("<f", number)[2:])[0]


FINITE = {"allow_nan": False, "allow_infinity": False}
ELEMENTS = {
    "BOOL": st.booleans(),
    **{f"UINT{bits}": whole(bits, signed=False) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": whole(bits, signed=True) for bits in (8, 16, 32, 64)},
    "FP16": st.floats(width=16, **FINITE),
    "FP32": st.floats(width=32, **FINITE),
    "FP64": st.floats(**FINITE),
    "BF16": st.floats(width=32, **FINITE).map(upper_half),
    "BYTES": st.text(),
}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(sorted(ELEMENTS)))
    shape = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    count = math.prod(shape)
    data = draw(st.lists(ELEMENTS[datatype], min_size=count, max_size=count))
    return Tensor(name=draw(st.text(max_size=5)), datatype=datatype, shape=shape, data=data)


def as_text(tensor: Tensor) -> list:
    """The data, with text in the place of its bytes."""
    return [text_of(each) for each in tensor.data] if tensor.datatype == "BYTES" else tensor.data


def test_every_datatype_is_tried():
    assert set(ELEMENTS) == DATATYPES


@given(inputs=st.lists(tensors(), max_size=3), binary=st.booleans(), identifier=st.text(max_size=5))
def test_a_request_comes_back_as_it_was_in_json_and_as_bytes(inputs, binary, identifier):
    body, headers = encode_request(InferRequest(inputs=inputs, id=identifier), binary=binary)
    decoded = decode_request(body, headers.get(HEADER))
    assert decoded.id == identifier
    assert [(each.name, each.datatype, each.shape) for each in decoded.inputs] == [
        (each.name, each.datatype, each.shape) for each in inputs
    ]
    assert [as_text(each) for each in decoded.inputs] == [each.data for each in inputs]


@given(outputs=st.lists(tensors(), max_size=3, unique_by=lambda tensor: tensor.name), choice=st.randoms())
def test_an_answer_comes_back_with_some_outputs_as_bytes_and_some_in_json(outputs, choice):
    response = InferResponse(model_name="m", model_version="3", outputs=outputs, parameters={"threshold": 0.5})
    body, headers = encode_response(response, binary=[each.name for each in outputs if choice.random() < 0.5])
    decoded = decode_response(body, headers.get(HEADER))
    assert (decoded.model_name, decoded.model_version, decoded.parameters) == ("m", "3", {"threshold": 0.5})
    assert [as_text(each) for each in decoded.outputs] == [each.data for each in outputs]


@given(st.lists(st.binary()))
def test_bytes_that_are_no_text_come_back_both_ways(elements):
    request = InferRequest(inputs=[Tensor(name="image", datatype="BYTES", shape=[len(elements)], data=elements)])
    for binary in (False, True):
        body, headers = encode_request(request, binary=binary)
        [tensor] = decode_request(body, headers.get(HEADER)).inputs
        assert [bytes_of(each) for each in tensor.data] == elements


@given(st.floats(), st.sampled_from(["FP32", "FP64"]))
def test_numbers_that_json_does_not_have_come_back_as_bytes(number, datatype):
    tensor = Tensor(name="x", datatype=datatype, shape=[1], data=[number])
    try:
        body, headers = encode_request(InferRequest(inputs=[tensor]), binary=True)
    except ContractError:
        assert datatype == "FP32"
        assert abs(number) > 3.4e38
        return
    [decoded] = decode_request(body, headers[HEADER]).inputs
    code = "<f" if datatype == "FP32" else "<d"
    assert struct.pack(code, decoded.data[0]) == struct.pack(code, number)


def decodes_or_is_refused(body: bytes, json_length: str | None) -> None:
    for decode in (decode_request, decode_response):
        with suppress(ContractError):
            decode(body, json_length)


@given(st.binary(max_size=200), st.none() | st.text(max_size=8) | st.integers(-5, 250).map(str))
@example(b"[" * 100_000, None)
@example(b'{"inputs":[],"id":"\xff"}', None)
def test_any_bytes_decode_or_are_refused(body, json_length):
    decodes_or_is_refused(body, json_length)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(**FINITE) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ALMOST_TENSORS = st.fixed_dictionaries(
    {"name": st.text(max_size=3), "shape": st.lists(st.integers(0, 3), max_size=3)},
    optional={
        "datatype": st.sampled_from([*sorted(DATATYPES), "TEXT"]),
        "data": st.lists(JSON_VALUES, max_size=4),
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 20) | JSON_VALUES}),
    },
)


@given(st.lists(ALMOST_TENSORS, max_size=3), st.binary(max_size=30))
def test_almost_right_messages_decode_or_are_refused(almost, tail):
    head = msgspec.json.encode({"inputs": almost, "outputs": almost, "model_name": "m"})
    decodes_or_is_refused(head + tail, str(len(head)))


@given(st.data())
def test_a_good_message_with_one_byte_changed_decodes_or_is_refused(data):
    body, headers = encode_request(
        InferRequest(inputs=data.draw(st.lists(tensors(), min_size=1, max_size=2))), binary=True
    )
    at = data.draw(st.integers(0, len(body) - 1))
    changed = body[:at] + bytes([data.draw(st.integers(0, 255))]) + body[at + 1 :]
    decodes_or_is_refused(changed, headers[HEADER])
    decodes_or_is_refused(body[:at], headers[HEADER])


def test_nested_data_is_as_good_as_flat():
    body = b'{"inputs":[{"name":"x","datatype":"INT64","shape":[2,2],"data":[[1,2],[3,4]]}]}'
    assert decode_request(body).inputs[0].data == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("everything", "one", "binary"),
    [(None, None, False), (True, None, True), (None, True, True), (True, False, False), (False, True, True)],
)
def test_an_output_travels_as_bytes_when_the_request_says_so(everything, one, binary):
    parameters = {} if everything is None else {"binary_data_output": everything}
    of_output = {} if one is None else {"binary_data": one}
    request = InferRequest(inputs=[], parameters=parameters, outputs=[RequestedOutput("label", of_output)])
    assert request.wants_binary("label") is binary
