"""All that the site and the scoring service share: the protocol they speak, and the files of the model store.

The protocol is the Open Inference Protocol v2, here as types and codecs.
Specification: https://github.com/kserve/open-inference-protocol, with the binary tensor data extension of
https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md). Needs only msgspec.

Here a tensor's `data` is a flat list in row-major order, whichever way it travelled: bool, int, float, and for
BYTES either str (it came as JSON) or bytes (it came in the binary extension). Numbers may also be given, and are
decoded on request, as the bytes that travel in the binary extension, a memoryview: little-endian, row-major.
"""

import base64
import math
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
REQUEST_ID_HEADER = "X-Request-ID"
DEADLINE_HEADER = "X-Request-Deadline-Ms"
VERSION_HEADER = "X-Model-Version"  # which version answered, or failed
# What a request's `parameters` may say to the pod itself; all others are the model's own.
#   routing_key  text: the same key always goes to the same version while some requests go to a challenger
#   priority     a whole number, as Triton has it: 0 or none for what is usual, 1 the highest, and the larger the lower.
#                Here 0 and 1 are normal; from LOW_PRIORITY on rows are scored when no normal ones wait
#   row_errors   true: a row that cannot be scored does not fail the whole request. The outputs then hold the other rows
#                in their order (none at all: shape [0, …]), and the answer's parameter `row_errors` says why for each
#                that is missing: JSON as text, {"<its number in the request, from 0>": "<reason>"}, for the protocol's
#                parameters are text, numbers or booleans. It is there, "{}", when no row is missing, too
LOW_PRIORITY = 2
# A name of the store: of a model or a version.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Datatype to struct's format character; BYTES has a code of its own below.
_FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    "BF16": "f",  # travels as the upper half of a float32
}
DATATYPES = frozenset({*_FORMATS, "BYTES"})
# Datatype to what its elements are in JSON; the others are whole numbers.
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "BYTES": (str,),
    **dict.fromkeys(("FP16", "FP32", "FP64", "BF16"), (int, float)),
}
_LENGTH = struct.Struct("<I")

# Wide enough for any tensor, narrow enough that the product of a shape stays a number one can print.
Shape = Annotated[list[Annotated[int, Meta(ge=0, le=2**40)]], Meta(max_length=16)]

T = TypeVar("T")


class ContractError(ValueError):
    """A message that breaks the protocol; says which part and how."""


def studied(kind: type[T]) -> type[T]:
    """Has msgspec study the type at once.

    It would at the first message, and crash the process if other threads have a message of the type meanwhile.
    """
    msgspec.json.Decoder(kind)
    return kind


# Messages -------------------------------------------------------------------------------------------------------------


@studied
class Tensor(Struct, kw_only=True, omit_defaults=True):
    """One named tensor. In `data` lies what the shape promises, or nothing while its bytes follow the JSON."""

    name: str
    shape: Shape
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | memoryview | None = None

    @property
    def elements(self) -> list[Any]:
        """What `data` holds, unpacked where it is bytes."""
        return _unpack(self, self.data) if isinstance(self.data, memoryview) else self.data or []


@studied
class RequestedOutput(Struct, omit_defaults=True):
    name: str
    parameters: dict[str, Any] = {}


@studied
class InferRequest(Struct, kw_only=True, omit_defaults=True):
    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[RequestedOutput] = []

    def wants_binary(self, output: str) -> bool:
        """Whether the output's bytes shall follow the JSON of the answer."""
        everything = bool(self.parameters.get("binary_data_output", False))
        asked = next((each for each in self.outputs if each.name == output), None)
        return bool(asked.parameters.get("binary_data", everything)) if asked else everything


@studied
class InferResponse(Struct, kw_only=True, omit_defaults=True):
    model_name: str
    outputs: list[Tensor]
    model_version: str = ""
    id: str = ""
    parameters: dict[str, Any] = {}

    def output(self, name: str) -> Tensor:
        """The output of that name. Raises ContractError when the answer lacks it."""
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise ContractError(f"the answer has no output {name!r}")

    @property
    def row_errors(self) -> dict[int, str]:
        """Why rows of the request are missing in the outputs, by their number in the request. Raises ContractError."""
        said = self.parameters.get("row_errors", "{}")
        if not isinstance(said, str):
            raise ContractError(f"parameter row_errors must be JSON as text, not {type(said).__name__}")
        return decode_json(said, dict[int, str])


@studied
class TensorMetadata(Struct, kw_only=True, omit_defaults=True):
    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] = {}


@studied
class ModelMetadata(Struct, kw_only=True):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any] = {}


