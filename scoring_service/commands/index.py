"""List the models and versions of the store."""

import argparse
from pathlib import Path

from scoring_service import store
from scoring_service.commands import add_store_argument
from scoring_service.errors import VersionUnusable

SHOWN = {"champion": "serving", "": "kept"}  # the other roles are called what they are


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
        routing = store.read_routing(root, manifest.model)
    except VersionUnusable as error:
        return f"unusable: {error}"
    role = routing.roles().get(manifest.version, "")
    if role == "challenger" and routing.challenger:
        role += f" {routing.challenger.percent:g} %"
    return f"{SHOWN.get(role, role):<14}  {manifest.pool}  {manifest.created_at}  {manifest.title}"
