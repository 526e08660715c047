"""Figures as pictures: where lines, bars and ticks of a chart lie. templatetags/charts.py draws them.

A chart is an SVG as wide as its place on the page. Lines lie in an inner picture of 1,000 by 1,000 units that is
stretched; texts and dots lie beside it at percentages, so that they keep their size and shape.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

from webapp.templatetags.ui import byte_size, milliseconds, percent

Form = Literal["number", "percent", "ms", "bytes", "time", "day", "ago"]
Tone = Literal["accent", "quiet", "good", "warn", "bad", "guide"]
Number = float | int | datetime

UNITS = 1000  # of the stretched picture, either way
_MINUTE = 60.0
_TIME_STEPS = (*(n * _MINUTE for n in (1, 5, 10, 15, 30)), *(n * 60 * _MINUTE for n in (1, 3, 6, 12, 24, 72, 168, 720)))
_DAY_STEPS = tuple(n * 86_400.0 for n in (1, 2, 7, 14, 28, 91, 182))


@dataclass(frozen=True)
class Series:
    """One line of a chart: (x, y) in the order of x. A y of None leaves a gap.

    tone: "accent" for what the chart is about, "quiet" (dashed) for what it is compared with; "guide" is a hairline.
    """

    name: str
    points: Sequence[tuple[Number, float | None]]
    tone: Tone = "accent"


@dataclass(frozen=True)
class Bins:
    """One distribution: (from, to, count) in order. Bins may be of any width."""

    name: str
    bins: Sequence[tuple[float, float, float]]
    tone: Tone = "accent"


@dataclass(frozen=True)
class Calibration:
    """What a reliability diagram compares: (mean probability said, share that was right, how many) for each bin."""

    name: str
    bins: Sequence[tuple[float, float, int]]
    tone: Tone = "accent"


@dataclass(frozen=True)
class Tick:
    at: str  # percentage along its axis
    text: str
    anchor: Literal["start", "middle", "end"] = "middle"
    spare: bool = False  # left out where there is little room


@dataclass(frozen=True)
class Dot:
    x: str
    y: str
    tone: Tone


@dataclass(frozen=True)
class Path:
    d: str  # in units
    tone: Tone
    area: bool = False  # filled down to the axis


@dataclass(frozen=True)
class Slot:
    """A strip of the chart that tells its figures while the pointer is on it."""

    x: str
    width: str
    middle: str
    text: str


@dataclass(frozen=True)
class Axis:
    """Figures from low to high, along one side of the chart."""

    low: float
    high: float
    form: Form = "number"

    def share(self, value: float) -> float:
        """Where the value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def say(self, value: float) -> str:
        return say(value, self.form)


@dataclass(frozen=True)
class Table:
    """The chart's figures for those who want to read them, or cannot see the picture."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """All that the template of a chart needs."""

    summary: str
    legend: Sequence[tuple[str, Tone]]
    paths: Sequence[Path]
    dots: Sequence[Dot]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    slots: Sequence[Slot]
    table: Table


# Words ----------------------------------------------------------------------------------------------------------------


def say(value: float, form: Form) -> str:
    """The figure with its unit, as the pages write it. Times are seconds since 1970, in UTC."""
    if form == "percent":
        return percent(value)
    if form == "ms":
        return milliseconds(value)
    if form == "bytes":
        return byte_size(int(value))
    if form == "time":
        return f"{datetime.fromtimestamp(value, UTC):%-d %b %H:%M}"
    if form == "day":
        return f"{datetime.fromtimestamp(value, UTC):%-d %b}"
    if form == "ago":
        return "now" if value > -30 else _span(-value) + " ago"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _span(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 24 * 60:
        return f"{minutes / (24 * 60):.2g} d"
    if minutes >= 90 or minutes == 60:
        return f"{minutes / 60:.2g} h"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


# Axes -----------------------------------------------------------------------------------------------------------------


def axis_of(values: Iterable[float], form: Form, *, low: float | None = None, high: float | None = None) -> Axis:
    """An axis with room for all the values. low, high: where it begins and ends whatever they are."""
    known = list(values)
    begin = low if low is not None else min(known, default=0.0)
    end = high if high is not None else max(known, default=0.0)
    if end <= begin:
        end = begin + 1
    return Axis(begin, end, form)


def upward_axis(values: Iterable[float], form: Form, high: float | None = None, low: float | None = None) -> Axis:
    """An axis from zero (or a round figure below the lowest value) to zero or a round figure above the highest."""
    known = [0.0, *values]
    if low is None:
        lowest = min(known)
        low = -_round_up(-lowest) if lowest < 0 else 0.0
    if high is None:
        top = max(known)
        # Durations and counts want some air above them; a share has its natural end.
        high = 1.0 if form == "percent" and top > 0.5 else _round_up(top) if top > low else low + 1
    return Axis(low, high, form)


def _round_up(value: float) -> float:
    step = _step(value / 4)
    return math.ceil(value / step - 1e-9) * step


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below."""
    if least <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def ticks_of(axis: Axis, about: int) -> list[float]:
    """Round figures on the axis, at most about that many."""
    span = axis.high - axis.low
    if axis.form == "day":
        step = next((step for step in _DAY_STEPS if span / step < about - 0.5), _DAY_STEPS[-1])
    elif axis.form in {"time", "ago"}:
        step = next((step for step in _TIME_STEPS if span / step < about - 0.5), _TIME_STEPS[-1])
    else:
        step = _step(span / about)
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _x_ticks(axis: Axis, about: int = 6, values: Sequence[float] = ()) -> list[Tick]:
    """Ticks at those values, where given, or at round figures. Every other one may be left out, never the last."""
    chosen = list(values) or ticks_of(axis, about)
    return [
        Tick(
            _percent(share := axis.share(value)),
            _tick_text(value, axis),
            _anchor(share),
            (len(chosen) - place) % 2 == 0,
        )
        for place, value in enumerate(chosen)
    ]


