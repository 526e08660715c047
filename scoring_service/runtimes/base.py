"""What a runtime is: the code that turns a model version on disk into rows scored."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from scoring_service.contract import Manifest
    from scoring_service.errors import BadRow

# Held while a runtime's libraries are imported: versions load in threads of their own, and large libraries do not stand
# being imported by two at once.
IMPORTING = threading.Lock()
NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, datatype and shape of an input or output. -1 in the shape stands for any length; the first one counts rows.

    encoding: how an element travels in JSON: "text" as it is, "base64" for bytes that are not text.
    optional: an output that is given only to those who ask for it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    encoding: str = "text"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Row:
    """One thing to score.

    inputs: one element per input of the signature, in its order (a question: str; a picture: the bytes of its file;
        numbers, and BYTES with more than the rows in their shape: an array of numpy, which is not to be written to).
    parameters: of the request, such as "top_k".
    outputs: the optional outputs that are wanted.
    """

    inputs: tuple[Any, ...]
    parameters: Mapping[str, Any] = field(default_factory=lambda: NO_PARAMETERS)
    outputs: frozenset[str] = field(default=frozenset())


# The values of one row for each output: a list, or an array of numpy of the shape that one row has.
RowResult = dict[str, Any]


class Runtime(Protocol):
    """A loaded model version. `load` and all calls of `score` happen on one thread, but for rows that are `light`."""

    signature: Signature
    parameters: dict[str, Any]  # sent with every answer, for example the FAQ matcher's threshold

    def score(self, rows: Sequence[Row]) -> Sequence["RowResult | BadRow"]:
        """As many results as rows, in their order. A row that cannot be scored gets a BadRow in its place.

        Raises OutOfDeviceMemory when fewer rows might do, DeviceLost when only a new process helps.
        """
        ...

    def light(self, rows: Sequence[Row]) -> bool:
        """Whether these rows, like most of this version, cost less than handing them to another thread is worth.

        Then they may be scored on the event loop's thread, as long as rows have taken little time so far. Never true
        for what is bound to the thread that loaded it, or for rows that may take far longer than others.
        """
        ...

    def close(self) -> None:
        """Gives back what the version holds."""
        ...


@runtime_checkable
class Expectant(Protocol):
    """A runtime that can do a part of the work on a row while the row waits for its turn."""

    def expect(self, rows: Sequence[Row]) -> None:
        """These wait from now on; some may never be scored. Called on the event loop's thread, so it only begins."""
        ...


class Loader(Protocol):
    """`load` of a runtime's module: reads a version's folder, or raises VersionUnusable with the reason."""

    def __call__(self, directory: Path, manifest: "Manifest") -> Runtime: ...
