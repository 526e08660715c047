"""Between a request's tensors and the rows that a runtime scores, and between its results and an answer's tensors."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from scoring_service import contract, tensors
from scoring_service.contract import InferRequest, Tensor
from scoring_service.errors import BadRequest, BadRow, WrongAnswer
from scoring_service.runtimes.base import Row, Signature, TensorSpec

T = TypeVar("T")


def wanted_outputs(asked: InferRequest, signature: Signature) -> list[TensorSpec]:
    """The outputs asked for, in that order; without a wish all that are not optional."""
    known = {spec.name: spec for spec in signature.outputs}
    if not asked.outputs:
        return [spec for spec in signature.outputs if not spec.optional]
    for output in asked.outputs:
        if output.name not in known:
            raise BadRequest(f"there is no output {output.name!r}; this model has {', '.join(known)}")
    return [known[output.name] for output in asked.outputs]


def rows_of(
    asked: InferRequest, signature: Signature, outputs: Sequence[TensorSpec], row_errors: bool
) -> list[Row | BadRow]:
    """The request's rows; with `row_errors`, a BadRow for each that cannot be read.

    Raises BadRequest when an input is missing, unknown, or of another type or shape, and without `row_errors` for the
    first row that cannot be read.
    """
    given = {tensor.name: tensor for tensor in asked.inputs}
    known = [spec.name for spec in signature.inputs]
    if len(given) != len(asked.inputs) or set(given) != set(known):
        raise BadRequest(f"the inputs of this model are {', '.join(known)}; got {', '.join(given) or 'none'}")
    columns = [elements_of(given[spec.name], spec) for spec in signature.inputs]
    if len({len(column) for column in columns}) != 1:
        raise BadRequest("all inputs must have the same number of rows")
    for name, column in zip(known, columns, strict=True):
        if not row_errors:
            all_good(column, row_named(name))
    parameters = {name: value for name, value in asked.parameters.items() if name != "binary_data_output"}
    top_k = parameters.get("top_k", 0)
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 0:
        raise BadRequest("parameter top_k must be a whole number, 0 for all")
    optional = frozenset(spec.name for spec in outputs if spec.optional)
    rows = zip(*columns, strict=True)
    return [first_bad(values) or Row(values, parameters, optional) for values in rows]


def first_bad(values: Sequence[Any]) -> BadRow | None:
    return next((value for value in values if isinstance(value, BadRow)), None)


def elements_of(tensor: Tensor, spec: TensorSpec) -> Sequence[Any]:
    """What the model is given for each row; a BadRow for an element that cannot be read."""
    if tensor.datatype != spec.datatype:
        raise BadRequest(f"input {tensor.name!r} must be {spec.datatype}, not {tensor.datatype}")
    if len(spec.shape) > 1:
        check_shape(tensor, spec)
    elif not tensor.shape or math.prod(tensor.shape[1:]) != 1:
        raise BadRequest(f"input {tensor.name!r} must have shape [n] or [n, 1], not {tensor.shape}")
    if spec.datatype != "BYTES":
        numbers = tensors.numbers_of(tensor)
        return list(numbers.reshape(-1) if len(spec.shape) == 1 else numbers)
    decode = contract.bytes_of if spec.encoding == "base64" else contract.text_of
    elements: list[Any] = []
    for element in tensor.elements:
        try:
            elements.append(decode(element))
        except contract.ContractError as error:
            elements.append(BadRow(str(error)))
    return elements if len(spec.shape) == 1 else folded(elements, tensor.shape)


def check_shape(tensor: Tensor, spec: TensorSpec) -> None:
    """Raises BadRequest when the tensor has another number of dimensions, or another length than a fixed one."""
    fits = len(tensor.shape) == len(spec.shape) and all(
        wanted in {-1, length} for wanted, length in zip(spec.shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(["n", *("any" if length == -1 else str(length) for length in spec.shape[1:])])
        raise BadRequest(f"input {tensor.name!r} must have shape [{wanted}], not {tensor.shape}")


def folded(elements: list[Any], shape: list[int]) -> list[Any]:
    """Texts or bytes as an array of objects a row; the BadRow of a row that holds one."""
    width = math.prod(shape[1:])
    rows: list[Any] = []
    for start in range(0, shape[0] * width, width) if width else [0] * shape[0]:
        own = elements[start : start + width]
        row = np.empty(width, dtype=object)
        row[:] = own
        rows.append(first_bad(own) or row.reshape(shape[1:]))
    return rows


def all_good(results: Sequence[T | BadRow], name_of: Callable[[int], str]) -> list[T]:
    """The results, when all rows have one. Raises BadRequest that names the first bad row."""
    good = []
    for number, result in enumerate(results):
        if isinstance(result, BadRow):
            raise BadRequest(f"{name_of(number)}: {result}")
        good.append(result)
    return good


def row_named(input_name: str) -> Callable[[int], str]:
    """What errors call the rows of an input."""
    return lambda number: f"input {input_name!r}, row {number}"


def stack(spec: TensorSpec, rows: Sequence[Any]) -> Tensor:
    """The rows' values as one tensor: of shape [rows, values a row], or [rows], for lists; [rows, …] for arrays.

    Raises WrongAnswer when the rows are not of one length or shape.
    """
    if not rows:
        shape = [0, *(max(length, 0) for length in spec.shape[1:])]
        return Tensor(name=spec.name, datatype=spec.datatype, shape=shape, data=[])
    if set(map(type, rows)) != {list}:
        return tensors.stacked(spec, rows)
    width = len(rows[0])
    if any(len(row) != width for row in rows):
        raise WrongAnswer(f"the model gave rows of different lengths for {spec.name!r}")
    shape = [len(rows)] if len(spec.shape) == 1 else [len(rows), width]
    return Tensor(name=spec.name, datatype=spec.datatype, shape=shape, data=[value for row in rows for value in row])


def size_of(values: Any) -> int:
    """How many elements a row's values of one output are."""
    return len(values) if isinstance(values, list) else int(values.size)
