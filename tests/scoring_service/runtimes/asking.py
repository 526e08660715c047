"""Pods with generic models, and Triton's client to ask them."""

from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton

from scoring_service import packaging
from scoring_service.contract import Manifest
from tests.pods import Pod


def spec(name: str, datatype: str, *shape: int, **more: Any) -> dict[str, Any]:
    """A tensor as a manifest declares it."""
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}


def add_script(store: Path, model: str, code: str, **options: Any) -> Manifest:
    """The code as the next version of the model; options: as of packaging.add."""
    source = store.parent / f"{model}-code"
    source.mkdir(exist_ok=True)
    (source / "score.py").write_text(code)
    return packaging.add(
        store, model, source / "score.py", **{"runtime": "script", "title": model, "scripts": True, **options}
    )


def infer(pod: Pod, model: str, *, binary: bool = True, outputs: list[str] | None = None, **inputs: Any) -> Any:
    """Triton's answer to inputs, each (datatype, array)."""
    tensors = []
    for name, (datatype, array) in inputs.items():
        tensor = triton.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, binary_data=binary)
        tensors.append(tensor)
    wanted = outputs and [triton.InferRequestedOutput(name, binary_data=binary) for name in outputs]
    with triton.InferenceServerClient(pod.url.removeprefix("http://"), network_timeout=60) as client:
        return client.infer(model, tensors, outputs=wanted)


def texts(*elements: str | bytes) -> tuple[str, Any]:
    return "BYTES", np.array(elements, dtype=object)
