"""Tensors as arrays of numpy: what generic models, those of kind "tensors", take and give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from scoring_service.contract import DATATYPES, Manifest, Tensor, studied
from scoring_service.errors import BadRow, VersionUnusable, WrongAnswer
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec
from scoring_service.store import within

Array = npt.NDArray[Any]

# Datatype to what numpy calls its numbers; it has no bfloat16, which is float32 here.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{
        f"{sign}INT{bits}": np.dtype(f"<{letter}{bits // 8}")
        for sign, letter in (("U", "u"), ("", "i"))
        for bits in (8, 16, 32, 64)
    },
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": np.dtype("<f4"),
}
NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


@studied
class Declared(Struct, forbid_unknown_fields=True):
    """An input or output in a manifest's parameters `inputs` or `outputs`. The fields are those of TensorSpec."""

    name: str
    datatype: str
    shape: list[int]
    encoding: str = "text"
    optional: bool = False


def declared(manifest: Manifest, side: str) -> tuple[TensorSpec, ...]:
    """The tensors of the manifest's parameter `side`, "inputs" or "outputs"; none where it is not there.

    Raises VersionUnusable when it makes no sense.
    """
    try:
        found = msgspec.convert(manifest.parameters.get(side, []), list[Declared])
    except msgspec.ValidationError as error:
        raise VersionUnusable(f"parameters.{side}: {error}") from error
    specs = tuple(
        TensorSpec(each.name, each.datatype, tuple(each.shape), each.encoding, each.optional) for each in found
    )
    for spec in specs:
        if why := wrong_with(spec):
            raise VersionUnusable(f"parameters.{side}, {spec.name!r}: {why}")
    if len({spec.name for spec in specs}) != len(specs):
        raise VersionUnusable(f"parameters.{side} names a tensor twice")
    return specs


def wrong_with(spec: TensorSpec) -> str:
    """Why no tensor can be of that kind; empty when it can."""
    if not spec.name:
        return "its name is empty"
    if spec.datatype not in DATATYPES:
        return f"datatype must be one of {', '.join(sorted(DATATYPES))}, not {spec.datatype!r}"
    if not spec.shape or spec.shape[0] != -1 or any(length < -1 for length in spec.shape):
        return f"shape must begin with -1, for the rows, and -1 stands for any length; it is {list(spec.shape)}"
    if spec.encoding not in {"text", "base64"}:
        return f"encoding must be text or base64, not {spec.encoding!r}"
    return ""


def signature_of(
    manifest: Manifest, *, inputs: Sequence[TensorSpec] = (), outputs: Sequence[TensorSpec] = ()
) -> Signature:
    """What the manifest declares, and where it says nothing what was read from the model.

    Raises VersionUnusable when neither says.
    """
    signature = Signature(
        declared(manifest, "inputs") or tuple(inputs), declared(manifest, "outputs") or tuple(outputs)
    )
    for side, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if not specs:
            raise VersionUnusable(f"the manifest's parameters must name its {side}: name, datatype and shape of each")
    return signature


def model_file(directory: Path, manifest: Manifest, *, default: str) -> Path:
    """The version's file that the manifest's parameter `file` names. Raises VersionUnusable when it is not there."""
    name = manifest.parameters.get("file", default)
    if not isinstance(name, str):
        raise VersionUnusable("parameters.file must be the name of a file of the version")
    path = directory / within(name)
    if not path.is_file():
        raise VersionUnusable(f"there is no file {name} in it")
    return path


# What travels ---------------------------------------------------------------------------------------------------------


def numbers_of(tensor: Tensor) -> Array:
    """The tensor's numbers in its shape; may be a view of what came in, so it is not to be written to."""
    dtype = DTYPES[tensor.datatype]
    data = tensor.data
    if not isinstance(data, memoryview):
        numbers = np.array(data or [], dtype=dtype)
    elif tensor.datatype == "BOOL":
        numbers = np.frombuffer(data, dtype=np.uint8) != 0
    elif tensor.datatype == "BF16":
        numbers = (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view(dtype)
    else:
        numbers = np.frombuffer(data, dtype=dtype)
    return numbers.reshape(tensor.shape)


def stacked(spec: TensorSpec, rows: Sequence[Array]) -> Tensor:
    """The rows' arrays as one tensor, numbers as bytes. Raises WrongAnswer when they are not of one shape."""
    try:
        array = np.stack(rows)
    except ValueError as error:
        raise WrongAnswer(f"the model gave rows of different shapes for {spec.name!r}") from error
    shape = list(array.shape)
    if spec.datatype == "BYTES":
        return Tensor(name=spec.name, datatype="BYTES", shape=shape, data=array.ravel().tolist())
    numbers = np.ascontiguousarray(array, dtype=DTYPES[spec.datatype]).reshape(-1)
    if spec.datatype == "BF16":
        numbers = (numbers.view("<u4") >> 16).astype("<u2")
    return Tensor(name=spec.name, datatype=spec.datatype, shape=shape, data=numbers.view(np.uint8).data)


# What models take and give --------------------------------------------------------------------------------------------

# One array an input, [rows, …] each, to one array an output, likewise. What it gives for BYTES are arrays of objects.
Model = Callable[[list[Array]], Sequence[Array]]


def score(model: Model, signature: Signature, rows: Sequence[Row]) -> list[RowResult | BadRow]:
    """The results of the rows, each with all outputs of the signature: one call for all that have the same shapes.

    Raises WrongAnswer when the model's outputs are not those of the signature.
    """
    names = [spec.name for spec in signature.outputs]
    results: list[Any] = [None] * len(rows)
    for numbers in alike(rows):
        columns = [
            column(spec, [rows[number].inputs[place] for number in numbers])
            for place, spec in enumerate(signature.inputs)
        ]
        outputs = model(columns)
        arrays = [fitted(spec, output, len(numbers)) for spec, output in zip(signature.outputs, outputs, strict=True)]
        for place, number in enumerate(numbers):
            results[number] = {name: array[place, ...] for name, array in zip(names, arrays, strict=True)}
    return results


def alike(rows: Sequence[Row]) -> Iterator[list[int]]:
    """The numbers of the rows whose inputs have the same shapes, together."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for number, row in enumerate(rows):
        shapes = tuple(getattr(element, "shape", ()) for element in row.inputs)
        groups.setdefault(shapes, []).append(number)
    yield from groups.values()


def column(spec: TensorSpec, elements: Sequence[Any]) -> Array:
    """The rows' elements of one input as a new array."""
    if spec.datatype != "BYTES":
        return np.stack(elements)
    array = np.empty((len(elements), *getattr(elements[0], "shape", ())), dtype=object)
    array[:] = elements
    return array


def fitted(spec: TensorSpec, output: Any, rows: int) -> Array:
    """The output of a model's call, of the signature's datatype. Raises WrongAnswer when it is of another shape."""
    array = np.asarray(output)
    shape = (rows, *spec.shape[1:])
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:  # a column for each row's one number
        array = array[..., 0]
    if array.ndim != len(shape) or any(wanted not in {-1, got} for wanted, got in zip(shape, array.shape, strict=True)):
        raise WrongAnswer(f"the model's output {spec.name!r} has shape {list(array.shape)}, not {list(shape)}")
    if spec.datatype == "BYTES":
        return array.astype(object)
    return array.astype(DTYPES[spec.datatype], copy=False)