def _tick_text(value: float, axis: Axis) -> str:
    """As short as can be: neighbours say the rest."""
    if value == 0 and axis.form in {"ms", "bytes"}:
        return "0"
    if axis.form == "ago":
        return axis.say(value) if value in {axis.low, axis.high} else axis.say(value).removesuffix(" ago")
    if axis.form == "time" and axis.high - axis.low <= 86_400:
        return f"{datetime.fromtimestamp(value, UTC):%H:%M}"
    return axis.say(value)


def _anchor(share: float) -> Literal["start", "middle", "end"]:
    """Texts at the ends of the axis grow inwards: there is nothing beside the chart to hold them."""
    return "start" if share < 0.02 else "end" if share > 0.96 else "middle"


def _y_ticks(axis: Axis) -> list[Tick]:
    return [Tick(_percent(1 - axis.share(value)), _tick_text(value, axis), "end") for value in ticks_of(axis, 4)]


def _percent(share: float) -> str:
    return f"{share * 100:.2f}%"


def _unit(share: float) -> str:
    return f"{share * UNITS:.1f}".removesuffix(".0")


def _plain(value: Number) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)


# Charts ---------------------------------------------------------------------------------------------------------------


def lines(
    series: Sequence[Series],
    *,
    x: Form = "number",
    y: Form = "number",
    y_min: float | None = None,
    y_max: float | None = None,
    dots: bool = False,
    now: datetime | None = None,
) -> Plot:
    """Lines over a common x. now: what "ago" counts back from."""
    origin = now.timestamp() if now else 0.0
    plain = [(each, [(_plain(at) - origin, value) for at, value in each.points]) for each in series]
    across = axis_of((at for _, points in plain for at, _ in points), x, high=0.0 if x == "ago" else None)
    up = upward_axis((value for _, points in plain for _, value in points if value is not None), y, y_max, y_min)
    # What is compared with is drawn first: it lies below.
    below_first = sorted(plain, key=lambda pair: pair[0].tone != "quiet")
    places = sorted({at for _, points in plain for at, _ in points})
    by_place = [dict(points) for _, points in plain]
    return Plot(
        summary=_summary([(each.name, [value for _, value in points]) for each, points in plain], y),
        legend=_legend([(each.name, each.tone) for each in series]),
        paths=[Path(_line(points, across, up), each.tone) for each, points in below_first if _known(points)],
        dots=[
            Dot(_percent(across.share(at)), _percent(1 - up.share(value)), each.tone)
            for each, points in below_first
            for place, (at, value) in enumerate(points)
            if value is not None and (dots or _stands_alone(points, place))
        ],
        x_ticks=_x_ticks(across, values=places if dots and len(places) <= 12 else ()),
        y_ticks=_y_ticks(up),
        slots=_slots(
            places,
            across,
            lambda at: _reading(
                across.say(at), [(each.name, values.get(at)) for each, values in zip(series, by_place, strict=True)], y
            ),
        ),
        table=Table(
            [""] + [each.name for each in series],
            [[across.say(at), *(_or_dash(values.get(at), y) for values in by_place)] for at in places],
        ),
    )


