"""ONNX models by onnxruntime, on a GPU where there is one and the build knows it, else on the CPU. A graph is data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from scoring_service import tensors
from scoring_service.contract import Manifest
from scoring_service.cpus import cpu_limit
from scoring_service.errors import BadRow, OutOfDeviceMemory, VersionUnusable
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

_DATATYPES = {
    "tensor(bool)": "BOOL",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_DEVICES = {"CUDAExecutionProvider": "cuda", "CPUExecutionProvider": "cpu"}


class OnnxModel:
    """A session, and what the graph says of its tensors."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._session = session
        self.signature = signature
        self._outputs = [spec.name for spec in signature.outputs]
        self.parameters: dict[str, Any] = {"device": _DEVICES.get(session.get_providers()[0], "other")}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        return tensors.score(self._run, self.signature, rows)

    def light(self, rows: Sequence[Row]) -> bool:
        return False

    def close(self) -> None:
        """Gives back the session's memory."""
        del self._session

    def _run(self, columns: list[tensors.Array]) -> Sequence[tensors.Array]:
        feed = {spec.name: column for spec, column in zip(self.signature.inputs, columns, strict=True)}
        try:
            outputs: Sequence[tensors.Array] = self._session.run(self._outputs, feed)
        except RuntimeError as error:  # the bindings have no class of their own for it
            if "Failed to allocate memory" in str(error):
                raise OutOfDeviceMemory("there was not enough memory for so many rows at once") from error
            raise
        return outputs


def load(directory: Path, manifest: Manifest) -> OnnxModel:
    """The version's graph. Raises VersionUnusable when it cannot be read, or takes or gives what no tensor is."""
    path = tensors.model_file(directory, manifest, default="model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_limit()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # else idle threads burn the CPUs
    providers = [each for each in _DEVICES if each in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # a class for each code of onnxruntime's, without a base of their own
        raise VersionUnusable(f"{path.name} cannot be loaded: {error}") from error
    signature = tensors.signature_of(
        manifest,
        inputs=[_spec(each, "input") for each in session.get_inputs()],
        outputs=[_spec(each, "output") for each in session.get_outputs()],
    )
    for side, declared, own in (
        ("input", signature.inputs, session.get_inputs()),
        ("output", signature.outputs, session.get_outputs()),
    ):
        unknown = {spec.name for spec in declared} - {each.name for each in own}
        if unknown or (side == "input" and len(declared) != len(own)):
            raise VersionUnusable(f"the {side}s of {path.name} are {', '.join(each.name for each in own)}")
    return OnnxModel(session, signature)


def _spec(node: onnxruntime.NodeArg, side: str) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise VersionUnusable(
            f"its {side} {node.name!r} is {node.type}, and only tensors travel; of scikit-learn's classifiers save the "
            "probabilities as a tensor (skl2onnx: zipmap off)"
        )
    fixed = [length if isinstance(length, int) else -1 for length in node.shape]
    if not fixed or fixed[0] != -1:
        raise VersionUnusable(
            f"its {side} {node.name!r} has shape {node.shape}; the first dimension must be free, for rows"
        )
    return TensorSpec(node.name, _DATATYPES[node.type], tuple(fixed))
