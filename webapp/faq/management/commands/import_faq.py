from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.errors import AppError, InvalidInput
from webapp.faq.imports import commands, reading, reference


class Command(BaseCommand):
    help = (
        "Import entries from a file (CSV, TSV, XLSX, JSON lines) into a collection, or from the reference's three TSV "
        "files. Says first what is new, changed, unchanged and refused; writes all of it at once, or nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="of the collection")
        parser.add_argument("file", type=Path, nargs="?", help="the file of entries")
        parser.add_argument("--encoding", help="of the file, where it is not recognised, such as cp1250")
        parser.add_argument("--questions", type=Path, help="the reference's original questions, .tsv or .tsv.gz")
        parser.add_argument("--duplicates", type=Path, help="its duplicates")
        parser.add_argument("--answers", type=Path, help="its answers")
        commands.add_arguments(parser)

    def handle(self, *, slug: str, file: Path | None, **options: Any) -> None:
        collection = commands.collection_called(slug)
        three = [options[name] for name in ("questions", "duplicates", "answers")]
        if (file is None) == (not any(three)) or (any(three) and not all(three)):
            raise CommandError("Name one file of entries, or all of --questions, --duplicates and --answers.")
        try:
            if file is None:
                lines, name, form = reference.lines(*three), three[0].name, "reference"
            else:
                how = reading.detect(file, file.name, encoding=options["encoding"])
                reading.require_question(how)
                lines, name, form = reading.lines(file, how), file.name, how.format
        except InvalidInput as error:
            known = " Name the column `question` in the first row." if error.field == "question" else ""
            raise CommandError(f"{error.detail}{known}") from error
        except (AppError, OSError, LookupError) as error:  # the last: of an encoding that nobody knows
            raise CommandError(str(error)) from error
        commands.run(collection, lines, name=name, form=form, say=self.stdout.write, **options)
