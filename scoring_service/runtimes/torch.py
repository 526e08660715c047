"""Networks of PyTorch from archives: torch.export's (.pt2) and TorchScript's (.pt), on a GPU or the CPU.

What torch itself would do with a .pt2 goes far beyond tensors: unpickle, evaluate text, load compiled code, call any
function of its own. So an archive is looked over first: it holds nothing but weights and a graph of known operators.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from scoring_service import tensors
from scoring_service.contract import Manifest
from scoring_service.cpus import cpu_limit
from scoring_service.errors import BadRow, VersionUnusable
from scoring_service.images.device import best_device, device_errors
from scoring_service.runtimes.base import IMPORTING, Row, RowResult, Signature, TensorSpec

# Wherever torch unpickles, it makes tensors and nothing else, whatever its caller asks for.
os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"

DATATYPES = {
    torch.bool: "BOOL",
    torch.uint8: "UINT8",
    torch.int8: "INT8",
    torch.int16: "INT16",
    torch.int32: "INT32",
    torch.int64: "INT64",
    torch.float16: "FP16",
    torch.float32: "FP32",
    torch.float64: "FP64",
    torch.bfloat16: "BF16",
}
DTYPES = {name: dtype for dtype, name in DATATYPES.items()}

# What may lie in a .pt2; among what may not is compiled code.
RECORDS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|models/\w+\.json|data/(weights|constants)/\w+\.json|"
    r"data/weights/weight_\d+|data/constants/tensor_\d+|data/sample_inputs/\w+\.pt"
)
TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.(?!from_file)(__(and|or|xor)__|_?[A-Za-z]\w*)(\.\w+)?|"
    r"torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)|"
    r"_operator\.(add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|getitem)|"
    r"math\.(ceil|floor|trunc|sqrt)|torch\.sym_(max|min|not|int|float|ite|sum)"
)
EXPRESSION = re.compile(r"[\w\s,.+\-*/%()='<>|&]*")
WORDS = re.compile(
    r"[a-z]+\d+|\d+|True|False|Symbol|Integer|Float|Rational|positive|integer|nonnegative|real|evaluate|precision|Add|Mul|"
    r"Pow|Mod|PythonMod|FloorDiv|CleanDiv|CeilToInt|FloorToInt|TruncToInt|IntTrueDiv|FloatTrueDiv|ToFloat|Max|Min|And|Or|Not|"
    r"Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|Where|PowByNatural"
)
CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}
# What a TorchScript could do to files.
FILES = re.compile(r"\b(torch|ops|aten|prim)\.(save|load|from_file)\b")


class TorchModel:
    """A network, where it runs, and what its tensors are."""

    def __init__(self, network: Any, signature: Signature, device: torch.device) -> None:
        self._network = network
        self._device = device
        self.signature = signature
        self.parameters: dict[str, Any] = {"device": device.type}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        return tensors.score(self._run, self.signature, rows)

    def light(self, rows: Sequence[Row]) -> bool:
        return False

    def close(self) -> None:
        """Gives the network's memory back."""
        self._network = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, columns: list[tensors.Array]) -> Sequence[tensors.Array]:
        with torch.inference_mode(), device_errors():
            given = [
                torch.from_numpy(column).to(self._device, DTYPES[spec.datatype])
                for spec, column in zip(self.signature.inputs, columns, strict=True)
            ]
            answer = self._network(*given)
            outputs = list(answer.values()) if isinstance(answer, dict) else answer
            return [as_array(each) for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def as_array(tensor: torch.Tensor) -> tensors.Array:
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy())