@studied
class ServerMetadata(Struct):
    name: str
    version: str
    extensions: list[str]


@studied
class IndexEntry(Struct, kw_only=True):
    """One version in the repository index. state: READY, LOADING or UNAVAILABLE; reason: why not READY."""

    name: str
    version: str
    state: str
    reason: str = ""


@studied
class ErrorBody(Struct):
    error: str


# What a pod says of itself -----------------------------------------------------------------------------------------


@studied
class PodVersion(Struct, kw_only=True):
    """One version on one pod. state and reason as in the repository index.

    role: what the routing file calls it: champion, challenger, standby or warm. answering: requests that name no
    version go to it, but for the challenger's share.
    """

    model: str
    version: str
    state: str
    reason: str = ""
    role: str = ""
    answering: bool = False
    load_seconds: float | None = None


@studied
class PodState(Struct, kw_only=True):
    """`GET /v2/pod`: what one pod serves right now. reason: why it is not ready. Sizes in bytes, None: no limit."""

    pod: str  # its name: of the host, and its port
    pool: str
    ready: bool
    reason: str = ""
    started_at: str = ""  # RFC 3339, UTC
    device: str = ""
    memory: int = 0
    memory_limit: int | None = None
    store_problem: str = ""
    versions: list[PodVersion] = []


# The model store ------------------------------------------------------------------------------------------------------

# <store>/<model>/<version>/manifest.json   a Manifest; the version's folder is immutable once it has its name
# <store>/<model>/routing.json              a Routing; replaced in one step
# <store>/<model>/evaluation.jsonl          of a FAQ matcher: an EvaluationQuestion a line
# <store>/<model>/evaluation.zip            of an image classifier: pictures, and labels.csv with header file,label_id


@studied
class File(Struct, frozen=True):
    sha256: str
    size: int  # bytes


@studied
class Smoke(Struct, frozen=True, omit_defaults=True):
    """What the version must be able to score: a text, a file of the version, or a file with a whole request as JSON."""

    text: str | None = None
    file: str | None = None
    request: str | None = None


@studied
class TrainingData(Struct, frozen=True, omit_defaults=True):
    """What a version was trained on. sha256: of the snapshot; file: its path in the version's folder, if kept there."""

    description: str = ""
    sha256: str = ""
    rows: int = 0
    file: str | None = None


@studied
class Manifest(Struct, frozen=True, kw_only=True):
    """What a version is. docs/architecture.md describes the store around it."""

    format: Literal[1] = 1
    model: str
    version: str
    kind: Literal["faq", "image", "tensors"]
    runtime: str  # module below scoring_service.runtimes
    pool: Literal["cpu", "gpu"]
    title: str  # for people: "ResNet-152, ImageNet-1K"
    description: str = ""
    sample: bool = False  # only demonstrates; a version that is not a sample is offered first
    created_at: str  # RFC 3339, UTC
    libraries: dict[str, str] = {}  # distribution name to the version it was written with
    files: dict[str, File] = {}  # path within the version's folder, with forward slashes
    memory: int = 0  # bytes that a pod needs to load it; 0: not known
    data: TrainingData | None = None
    parameters: dict[str, Any] = {}  # the runtime's own
    metrics: dict[str, Any] = {}
    smoke: list[Smoke] = []


@studied
class EvaluationQuestion(Struct, frozen=True):
    """A question, and the id of the entry that answers it; None: no entry does."""

    question: str
    faq_id: str | None


@studied
class Challenger(Struct, frozen=True):
    """The version that answers `percent` (1 to 50) of the requests that name none."""

    version: str
    percent: Annotated[float, Meta(ge=0, le=100)]


@studied
class Routing(Struct, frozen=True, omit_defaults=True):
    """Which versions of a model pods load, and what each is for.

    champion: answers; empty while the first version is being checked. standby: the champion before, stays loaded so
    that one can go back at once, and answers where the champion cannot be loaded. warm: loaded, and asked by name only.
    """

    champion: str
    challenger: Challenger | None = None
    standby: str = ""
    warm: list[str] = []

    def roles(self) -> dict[str, str]:
        """Each version that is named, with its role; a version named twice has the first of its roles."""
        named = [(version, "warm") for version in self.warm]
        named += [(self.standby, "standby"), (self.champion, "champion")]
        if self.challenger:
            named.insert(-1, (self.challenger.version, "challenger"))
        return {version: role for version, role in named if version}


# Between messages and what travels ------------------------------------------------------------------------------------


