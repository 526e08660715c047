from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.faq.imports import commands, stackexchange

TOLD_EVERY = 1_000_000  # rows


class Command(BaseCommand):
    help = (
        "Import the questions of a tag from a Stack Exchange data dump (Posts.xml, PostLinks.xml), with their accepted "
        "or best answers; duplicates become other ways to ask. Reads files of any size in the same memory."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, help="where Posts.xml and PostLinks.xml lie, unpacked")
        parser.add_argument("--tag", required=True, help="which questions, such as javascript")
        parser.add_argument("--collection", help="its slug; without it, the tag")
        parser.add_argument("--min-duplicates", type=int, default=1, help="that a question must have (1)")
        parser.add_argument("--min-score", type=int, default=0, help="of an answer that is not the accepted one (0)")
        parser.add_argument(
            "--held-out", type=int, default=25, help="percent of duplicates kept from training, to measure with (25)"
        )
        commands.add_arguments(parser)

    def handle(self, *, folder: Path, tag: str, collection: str | None, verbosity: int, **options: Any) -> None:
        told: dict[str, int] = {}

        def tell(name: str, rows: int) -> None:
            if verbosity and rows // TOLD_EVERY > told.get(name, 0):
                told[name] = rows // TOLD_EVERY
                self.stdout.write(f"{name}: {rows:,} rows")

        lines = stackexchange.lines(
            folder,
            tag=tag,
            min_duplicates=options["min_duplicates"],
            min_score=options["min_score"],
            held_out=options["held_out"],
            told=tell,
        )
        commands.run(
            commands.collection_called(collection or tag),
            lines,
            name=f"{folder.resolve().name}, {tag}",
            form="stackexchange",
            say=self.stdout.write,
            **options,
        )
