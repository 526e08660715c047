from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.errors import AppError
from webapp.registry import evaluation_sets, services
from webapp.registry.models import ScoringModel


class Command(BaseCommand):
    help = (
        "Replace a model's evaluation set: the inputs with known answers that its versions are measured on. "
        "docs/operations.md describes the two forms: JSON lines for a FAQ matcher, a zip for an image classifier."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="name of the model")
        parser.add_argument("file", type=Path, help="the .jsonl or .zip file")

    def handle(self, *, model: str, file: Path, verbosity: int, **options: object) -> None:
        row = ScoringModel.objects.filter(name=model).first()
        if row is None:
            known = ", ".join(ScoringModel.objects.values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no model {model}. Models: {known}.")
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        try:
            inputs = evaluation_sets.replace(row, file, by=services.Actor.at_command_line())
        except AppError as error:
            raise CommandError(f"{file}: {error.detail}") from error
        if verbosity:
            self.stdout.write(f"{model} is measured on {inputs:,} inputs from now on.")