def encode_request(request: InferRequest, *, binary: bool = False) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request. With `binary` all inputs travel as bytes behind the JSON."""
    names = {tensor.name for tensor in request.inputs} if binary else ()
    head, tails = _split(request.inputs, names)
    return _join(msgspec.structs.replace(request, inputs=head), tails)


def decode_request(body: bytes, json_length: str | None = None, *, packed: bool = False) -> InferRequest:
    """The request in a body. json_length: the header JSON_LENGTH_HEADER, if it was there. Raises ContractError.

    packed: numbers that came as bytes stay bytes, a memoryview of the body.
    """
    request, tail = _decode(InferRequest, body, json_length)
    _fill(request.inputs, tail, packed=packed)
    return request


def encode_response(response: InferResponse, *, binary: Collection[str] = ()) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an answer. binary: names of the outputs that travel as bytes behind the JSON."""
    head, tails = _split(response.outputs, binary)
    return _join(msgspec.structs.replace(response, outputs=head), tails)


def decode_response(body: bytes, json_length: str | None = None) -> InferResponse:
    """The answer in a body. Raises ContractError."""
    response, tail = _decode(InferResponse, body, json_length)
    _fill(response.outputs, tail)
    return response


def row_errors_parameter(reasons: Mapping[int, str]) -> str:
    """The answer's parameter `row_errors`."""
    return msgspec.json.encode(reasons).decode()