def load(directory: Path, manifest: Manifest) -> TorchModel:
    """The version's network. Raises VersionUnusable when its archive holds more than it should, or cannot be read."""
    path = tensors.model_file(directory, manifest, default="model.pt2")
    torch.set_num_threads(cpu_limit())
    device = best_device()
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    try:
        reader = torch._C.PyTorchFileReader(str(path))
        names = reader.get_all_records()
        if "archive_format" in names:
            check_export(reader, names)
            with IMPORTING:  # torch imports some hundred modules of its own here
                program = torch.export.load(path)
                inputs, outputs = specs_of(program)
                if device.type != "cpu":
                    program = move_to_device_pass(program, device)
                network: Any = program.module()
        else:
            check_script(reader, names)
            network = torch.jit.load(str(path), map_location=device).eval()
    except VersionUnusable:
        raise
    except Exception as error:  # a damaged archive may fail in any way
        raise VersionUnusable(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    signature = tensors.signature_of(manifest, inputs=inputs, outputs=outputs)
    for spec in (*signature.inputs, *signature.outputs):
        if spec.datatype not in DTYPES:
            raise VersionUnusable(f"{spec.name!r}: PyTorch has no tensors of {spec.datatype}")
    return TorchModel(network, signature, device)


# Looking archives over ------------------------------------------------------------------------------------------------


def check_export(reader: Any, names: Sequence[str]) -> None:
    """Raises VersionUnusable when the archive of torch.export could do more than compute."""
    for name in names:
        if not RECORDS.fullmatch(name):
            raise VersionUnusable(f"the archive holds {name!r}; only weights and a graph are taken")
        if name.endswith(".json"):
            check_value(json.loads(reader.get_record(name)), "")


def check_value(value: Any, key: str) -> None:
    """Looks through a document of the archive. key: under which the value stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            check_value(inner, name)
    elif isinstance(value, list):
        if key == "guards_code" and value:
            raise VersionUnusable("the archive holds guards, which are code; export it without them")
        for inner in value:
            check_value(inner, key)
    elif key == "use_pickle" and value:
        raise VersionUnusable("the archive holds pickled tensors")
    elif isinstance(value, str):
        check_text(value, key)


def check_text(value: str, key: str) -> None:
    if key == "target" and not TARGETS.fullmatch(value):
        raise VersionUnusable(f"the graph calls {value!r}, which is no operator that is taken")
    if key in {"expr_str", "as_expr"}:
        known = EXPRESSION.fullmatch(value) and all(WORDS.fullmatch(word) for word in re.findall(r"\w+", value))
        if not known:
            raise VersionUnusable(f"the graph has an expression that is not understood: {value[:100]!r}")
    if key in {"in_spec", "out_spec"} and value:
        check_containers(json.loads(value))
    if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", value):
        raise VersionUnusable(f"the archive names {value!r} as weights")


def check_containers(spec: Any) -> None:
    """Inputs and outputs may lie in tuples, lists and dicts, not in types that would have to be imported."""
    if isinstance(spec, dict):
        if spec.get("type") not in CONTAINERS:
            raise VersionUnusable(f"inputs or outputs are a {spec.get('type')}; only tuples, lists and dicts are taken")
        check_containers(spec.get("children_spec", []))
    elif isinstance(spec, list):
        for each in spec:
            check_containers(each)


def check_script(reader: Any, names: Sequence[str]) -> None:
    """Raises VersionUnusable when it is no TorchScript, or one that would read or write files."""
    code = [name for name in names if name.startswith("code/") and name.endswith(".py")]
    if not code:
        raise VersionUnusable(
            "it is no archive of torch.export or TorchScript; a network's weights alone are not taken"
        )
    for name in code:
        if found := FILES.search(reader.get_record(name).decode(errors="replace")):
            raise VersionUnusable(f"{name} calls {found[0]}, and a model has nothing to do with files")


def specs_of(program: torch.export.ExportedProgram) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """What the graph says of inputs and outputs. Raises VersionUnusable when rows have no dimension that is free."""
    nodes = {node.name: node for node in program.graph.nodes}
    inputs = [_spec(name, nodes[str(name)]) for name in program.graph_signature.user_inputs]
    given = program.graph_signature.user_outputs
    outputs = [
        _spec("output" if len(given) == 1 else f"output_{number}", nodes[str(name)])
        for number, name in enumerate(given)
    ]
    return inputs, outputs


def _spec(name: Any, node: Any) -> TensorSpec:
    value = node.meta["val"]
    shape = tuple(length if isinstance(length, int) else -1 for length in value.shape)
    if not shape or shape[0] != -1:
        raise VersionUnusable(
            f"its tensor {str(name)!r} has shape {list(shape)}; export it with a dynamic first dimension, for rows"
        )
    if value.dtype not in DATATYPES:
        raise VersionUnusable(f"its tensor {str(name)!r} is {value.dtype}, which does not travel")
    return TensorSpec(str(name), DATATYPES[value.dtype], shape)
