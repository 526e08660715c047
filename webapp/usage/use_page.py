"""What the usage page shows, of the use that it is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from webapp.charts import Series
from webapp.usage import ledger
from webapp.usage.ledger import Counts, Line, Wanted
from webapp.usage.models import Use

PART_NAMES = {
    "day": "Day",
    "key": "Key",
    "source": "Way",
    "model": "Model",
    "version": "Version",
    "user": "Person",
}


@dataclass(frozen=True)
class Row:
    """A line of the table. note: what its name means to people, "" where that says it all."""

    name: str
    note: str
    counts: Counts


@dataclass(frozen=True)
class UsePage:
    """Figures, lines by day, and a table by one of PART_NAMES."""

    total: Counts
    rows_by_day: Sequence[Series]
    latency_by_day: Sequence[Series]
    part_name: str
    lines: Sequence[Row]

    @classmethod
    def of(cls, wanted: Wanted, part: str) -> "UsePage":
        days = [(datetime(day.year, day.month, day.day, tzinfo=UTC), counts) for day, counts in ledger.by_day(wanted)]
        failed = Series("Without an answer", [(at, counts.errors) for at, counts in days], "bad")
        total = ledger.total(wanted)
        parts = ["model", "version"] if part == "version" else [part]
        key_names = dict(ledger.choices(wanted).keys)
        return cls(
            total=total,
            rows_by_day=[
                Series("Questions and pictures", [(at, counts.rows) for at, counts in days]),
                *([failed] if total.errors else []),
            ],
            latency_by_day=[
                Series("95th percentile", [(at, counts.p95_ms) for at, counts in days]),
                Series("Median", [(at, counts.p50_ms) for at, counts in days], "quiet"),
            ],
            part_name=PART_NAMES[part],
            lines=[_row(line, part, key_names) for line in ledger.lines(wanted, parts)],
        )


def _row(line: Line, part: str, key_names: Mapping[str, str]) -> Row:
    name = line.names[-1]
    match part:
        case "day":
            return Row(f"{date.fromisoformat(name):%-d %B %Y}", "", line.counts)
        case "key":
            return Row(f"sp_{name}_…", key_names.get(name, ""), line.counts) if name else Row("No key", "", line.counts)
        case "source":
            return Row(str(Use.Source(name).label), "", line.counts)
        case "version":
            return Row(f"Version {name}" if name else "No version answered", line.names[0], line.counts)
        case "user":
            return Row(name or "Deleted account", "", line.counts)
        case _:
            return Row(name, "", line.counts)
