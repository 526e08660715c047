"""`pack`: one version of a model in a folder that is a store of its own, in which it serves.

python -m scoring_service pack faq-javascript --to packed
docker/build.sh with-model packed
"""

import argparse
import shutil
from pathlib import Path

from scoring_service import store
from scoring_service.commands import add_store_argument
from scoring_service.errors import VersionUnusable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name of the model")
    parser.add_argument("--version", help="which version (default: the one that serves)")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a folder; other models in it stay")
    add_store_argument(parser)


def run(args: argparse.Namespace) -> int:
    version = args.version or store.champion_of(args.store, args.model)
    if (args.to / args.model).exists():
        raise FileExistsError(f"{args.to / args.model} is there already; name another folder or remove that one")
    source = args.store / args.model / version
    manifest = store.read_manifest(source)
    packed = args.to / args.model / version
    try:
        for name in ("manifest.json", *manifest.files):
            target = packed / store.within(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / name, target)
            except FileNotFoundError as error:
                raise VersionUnusable(f"{name} is missing") from error
        # The copy, not the source: it is what the image will hold.
        store.verify_files(packed, manifest)
        store.set_champion(args.to, args.model, version)
        for path in (args.to, args.to / args.model, *(args.to / args.model).rglob("*")):  # pods run as another user
            path.chmod(0o755 if path.is_dir() else 0o644)
    except BaseException:
        shutil.rmtree(args.to / args.model, ignore_errors=True)
        raise
    print(f"{args.to}: {args.model} version {version}, {sum(file.size for file in manifest.files.values()):,} bytes")
    return 0
