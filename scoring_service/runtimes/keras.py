"""Models of Keras 3 (`.keras`), on PyTorch, or on TensorFlow where that is installed and KERAS_BACKEND says so."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

from scoring_service import tensors
from scoring_service.contract import Manifest
from scoring_service.cpus import cpu_limit
from scoring_service.errors import BadRow, VersionUnusable
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

DATATYPES = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}


class KerasModel:
    """A model, and what its tensors are."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model = model
        self.signature = signature
        self.parameters: dict[str, Any] = {"backend": keras.backend.backend()}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        return tensors.score(self._run, self.signature, rows)

    def light(self, rows: Sequence[Row]) -> bool:
        return False

    def close(self) -> None:
        """Lets go of the model."""
        self._model = None

    def _run(self, columns: list[tensors.Array]) -> Sequence[tensors.Array]:
        answer = self._model.predict_on_batch(columns[0] if len(columns) == 1 else columns)
        outputs = list(answer.values()) if isinstance(answer, dict) else answer
        return [np.asarray(each) for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def load(directory: Path, manifest: Manifest) -> KerasModel:
    """The version's model. Raises VersionUnusable when it holds code, such as a Lambda layer, or cannot be read."""
    path = tensors.model_file(directory, manifest, default="model.keras")
    if not zipfile.is_zipfile(path):
        raise VersionUnusable(f"{path.name} is no .keras archive of Keras 3")
    if keras.backend.backend() == "torch":
        import torch  # noqa: PLC0415  # there need be none beside TensorFlow

        torch.set_num_threads(cpu_limit())
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged archive may fail in any way
        raise VersionUnusable(f"{path.name} cannot be loaded: {str(error)[:500]}") from error
    signature = tensors.signature_of(
        manifest,
        inputs=[_spec(each.name, each) for each in model.inputs],
        outputs=[
            _spec("output" if len(model.outputs) == 1 else f"output_{number}", each)
            for number, each in enumerate(model.outputs)
        ],
    )
    return KerasModel(model, signature)


def _spec(name: str, tensor: Any) -> TensorSpec:
    if tensor.dtype not in DATATYPES:
        raise VersionUnusable(f"its tensor {name!r} is {tensor.dtype}, which does not travel")
    return TensorSpec(name, DATATYPES[tensor.dtype], tuple(-1 if length is None else length for length in tensor.shape))
