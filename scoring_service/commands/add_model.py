"""`add-model`: a model's file becomes the next version of a model in the store, once it has been loaded and tried.

python -m scoring_service add-model iris iris.onnx --title "Iris" --smoke request.json
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from scoring_service import logging, packaging, store
from scoring_service.commands import add_store_argument
from scoring_service.settings import scoring_scripts_allowed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name of the model")
    parser.add_argument("file", type=Path, help="the model's file, as its library saved it, or a scoring script")
    parser.add_argument("--with", dest="extra", type=Path, nargs="+", default=[], help="files that it needs beside it")
    parser.add_argument("--runtime", choices=packaging.FORMATS, help="default: what the file's ending says")
    parser.add_argument("--title", help="name for people (default: the model's name)")
    parser.add_argument("--description", default="", help="one or two sentences for people")
    parser.add_argument("--pool", choices=("cpu", "gpu"), help="which pods serve it (default: what the runtime needs)")
    for side in ("input", "output"):
        parser.add_argument(
            f"--{side}",
            dest=f"{side}s",
            type=tensor,
            action="append",
            default=[],
            metavar="NAME:DATATYPE:SHAPE",
            help=f"an {side} that the model does not tell itself, such as x:FP32:-1,4; -1 stands for any length",
        )
    parser.add_argument("--parameter", type=parameter, action="append", default=[], metavar="NAME=JSON")
    parser.add_argument(
        "--smoke", type=Path, action="append", default=[], help="JSON of a request that every pod must be able to score"
    )
    parser.add_argument("--champion", action="store_true", help="let it serve; the first version does in any case")
    add_store_argument(parser)


def run(options: argparse.Namespace) -> int:
    logging.configure("console")
    sides = {side: getattr(options, side) for side in ("inputs", "outputs") if getattr(options, side)}
    manifest = packaging.add(
        options.store,
        options.model,
        options.file,
        runtime=options.runtime or packaging.runtime_for(options.file),
        title=options.title or options.model,
        description=options.description,
        pool=options.pool,
        parameters={**dict(options.parameter), **sides},
        smoke=[path.read_bytes() for path in options.smoke],
        extra=options.extra,
        scripts=scoring_scripts_allowed(os.environ),
    )
    if options.champion:
        store.set_champion(options.store, options.model, manifest.version)
    print(f"{manifest.model} version {manifest.version} is in the store.")
    return 0


def tensor(said: str) -> dict[str, Any]:
    """NAME:DATATYPE:SHAPE, and for bytes that are no text :base64 behind it."""
    name, datatype, shape, *rest = said.split(":")
    if rest not in ([], ["base64"]):
        raise argparse.ArgumentTypeError(f"{rest} is not understood; only base64 may follow the shape")
    lengths = [int(length) for length in shape.split(",")]
    return {"name": name, "datatype": datatype, "shape": lengths, **({"encoding": rest[0]} if rest else {})}


def parameter(said: str) -> tuple[str, Any]:
    name, _, value = said.partition("=")
    return name, json.loads(value)
