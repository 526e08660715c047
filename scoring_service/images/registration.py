"""Writing an image classifier into the model store."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch

from scoring_service.contract import Manifest
from scoring_service.images.architectures import Library
from scoring_service.images.labels import Label, write_labels
from scoring_service.images.preprocessing import Preprocessing
from scoring_service.store import set_champion, write_version

WEIGHTS = "weights.safetensors"


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
    origin: Mapping[str, str] | None = None,
) -> Manifest:
    """Writes a new version of `model`, makes it the one that serves, and returns its manifest.

    labels: one for each of the network's outputs, in order.
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
    set_champion(store, model, manifest.version)
    return manifest
