from pathlib import Path

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from webapp.faq.importing import BadEntries, digest_of, read_entries, replace_entries
from webapp.faq.models import Collection

SAMPLE = Path(__file__).resolve().parents[2] / "sample"


class Command(BaseCommand):
    help = (
        "Load the sample FAQ about JavaScript. Does nothing when these files were loaded before, "
        "so what was changed in the admin since then stays."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--folder", type=Path, default=SAMPLE, help="where the *.jsonl files lie")

    def handle(self, *, folder: Path, verbosity: int, **options: object) -> None:
        paths = sorted(folder.glob("*.jsonl"))
        if not paths:
            raise CommandError(f"No *.jsonl file in {folder}.")
        try:
            lines, digest = read_entries(paths), digest_of(paths)
        except BadEntries as error:
            raise CommandError(str(error)) from error
        with transaction.atomic():
            collection, _ = Collection.objects.get_or_create(
                slug="javascript",
                defaults={
                    "name": "JavaScript",
                    "description": "Questions developers ask about JavaScript, with answers.",
                    "model_name": "faq-javascript",
                    "is_default": not Collection.objects.filter(is_default=True).exists(),
                },
            )
            if collection.source_digest == digest:
                if verbosity:
                    self.stdout.write("The sample FAQ is already loaded.")
                return
            replace_entries(collection, lines)
            collection.source_digest = digest
            collection.save(update_fields=["source_digest"])
        if verbosity:
            self.stdout.write(f"Loaded {len(lines)} entries.")