def decode_json(body: bytes | str, kind: type[T]) -> T:
    """A message of one of the types above that is JSON alone. Raises ContractError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:  # malformed, of another form, not UTF-8; nested without end
        raise ContractError(str(error)) from error


def bytes_of(element: str | bytes) -> bytes:
    """The bytes of an element that is not text: as they are from the binary extension, base64 in JSON."""
    if isinstance(element, bytes):
        return element
    try:
        return base64.b64decode(element, validate=True)
    except ValueError as error:
        raise ContractError("bytes in JSON must be base64") from error


def text_of(element: str | bytes) -> str:
    """The text of an element, UTF-8 where it came as bytes. Raises ContractError."""
    if isinstance(element, str):
        return element
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise ContractError("text must be UTF-8") from error


def _split(tensors: Iterable[Tensor], binary: Collection[str]) -> tuple[list[Tensor], list[bytes | memoryview]]:
    """The tensors as they stand in the JSON, and the bytes that follow it."""
    head: list[Tensor] = []
    tails: list[bytes | memoryview] = []
    for tensor in tensors:
        if tensor.name in binary:
            tail = _pack(tensor)
            parameters = {**tensor.parameters, "binary_data_size": len(tail)}
            head.append(msgspec.structs.replace(tensor, data=None, parameters=parameters))
            tails.append(tail)
        else:
            head.append(_in_json(tensor))
    return head, tails


def _in_json(tensor: Tensor) -> Tensor:
    """The tensor with elements that JSON has: itself, where they are such already."""
    if isinstance(tensor.data, list) and not any(isinstance(each, bytes) for each in tensor.data):
        return tensor
    return msgspec.structs.replace(tensor, data=[_for_json(each) for each in tensor.elements])


def _join(message: Struct, tails: list[bytes | memoryview]) -> tuple[bytes, dict[str, str]]:
    head = msgspec.json.encode(message)
    if not tails:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH_HEADER: str(len(head))}
    return b"".join((head, *tails)), headers


def _decode(kind: type[T], body: bytes, json_length: str | None) -> tuple[T, memoryview]:
    """The message at the start of the body, and the bytes behind it."""
    length = len(body)
    if json_length is not None:
        if not json_length.isascii() or not json_length.isdecimal() or len(json_length) > 12:
            raise ContractError(f"{JSON_LENGTH_HEADER} must be a whole number of bytes")
        length = int(json_length)
        if length > len(body):
            raise ContractError(f"{JSON_LENGTH_HEADER} says {length} bytes, the body has {len(body)}")
    view = memoryview(body)
    return decode_json(bytes(view[:length]) if length < len(body) else body, kind), view[length:]


def _fill(tensors: list[Tensor], tail: memoryview, *, packed: bool = False) -> None:
    """Gives each tensor its data, checked against shape and datatype. packed: numbers that came as bytes stay so."""
    at = 0
    for tensor in tensors:
        if tensor.datatype not in DATATYPES:
            raise ContractError(f"tensor {tensor.name!r}: unknown datatype {tensor.datatype!r}")
        if "binary_data_size" in tensor.parameters:
            size = tensor.parameters["binary_data_size"]
            if type(size) is not int or size < 0:
                raise ContractError(f"tensor {tensor.name!r}: binary_data_size must be a whole number of bytes")
            if tensor.data is not None:
                raise ContractError(f"tensor {tensor.name!r} has both data and binary_data_size")
            if at + size > len(tail):
                raise ContractError(f"tensor {tensor.name!r}: the body ends before its {size} bytes")
            came = tail[at : at + size]
            if packed and tensor.datatype != "BYTES":
                _check_size(tensor, came)
                tensor.data = came
            else:
                tensor.data = _unpack(tensor, came)
            at += size
        elif tensor.data is None:
            raise ContractError(f"tensor {tensor.name!r} has neither data nor binary_data_size")
        elif isinstance(tensor.data, memoryview):  # what msgspec makes of text
            raise ContractError(f"tensor {tensor.name!r}: data must be a list")
        else:
            tensor.data = _from_json(tensor, tensor.data)
    if at != len(tail):
        raise ContractError(f"{len(tail) - at} bytes follow the last tensor")


# Elements -------------------------------------------------------------------------------------------------------------


def _pack(tensor: Tensor) -> bytes | memoryview:
    """Little-endian bytes; each element of BYTES behind its length in four bytes. Raises ContractError."""
    if isinstance(tensor.data, memoryview):
        return tensor.data
    data = tensor.data or []
    if tensor.datatype == "BYTES":
        elements = [each.encode() if isinstance(each, str) else each for each in data]
        return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))
    packed = _pack_numbers(tensor, data)
    if tensor.datatype == "BF16":
        return b"".join(packed[at + 2 : at + 4] for at in range(0, len(packed), 4))
    return packed


def _pack_numbers(tensor: Tensor, data: list[Any]) -> bytes:
    try:
        return struct.pack(f"<{len(data)}{_FORMATS[tensor.datatype]}", *data)
    except (struct.error, OverflowError) as error:
        raise ContractError(f"tensor {tensor.name!r}: a number does not fit {tensor.datatype}") from error


def _unpack(tensor: Tensor, data: memoryview) -> list[Any]:
    if tensor.datatype == "BYTES":
        elements = list(_unpack_bytes(tensor, data))
        _check_count(tensor, len(elements))
        return elements
    count = _check_size(tensor, data)
    if tensor.datatype == "BF16":
        data = memoryview(b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2)))
    return list(struct.unpack(f"<{count}{_FORMATS[tensor.datatype]}", data))


def _check_size(tensor: Tensor, data: memoryview) -> int:
    """How many numbers the bytes are. Raises ContractError when the shape needs others."""
    width = 2 if tensor.datatype == "BF16" else struct.calcsize(f"<{_FORMATS[tensor.datatype]}")
    if len(data) % width:
        raise ContractError(f"tensor {tensor.name!r}: {len(data)} bytes are not whole elements of {tensor.datatype}")
    count = len(data) // width
    _check_count(tensor, count)
    return count


def _unpack_bytes(tensor: Tensor, data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ContractError(f"tensor {tensor.name!r}: its bytes end inside the length of an element")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise ContractError(f"tensor {tensor.name!r}: its bytes end inside an element")
        yield bytes(data[at : at + size])
        at += size


def _from_json(tensor: Tensor, data: list[Any]) -> list[Any]:
    """The elements as the datatype has them, from flat or nested lists: the protocol allows both."""
    elements = list(_flat(tensor, data, len(tensor.shape) - 1))
    _check_count(tensor, len(elements))
    allowed = _JSON_TYPES.get(tensor.datatype, (int,))
    for element in elements:
        if type(element) not in allowed:
            raise ContractError(f"tensor {tensor.name!r}: {type(element).__name__} is not {tensor.datatype}")
    if tensor.datatype != "BYTES":
        _pack_numbers(tensor, elements)  # refuses what is out of range
    return [float(element) for element in elements] if float in allowed else elements


def _flat(tensor: Tensor, data: list[Any], depth: int) -> Iterator[Any]:
    """The elements of lists nested at most so many levels deeper than this one."""
    for each in data:
        if not isinstance(each, list):
            yield each
        elif depth < 1:
            raise ContractError(f"tensor {tensor.name!r}: data is nested deeper than shape {tensor.shape}")
        else:
            yield from _flat(tensor, each, depth - 1)


def _check_count(tensor: Tensor, came: int) -> None:
    wanted = math.prod(tensor.shape)
    if came != wanted:
        raise ContractError(f"tensor {tensor.name!r}: shape {tensor.shape} needs {wanted} elements, {came} came")


def _for_json(element: Any) -> Any:
    return base64.b64encode(element).decode() if isinstance(element, bytes) else element
