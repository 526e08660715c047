"""Charts as inline SVG, without a script. Each says in words what it shows; the big ones keep their figures in a table.

A page that uses them needs css/charts.css.
"""

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.template.defaultfilters import slugify
from django.utils import timezone

from webapp import charts
from webapp.charts import Bins, Calibration, Form, Plot, Series

register = template.Library()
Context = dict[str, object]


@register.inclusion_tag("components/charts/plot.html")
def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x: Form = "number",
    y: Form = "number",
    y_min: float | None = None,
    y_max: float | None = None,
    note: str = "",
    id: str = "",  # noqa: A002  # as the attribute is called
    dots: bool = False,
    now: datetime | None = None,
) -> Context:
    """Lines over a common x.

    x, y: how figures are written: "number", "percent" (of shares from 0 to 1), "ms", "bytes", and for datetimes "time"
    or "day" (in UTC) or "ago". y_min, y_max: where the axis begins and ends, else at zero and a round figure. dots:
    mark each point. note: one sentence below the title. id: where two charts share a title.
    """
    since = (now or timezone.now()) if x == "ago" else None
    return _context(title, charts.lines(series, x=x, y=y, y_min=y_min, y_max=y_max, dots=dots, now=since), note, id)


@register.inclusion_tag("components/charts/plot.html")
def histogram(
    title: str,
    series: Sequence[Bins],
    *,
    x: Form = "number",
    y: Form = "number",
    note: str = "",
    id: str = "",  # noqa: A002  # as HTML has it
) -> Context:
    """Distributions over a common x, one upon the other."""
    return _context(title, charts.histogram(series, x=x, y=y), note, id)


@register.inclusion_tag("components/charts/plot.html")
def reliability_diagram(title: str, series: Sequence[Calibration], *, note: str = "", id: str = "") -> Context:  # noqa: A002  # as HTML has it
    """The probability said against the share that was right. An honest one lies on the diagonal."""
    return _context(title, charts.reliability(series), note, id) | {"square": True}


@register.inclusion_tag("components/charts/bars.html")
def bar_chart(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    y: Form = "number",
    y_max: float | None = None,
    note: str = "",
) -> Context:
    """A table whose figures are also bars: one row a label, one bar a series."""
    return {
        "title": title,
        "note": note,
        "names": [each.name for each in series],
        "rows": charts.bars(labels, series, y=y, y_max=y_max),
    }


@register.inclusion_tag("components/charts/sparkline.html")
def sparkline(
    label: str,
    values: Sequence[float | None],
    y: Form = "number",
    tone: charts.Tone = "accent",
    low: float | None = 0.0,
) -> Context:
    """A small line without axes for a row of a table. label: what it shows, for a screen reader; its figures follow."""
    line, area = charts.sparkline(values, low)
    known = [value for value in values if value is not None]
    if known:
        lowest, highest, last = (charts.say(value, y) for value in (min(known), max(known), known[-1]))
        label += f": lowest {lowest}, highest {highest}, last {last}"
    else:
        label += ": no figures yet"
    return {"label": label, "line": line, "area": area, "tone": tone}


def _context(title: str, plot: Plot, note: str, identity: str) -> Context:
    return {"title": title, "plot": plot, "note": note, "id": f"chart-{identity or slugify(title)}", "square": False}
