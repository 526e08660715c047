"""Scoring scripts: the user's own `score.py` with `init()` and `run(rows)`. Loading one runs whatever is in it.

Hence no pod has this runtime unless it was told to (ALLOW_SCORING_SCRIPTS). docs/runtimes.md says how to write one.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import structlog

from scoring_service import tensors
from scoring_service.contract import Manifest
from scoring_service.errors import BadRow, OutOfDeviceMemory, ServiceError, VersionUnusable, WrongAnswer
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

log = structlog.get_logger()

# Of a script whose manifest declares nothing: a text in, and whatever JSON can say out, as text.
INPUTS = (TensorSpec("input", "BYTES", (-1,)),)
OUTPUTS = (TensorSpec("output", "BYTES", (-1,)),)

# What elements may be, so that a list of them is an output's row as it is.
_PLAIN: Mapping[str, frozenset[type]] = {
    "BYTES": frozenset({str, bytes}),
    "BOOL": frozenset({bool}),
    "INT64": frozenset({int}),
    "FP32": frozenset({int, float}),
    "FP64": frozenset({int, float}),
}

_importing = threading.Lock()


class Script:
    """A script that was initialised."""

    parameters: dict[str, Any]

    def __init__(self, run: Callable[[list[Any]], Any], signature: Signature, *, light: bool) -> None:
        """run: the script's own; takes rows, gives as many results. light: as its manifest says, of all rows."""
        self._run = run
        self._light = light
        self.signature = signature
        self.parameters = {}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        """What `run` makes of the rows.

        A row is refused when its result is an exception, or when `run` raises ValueError for it alone: of rows that
        fail together each is tried again by itself.
        """
        given = [self._given(row) for row in rows]
        try:
            return self._results(given)
        except (MemoryError, ServiceError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # of torch
                raise OutOfDeviceMemory("there was not enough memory for so many rows at once") from error
            if len(rows) > 1:
                return [self._alone(element) for element in given]
            if isinstance(error, ValueError):
                return [BadRow(str(error))]
            raise

    def light(self, rows: Sequence[Row]) -> bool:
        return self._light

    def close(self) -> None:
        """Lets go of the script's module and all that it holds."""
        self._run = _closed

    def _given(self, row: Row) -> Any:
        if len(row.inputs) == 1:
            return row.inputs[0]
        return {spec.name: element for spec, element in zip(self.signature.inputs, row.inputs, strict=True)}

    def _alone(self, element: Any) -> RowResult | BadRow:
        try:
            return self._results([element])[0]
        except ValueError as error:
            return BadRow(str(error))
        except (MemoryError, ServiceError):
            raise
        except Exception as error:
            log.exception("the scoring script failed on a row")
            return BadRow(f"The scoring script failed on this row ({type(error).__name__}).")

    def _results(self, given: list[Any]) -> list[RowResult | BadRow]:
        results = self._run(given)
        try:
            count = len(results)
        except TypeError as error:
            raise WrongAnswer(f"run() gave {type(results).__name__}, not a list with a result for each row") from error
        if count != len(given):
            raise WrongAnswer(f"run() gave {count} results for {len(given)} rows")
        return [BadRow(str(result)) if isinstance(result, Exception) else self._result(result) for result in results]

    def _result(self, result: Any) -> RowResult:
        outputs = self.signature.outputs
        if len(outputs) == 1 and not (isinstance(result, Mapping) and outputs[0].name in result):
            return {outputs[0].name: fitted(outputs[0], result)}
        if not isinstance(result, Mapping) or any(spec.name not in result for spec in outputs):
            names = ", ".join(spec.name for spec in outputs)
            raise WrongAnswer(f"run() must give a dict with {names} for each row")
        return {spec.name: fitted(spec, result[spec.name]) for spec in outputs}


def load(directory: Path, manifest: Manifest) -> Script:
    """Imports and initialises the script. Raises VersionUnusable when it has no `run`, or what the script raises."""
    path = tensors.model_file(directory, manifest, default="score.py")
    signature = tensors.signature_of(manifest, inputs=INPUTS, outputs=OUTPUTS)
    with importing_from(path.parent, model_dir=directory):
        script = imported(path, f"scoring_script_{manifest.model}_{manifest.version}")
        run = getattr(script, "run", None)
        if not callable(run):
            raise VersionUnusable(f"{path.name} has no function run(rows)")
        if callable(init := getattr(script, "init", None)):
            init()
    return Script(run, signature, light=manifest.parameters.get("light") is True)


def imported(path: Path, name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise VersionUnusable(f"{path.name} is no Python file")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def importing_from(folder: Path, *, model_dir: Path) -> Iterator[None]:
    """Lets a script import what lies beside it, and forgets those modules: another version has its own.

    model_dir: what the script finds in AZUREML_MODEL_DIR.
    """
    with _importing:
        os.environ["AZUREML_MODEL_DIR"] = str(model_dir)
        sys.path.insert(0, str(folder))
        before = set(sys.modules)
        written = sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # a version's folder stays as it is
        try:
            yield
        finally:
            sys.dont_write_bytecode = written
            sys.path.remove(str(folder))
            for name in set(sys.modules) - before:
                file = getattr(sys.modules[name], "__file__", None)
                if file and Path(file).is_relative_to(folder):
                    del sys.modules[name]


def fitted(spec: TensorSpec, value: Any) -> Any:
    """A row's value of an output as the signature has it. Raises WrongAnswer when it is something else."""
    if spec.datatype == "BYTES" and len(spec.shape) == 1:
        return [value if isinstance(value, str | bytes) else as_json(value)]
    as_it_is = isinstance(value, list) and len(spec.shape) == 2 and spec.shape[1] in {-1, len(value)}
    if as_it_is and set(map(type, value)) <= _PLAIN.get(spec.datatype, frozenset()):
        return value
    try:
        array = np.asarray(value, dtype=object if spec.datatype == "BYTES" else None)
        if spec.datatype != "BYTES" and array.dtype.kind not in "biuf":
            raise WrongAnswer(f"run() gave {type(value).__name__} for {spec.name!r}, which is {spec.datatype}")
        return tensors.fitted(spec, array[None], 1)[0, ...]
    except ValueError as error:  # lists of different lengths
        raise WrongAnswer(f"run() gave no array for {spec.name!r}: {error}") from error


def as_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except TypeError as error:
        raise WrongAnswer(f"run() gave what JSON does not have: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__}")


def _closed(rows: list[Any]) -> Any:
    raise WrongAnswer("this version is unloaded")
