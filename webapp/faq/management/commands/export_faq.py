import sys
from contextlib import nullcontext
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.faq.exporting import live_entries
from webapp.faq.models import Collection


class Command(BaseCommand):
    help = "Write the live entries of a collection as JSON Lines: what `train-faq --entries` trains a model on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="of the collection")
        parser.add_argument("--to", type=Path, help="the file; without it, standard output")

    def handle(self, *, slug: str, to: Path | None, **options: object) -> None:
        collection = Collection.objects.filter(slug=slug).first()
        if collection is None:
            known = ", ".join(Collection.objects.values_list("slug", flat=True)) or "none yet"
            raise CommandError(f"There is no collection {slug}. There are: {known}.")
        try:
            with to.open("wb") if to else nullcontext(sys.stdout.buffer) as file:
                for line in live_entries(collection):
                    file.write(line)
        except OSError as error:
            raise CommandError(str(error)) from error
