from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapp.errors import AppError, InvalidInput
from webapp.registry import artifacts, services
from webapp.registry.models import ScoringModel, Version
from webapp.scoring import store


class Command(BaseCommand):
    help = "Register a version of a model, from a zip file, a folder or the model store, and start its check."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", help="name of the model")
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--zip", type=Path, metavar="FILE", help="a zip file with a manifest.json at its top")
        source.add_argument("--folder", type=Path, metavar="DIR", help="a folder with a manifest.json")
        source.add_argument("--stored", metavar="NAME", help="a version that lies in the model store already")
        parser.add_argument("--kind", choices=ScoringModel.Kind.values, help="of a model that is not there yet")
        parser.add_argument("--pool", choices=ScoringModel.Pool.values, help="of a model that is not there yet")
        parser.add_argument("--notes", default="", help="what is to be known about the version")
        parser.add_argument("--no-check", action="store_true", help="do not start the check")

    def handle(self, *_args: object, **options: Any) -> None:
        try:
            version = register(options)
        except AppError as error:
            raise CommandError(
                "\n".join([error.detail, *(f"{name}: {why}" for name, why in error.fields.items())])
            ) from error
        then = "It is not checked yet." if options["no_check"] else "Its check has started."
        self.stdout.write(f"{version.model.name} version {version.name} is registered. {then}")


def register(options: Mapping[str, Any]) -> Version:
    """The version, from wherever the options say it is. Raises AppError."""
    how: dict[str, Any] = {
        "by": services.Actor.at_command_line(),
        "notes": options["notes"],
        "check": not options["no_check"],
    }
    if options["stored"]:
        return services.register_stored(model_of(options), options["stored"], **how)
    source: Path = options["zip"] or options["folder"]
    if not (source.is_dir() if options["folder"] else source.is_file()):
        raise InvalidInput(f"There is no {'folder' if options['folder'] else 'file'} {source}.")
    model = model_of(options)
    staged = (artifacts.copy if options["folder"] else artifacts.unpack)(source, model)
    try:
        return services.register_folder(model, staged, **how)
    except BaseException:
        store.discard(staged)
        raise


def model_of(options: Mapping[str, Any]) -> ScoringModel:
    """The model of that name, made if the options say what it is."""
    if found := ScoringModel.objects.filter(name=options["model"]).first():
        return found
    if not (options["kind"] and options["pool"]):
        raise InvalidInput(f"There is no model {options['model']} yet. Name --kind and --pool to make it.")
    return services.create_model(
        name=options["model"], kind=options["kind"], pool=options["pool"], by=services.Actor.at_command_line()
    )
