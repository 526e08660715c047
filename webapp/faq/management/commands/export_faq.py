import sys
from contextlib import nullcontext
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.errors import InvalidInput
from webapp.faq.exporting import FORMATS, pieces
from webapp.faq.imports.commands import collection_called


class Command(BaseCommand):
    help = (
        "Write the live entries of a collection as JSON Lines, what `train-faq --entries` trains a model on, or as "
        "CSV, TSV or XLSX. import_faq reads each of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="of the collection")
        parser.add_argument("--to", type=Path, help="the file; without it, standard output")
        parser.add_argument("--format", choices=FORMATS, help="without it, what the file's name ends with, else jsonl")
        parser.add_argument("--drafts", action="store_true", help="drafts, too: to import, not to train")

    def handle(self, *, slug: str, to: Path | None, format: str | None, drafts: bool, **options: object) -> None:  # noqa: A002
        collection = collection_called(slug)
        ending = to.suffix.lower().removeprefix(".") if to else ""
        form = format or (ending if ending in FORMATS else "jsonl")
        try:
            found = pieces(collection, form, drafts=drafts)
            with to.open("wb") if to else nullcontext(sys.stdout.buffer) as file:
                for piece in found:
                    file.write(piece)
        except InvalidInput as error:
            raise CommandError(error.detail.replace("Take CSV", "Take --format csv")) from error
        except OSError as error:
            raise CommandError(str(error)) from error
