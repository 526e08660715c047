"""A model's file, as its own library saved it, becomes a version in the store: of kind "tensors", and tried first."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from scoring_service import store
from scoring_service.contract import Manifest
from scoring_service.loading import RUNTIMES, SCRIPTS, loaded
from scoring_service.memory import Memory

SMOKE = "smoke"  # folder of the version


@dataclass(frozen=True)
class Format:
    """How a runtime's models come. suffixes: of the file, lower case. libraries: whose version the manifest keeps."""

    suffixes: tuple[str, ...]
    pool: Literal["cpu", "gpu"]
    libraries: tuple[str, ...] = ()


FORMATS: Mapping[str, Format] = {
    "onnx": Format((".onnx",), "cpu", ("onnxruntime",)),
    "skops": Format((".skops",), "cpu", ("scikit-learn", "skops")),
    "torch": Format((".pt2", ".pt"), "gpu", ("torch",)),
    "keras": Format((".keras",), "gpu", ("keras",)),
    "script": Format((".py",), "cpu"),
}


def runtime_for(source: Path) -> str:
    """The runtime for a file of that name. Raises ValueError when there is none."""
    for runtime, form in FORMATS.items():
        if source.suffix.lower() in form.suffixes:
            return runtime
    known = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)
    raise ValueError(f"{source.name}: name the runtime; only the endings {known} say it by themselves")


def add(
    root: Path,
    model: str,
    source: Path,
    *,
    runtime: str,
    title: str,
    description: str = "",
    sample: bool = False,
    pool: Literal["cpu", "gpu"] | None = None,
    parameters: Mapping[str, Any] | None = None,
    smoke: Sequence[bytes] = (),
    extra: Sequence[Path] = (),
    scripts: bool = False,
) -> Manifest:
    """Writes the file as the next version of the model, once it has been loaded and has scored the smoke requests.

    source: the model's file. extra: files that it needs beside it.
    parameters: of the manifest, such as `inputs` and `outputs`, where the model does not tell them itself.
    smoke: requests as the protocol has them, in JSON. scripts: whether a script may be run, to try it.
    Raises VersionUnusable with the reason when it cannot be loaded here.
    """
    form = FORMATS[runtime]

    def build(folder: Path) -> dict[str, Any]:
        for file in (source, *extra):
            shutil.copyfile(file, folder / file.name)
        for number, request in enumerate(smoke):
            (folder / SMOKE).mkdir(exist_ok=True)
            (folder / SMOKE / f"{number}.json").write_bytes(request)
        fields = {
            "kind": "tensors",
            "runtime": runtime,
            "pool": pool or form.pool,
            "title": title,
            "description": description,
            "sample": sample,
            "libraries": {name: metadata.version(name) for name in form.libraries},
            "parameters": {"file": source.name, **(parameters or {})},
            "smoke": [{"request": f"{SMOKE}/{number}.json"} for number in range(len(smoke))],
        }
        tried = msgspec.convert({**fields, "model": model, "version": "tried", "created_at": ""}, Manifest)
        return {**fields, "memory": memory_for(folder, tried, scripts=scripts)}

    manifest = store.write_version(root, model, build)
    store.set_first_champion(root, model, manifest.version)
    return manifest


def memory_for(folder: Path, manifest: Manifest, *, scripts: bool) -> int:
    """Bytes by which this process grew while it loaded the version and warmed it up. Raises VersionUnusable."""
    runtimes = {**RUNTIMES, **(SCRIPTS if scripts else {})}
    if manifest.runtime in runtimes:
        import_module(runtimes[manifest.runtime])  # the libraries are not the version's
    memory = Memory()
    before = memory.used()
    runtime = loaded(folder, manifest, runtimes, written=False)
    grown = memory.used() - before
    runtime.close()
    return max(0, grown)
