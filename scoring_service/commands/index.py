"""List the models and versions of the store."""

import argparse
from pathlib import Path

from scoring_service import store
from scoring_service.commands import add_store_argument
from scoring_service.errors import VersionUnusable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_store_argument(parser)


def run(options: argparse.Namespace) -> int:
    directories = sorted(path.parent for path in Path(options.store).glob("[!.]*/[!.]*/manifest.json"))
    if not directories:
        print(f"{options.store} holds no models.")
    for directory in directories:
        print(f"{directory.parent.name} {directory.name}  {describe(options.store, directory)}")
    return 0


def describe(root: Path, directory: Path) -> str:
    try:
        manifest = store.read_manifest(directory)
        serves = store.read_routing(root, manifest.model).champion == manifest.version
    except VersionUnusable as error:
        return f"unusable: {error}"
    return f"{'serving' if serves else 'kept   '}  {manifest.pool}  {manifest.created_at}  {manifest.title}"