def histogram(series: Sequence[Bins], *, x: Form = "number", y: Form = "number") -> Plot:
    """Distributions over a common x, as outlines with their ground filled."""
    edges = [edge for each in series for low, high, _ in each.bins for edge in (low, high)]
    across = axis_of(edges, x)
    up = upward_axis((count for each in series for _, _, count in each.bins), y)
    below_first = sorted(series, key=lambda each: each.tone != "quiet")
    rows = sorted({(low, high) for each in series for low, high, _ in each.bins})
    counts = [{(low, high): count for low, high, count in each.bins} for each in series]
    return Plot(
        summary=". ".join(f"{each.name}: {_most_lie(each, x)}" for each in series if each.bins),
        legend=_legend([(each.name, each.tone) for each in series]),
        paths=[
            Path(_outline(each, across, up), each.tone, area=True)
            for each in below_first
            if any(count for _, _, count in each.bins)
        ],
        dots=[],
        x_ticks=_x_ticks(across),
        y_ticks=_y_ticks(up),
        slots=[
            Slot(
                _percent(across.share(low)),
                _percent(across.share(high) - across.share(low)),
                _percent(across.share((low + high) / 2)),
                _reading(
                    f"{across.say(low)} to {across.say(high)}",
                    [(each.name, found.get((low, high))) for each, found in zip(series, counts, strict=True)],
                    y,
                ),
            )
            for low, high in rows
        ],
        table=Table(
            ["From", "To", *(each.name for each in series)],
            [
                [across.say(low), across.say(high), *(_or_dash(found.get((low, high)), y) for found in counts)]
                for low, high in rows
            ],
        ),
    )


def reliability(series: Sequence[Calibration]) -> Plot:
    """How often answers given with a probability were right: on the diagonal, when the probability is honest."""
    whole = Axis(0, 1, "percent")
    filled = [
        Series(each.name, [(said, right) for said, right, count in sorted(each.bins) if count], each.tone)
        for each in series
    ]
    plot = lines(filled, x="percent", y="percent", y_max=1.0, dots=True)
    below_first = sorted(filled, key=lambda each: each.tone != "quiet")
    points = [(each, [(_plain(said), right) for said, right in each.points]) for each in below_first]
    rows = sorted((said, right, count, each.name) for each in series for said, right, count in each.bins if count)
    readings: dict[float, list[str]] = {}
    for said, right, count, name in rows:
        readings.setdefault(said, []).append(f"{name} said {percent(said)}, right {percent(right)} of {count:,}")
    return Plot(
        summary="On the diagonal the probability is honest. " + ". ".join(_honesty(each) for each in series),
        legend=plot.legend,
        paths=[
            Path(f"M0 {UNITS}L{UNITS} 0", "guide"),
            *(Path(_line(known, whole, whole), each.tone) for each, known in points if known),
        ],
        dots=[
            Dot(_percent(said), _percent(1 - right), each.tone)
            for each, known in points
            for said, right in known
            if right is not None
        ],
        x_ticks=_x_ticks(whole, 5),
        y_ticks=_y_ticks(whole),
        slots=_slots(list(readings), whole, lambda said: "; ".join(readings[said])),
        table=Table(
            ["Version", "Probability said", "Share that was right", "Answers"],
            [[name, percent(said), percent(right), f"{count:,}"] for said, right, count, name in rows],
        ),
    )


@dataclass(frozen=True)
class Bar:
    width: str
    text: str
    tone: Tone


@dataclass(frozen=True)
class BarRow:
    label: str
    bars: Sequence[Bar]


def bars(
    labels: Sequence[str], series: Sequence[Series], *, y: Form = "number", y_max: float | None = None
) -> list[BarRow]:
    """One row of bars for each label, from zero; the points of a series stand in the order of the labels."""
    values = [[value for _, value in each.points] for each in series]
    up = upward_axis((value for column in values for value in column if value is not None), y, y_max)
    return [
        BarRow(
            label,
            [
                Bar(_percent(up.share(max(value, 0.0)) if value is not None else 0.0), _or_dash(value, y), each.tone)
                for each, value in zip(series, row, strict=True)
            ],
        )
        for label, *row in zip(labels, *values, strict=True)
    ]


