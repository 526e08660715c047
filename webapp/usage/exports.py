"""The use of a while as CSV, one line for each day, key, way, model and version."""

import csv
from collections.abc import Iterator

from webapp.formulas import harmless
from webapp.usage import ledger
from webapp.usage.ledger import Counts, Wanted

FIGURES = ("requests", "rows", "errors", "p50_ms", "p95_ms")


class _Line:
    """What csv writes to: gives each line back."""

    def write(self, text: str) -> str:
        return text


def lines(wanted: Wanted) -> Iterator[str]:
    """The file, line by line."""
    parts = ("day", *(() if wanted.user else ("user",)), "key", "source", "model", "version")
    writer = csv.writer(_Line())
    yield writer.writerow([*parts, *FIGURES])
    for line in ledger.lines(wanted, parts):
        yield writer.writerow([*map(harmless, line.names), *figures_of(line.counts).values()])


def figures_of(counts: Counts) -> dict[str, float | int | None]:
    """The figures by their names; latencies rounded to a thousandth of a millisecond."""
    return {name: round(value, 3) if (value := getattr(counts, name)) is not None else None for name in FIGURES}
