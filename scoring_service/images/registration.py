"""Writing an image classifier into the model store."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch

from scoring_service.contract import Manifest, TrainingData
from scoring_service.images.architectures import Library
from scoring_service.images.labels import Label, write_labels
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.store import set_first_champion, write_version

WEIGHTS = "weights.safetensors"
# Loading holds the weights as read and in the network, half as much again in bfloat16, and the smoke pictures' way
# through it. With resnet18, resnet152 and vgg11 on a CPU it took 3.3, 3.1 and 2.5 times the weights.
_MEMORY_PER_WEIGHTS, _MEMORY_BESIDES = 3, 20 * 2**20


def register(
    store: Path,
    model: str,
    *,
    library: Library,
    architecture: str,
    weights: Mapping[str, torch.Tensor],
    labels: list[Label],
    preprocessing: Preprocessing,
    smoke: Sequence[tuple[str, bytes]],
    title: str,
    description: str,
    sample: bool,
    metrics: Mapping[str, Any],
    data: TrainingData,
    origin: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes a new version of `model` and returns its manifest. The first one serves; a later one when it is told to.

    labels: one for each of the network's outputs, in order.
    data: what the weights were trained on.
    origin: where the weights come from ("url", "sha256"), when they were not trained here.
    smoke: file names and pictures that every pod must be able to score before it switches to the version.
    """

    def fill(folder: Path) -> dict[str, Any]:
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
        write_labels(folder, labels)
        (folder / "smoke").mkdir()
        for name, picture in smoke:
            (folder / "smoke" / name).write_bytes(picture)
        return {
            "kind": "image",
            "runtime": "torchvision",
            "pool": "gpu",
            "title": title,
            "description": description,
            "sample": sample,
            "libraries": {name: metadata.version(name) for name in ("torch", library, "safetensors")},
            "memory": _MEMORY_PER_WEIGHTS * (folder / WEIGHTS).stat().st_size + _MEMORY_BESIDES,
            "data": data,
            "parameters": {
                "library": library,
                "architecture": architecture,
                "weights": WEIGHTS,
                "preprocessing": msgspec.to_builtins(preprocessing),
                **({"origin": dict(origin)} if origin else {}),
            },
            "metrics": dict(metrics),
            "smoke": [{"file": f"smoke/{name}"} for name, _ in smoke],
        }

    manifest = write_version(store, model, fill)
    set_first_champion(store, model, manifest.version)
    return manifest