def sparkline(values: Sequence[float | None], low: float | None = 0.0) -> tuple[str, str]:
    """A line without axes, and the area under it, both in units. low: where the picture's lower edge lies."""
    points = [(float(number), value) for number, value in enumerate(values)]
    known = _known(points)
    if not known:
        return "", ""
    across = Axis(0, max(len(values) - 1, 1))
    up = axis_of((value for _, value in known), "number", low=low)
    if len(known) == 1:
        at, value = known[0]
        return f"M{_unit(across.share(at))} {_unit(1 - up.share(value))}h0", ""  # a dot, by its round ends
    line = _line(points, across, up)
    area = "".join(
        f"M{_unit(across.share(run[0][0]))} {UNITS}"
        + "".join(f"L{_unit(across.share(at))} {_unit(1 - up.share(value))}" for at, value in run)
        + f"V{UNITS}Z"
        for run in _runs(points)
        if len(run) > 1
    )
    return line, area


# Parts of charts ------------------------------------------------------------------------------------------------------

Points = Sequence[tuple[float, float | None]]


def _known(points: Points) -> list[tuple[float, float]]:
    return [(at, value) for at, value in points if value is not None]


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """The points between the gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at, value))
    return [run for run in runs if run]


def _stands_alone(points: Points, place: int) -> bool:
    """Whether no line leads to or from the point: it would not be seen without a dot."""
    before = points[place - 1][1] if place else None
    after = points[place + 1][1] if place + 1 < len(points) else None
    return before is None and after is None


def _line(points: Points, across: Axis, up: Axis) -> str:
    d = ""
    for run in _runs(points):
        for number, (at, value) in enumerate(run):
            x, y = _unit(across.share(at)), _unit(1 - up.share(value))
            d += f"L{x} {y}" if number else f"M{x} {y}"
    return d


def _outline(bins: Bins, across: Axis, up: Axis) -> str:
    d = f"M{_unit(across.share(bins.bins[0][0]))} {UNITS}"
    for low, high, count in bins.bins:
        d += f"H{_unit(across.share(low))}V{_unit(1 - up.share(count))}H{_unit(across.share(high))}"
    return f"{d}V{UNITS}"


def _slots(places: Sequence[float], across: Axis, reading: Callable[[float], str]) -> list[Slot]:
    """Each place gets the strip that is nearer to it than to its neighbours."""
    borders = [across.low, *((one + next_) / 2 for one, next_ in pairwise(places)), across.high]
    return [
        Slot(
            _percent(across.share(left)),
            _percent(max(across.share(right) - across.share(left), 0)),
            _percent(across.share(at)),
            reading(at),
        )
        for at, (left, right) in zip(places, pairwise(borders), strict=False)
    ]


def _legend(named: Sequence[tuple[str, Tone]]) -> list[tuple[str, Tone]]:
    """One line alone needs no legend: the title says what it is."""
    return list(named) if len(named) > 1 else []


def _reading(where: str, values: Sequence[tuple[str, float | None]], form: Form) -> str:
    known = [(name, value) for name, value in values if value is not None]
    if len(values) == 1:
        return f"{where}: {say(known[0][1], form) if known else 'no figure'}"
    return f"{where}: " + (", ".join(f"{name} {say(value, form)}" for name, value in known) or "no figure")


def _or_dash(value: float | None, form: Form) -> str:
    return "–" if value is None else say(value, form)


def _summary(named: Sequence[tuple[str, Sequence[float | None]]], form: Form) -> str:
    parts = []
    for name, values in named:
        known = [value for value in values if value is not None]
        if known:
            parts.append(
                f"{name}: from {say(known[0], form)} to {say(known[-1], form)}, "
                f"lowest {say(min(known), form)}, highest {say(max(known), form)}"
            )
    return ". ".join(parts) or "No figures yet"


def _most_lie(each: Bins, form: Form) -> str:
    low, high, _ = max(each.bins, key=lambda bin_: bin_[2])
    total = sum(count for _, _, count in each.bins)
    return f"{say(total, 'number')} in all, most between {say(low, form)} and {say(high, form)}"


def _honesty(each: Calibration) -> str:
    total = sum(count for *_, count in each.bins)
    if not total:
        return f"{each.name}: no figures"
    off = sum(abs(said - right) * count for said, right, count in each.bins) / total
    return f"{each.name}: {percent(off)} off on average"
