"""A check's report as the version's page shows it: figures in words, charts, the inputs on which two versions disagree.

The report is JSON that gate.py has written. That of a check which failed early, or measured nothing, lacks most of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.charts import Bins, Calibration, Series, Tone
from webapp.registry import metrics
from webapp.registry.models import Check, Version
from webapp.templatetags.ui import milliseconds, percent

Report = Mapping[str, Any]

LEAST_CHANCE = 0.0001  # the report has rounded what lies below to 0, which it never is


@dataclass(frozen=True)
class Row:
    """One measure of both versions. tone: good, bad or empty, for the difference."""

    title: str
    candidate: str
    champion: str
    difference: str
    tone: str
    is_too_much: bool  # worse than the model tolerates


@dataclass(frozen=True)
class Cell:
    """One field of a confusion matrix. level: 0 to 5, how much of the row it holds."""

    count: int
    level: int
    is_right: bool


@dataclass(frozen=True)
class Confusion:
    """What one version took for what. rows: by the expected label."""

    name: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True)
class Disagreement:
    """An input that the two versions answer differently, with what each put first."""

    kind: str
    input: str
    expected: Mapping[str, Any] | None
    candidate: Sequence[Mapping[str, Any]]
    champion: Sequence[Mapping[str, Any]]
    failure: str


class ReportView:
    """Never raises for a report that lacks something: what is not there is not shown."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self.report: Report = check.report
        self.candidate_name = f"Version {check.version.name}"
        champion = self.report.get("champion") or {}
        self.champion_version: str = champion.get("version", "")
        self.champion_name = f"Version {self.champion_version}" if self.champion_version else ""

    @property
    def is_measured(self) -> bool:
        return bool(self.report.get("measured")) and "differences" in self.report

    @property
    def rows(self) -> list[Row]:
        return [_row(each) for each in self.report.get("differences", ())]

    @property
    def worse(self) -> Sequence[str]:
        verdict: Report = self.report.get("verdict") or {}
        found: Sequence[str] = verdict.get("worse", ())
        return found

    @property
    def summary(self) -> str:
        verdict: Report = self.report.get("verdict") or {}
        return str(verdict.get("summary", ""))

    @property
    def chance(self) -> str:
        """How surprising the wins and losses would be if the versions were equally good."""
        paired = self.report.get("paired")
        if not paired or not paired["won"] + paired["lost"]:
            return ""
        won, lost = paired["won"], paired["lost"]
        said = f"Of the inputs that only one of them answers right, {won:,} are won and {lost:,} lost."
        chance = paired["chance"]
        if chance < 0.05:
            return (
                f"{said} Between equally good versions that happens in {percent(max(chance, LEAST_CHANCE))} of cases, "
                "so it is no chance."
            )
        return f"{said} Equally good versions differ as much in {percent(chance)} of cases: it may be chance."

    # Charts ----------------------------------------------------------------------------------------------------------

    def _both(self, name: str) -> list[tuple[str, Tone, Any]]:
        """What the report says under the name of either version, the candidate first."""
        found = self.report.get(name) or {}
        sides: list[tuple[str, Tone, Any]] = [
            (self.candidate_name, "accent", found.get("candidate")),
            (self.champion_name, "quiet", found.get("champion")),
        ]
        return [side for side in sides if side[2]]

    @property
    def reliability(self) -> list[Calibration]:
        return [
            Calibration(name, [(each["probability"], each["accuracy"], each["count"]) for each in bins], tone)
            for name, tone, bins in self._both("reliability")
        ]

    @property
    def accuracy_at_k(self) -> list[Series]:
        return [
            Series(name, [(k, share) for k, share in points], tone)
            for name, tone, points in self._both("accuracy_at_k")
        ]

    @property
    def latency(self) -> list[Bins]:
        return [
            Bins(name, [(each["from"], each["to"], each["count"]) for each in figures["histogram"]], tone)
            for name, tone, figures in self._both("latency")
        ]

    @property
    def confusions(self) -> list[Confusion]:
        """Both versions' answers for each expected label, where there are few enough labels for tables."""
        found = self.report.get("confusion") or {}
        if "labels" not in found:
            return []
        labels = [each["label"] for each in found["labels"]]
        return [
            Confusion(name, labels, list(zip(labels, map(_cells, range(len(labels)), matrix), strict=True)))
            for name, _tone, matrix in self._both("confusion")
        ]

    @property
    def confused_pairs(self) -> Sequence[Mapping[str, Any]]:
        """The most confused labels, where there are too many for a matrix."""
        found: Sequence[Mapping[str, Any]] = (self.report.get("confusion") or {}).get("pairs", ())
        return found

    # Disagreements ---------------------------------------------------------------------------------------------------

    @property
    def disagreements(self) -> list[Disagreement]:
        found = self.report.get("disagreements") or {}
        return [
            Disagreement(
                kind=each["kind"],
                input=each["input"],
                expected=each["expected"],
                candidate=each["candidate"],
                champion=each["champion"],
                failure=each.get("candidate_failure", ""),
            )
            for each in found.get("examples", ())
        ]

    @property
    def disagreement_counts(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self.report.get("disagreements") or {}
        return found

    @property
    def disagreements_in_all(self) -> int:
        """How many there are, of which the report keeps some."""
        counts = self.disagreement_counts
        return sum(counts.get(kind, 0) for kind in ("lost", "won", "different"))

    @property
    def failures(self) -> Sequence[Mapping[str, str]]:
        found: Sequence[Mapping[str, str]] = self.report.get("failures", ())
        return found


def _cells(expected: int, counts: Sequence[int]) -> list[Cell]:
    """A row of a confusion matrix. expected: the place of the right answer."""
    most = sum(counts) or 1
    return [Cell(count, _level(count / most), is_right=answered == expected) for answered, count in enumerate(counts)]


def _level(share: float) -> int:
    return 0 if share == 0 else min(5, 1 + int(share * 5))


# Figures in words -----------------------------------------------------------------------------------------------------


def say(value: float | None, unit: str) -> str:
    """A figure with its unit: share, score, count or ms."""
    if value is None:
        return "–"
    if unit == "share":
        return percent(value)
    if unit == "ms":
        return milliseconds(value)
    return f"{value:,.0f}" if unit == "count" else f"{value:.3f}"


def _row(found: Mapping[str, Any]) -> Row:
    unit, better = found["unit"], found["better"]
    difference = _difference(found["difference"], unit)
    # What is too small to be read is no reason for a colour.
    is_none = better is None or difference.startswith("±")
    return Row(
        title=found["title"],
        candidate=say(found["candidate"], unit),
        champion=say(found["champion"], unit),
        difference=difference,
        tone="" if is_none else "good" if better else "bad",
        is_too_much=found["worse_than_tolerated"],
    )


def _difference(value: float | None, unit: str) -> str:
    """The difference with its sign, ± where the digits shown are all zero."""
    if value is None:
        return ""
    size = f"{abs(value) * 100:.1f} points" if unit == "share" else say(abs(value), unit)
    sign = "+" if value > 0 else "−"
    return f"{sign if any(digit in size for digit in '123456789') else '±'}{size}"


MEASURES = {
    measure.name: measure
    for measure in (*metrics.QUALITY["faq"], *metrics.QUALITY["image"], metrics.FAILED, *metrics.LATENCY)
}


def metric_rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The measures of a version or an event, in the order of the report, by the names people know."""
    return [
        (measure.title, say(found[name], measure.unit))
        for name, measure in MEASURES.items()
        if isinstance(found.get(name), int | float)
    ]


def made_figures(version: Version) -> list[tuple[str, str]]:
    """How the version was measured when it was made, as its manifest has it: first the measures that people know."""
    found = version.manifest.get("metrics") or {}
    numbers = {name: value for name, value in found.items() if isinstance(value, int | float)}
    others = [(name, f"{value:,.4g}") for name, value in numbers.items() if name not in MEASURES]
    return metric_rows(numbers) + others


def headline(version: Version) -> str:
    """The one measure that stands for the version in a table; empty where nothing was measured."""
    for name in ("accuracy_at_1", "top_1"):
        if isinstance(version.metrics.get(name), int | float):
            return f"{say(version.metrics[name], 'share')}"
    return ""
