"""Charts: where their lines lie, and what they say to those who do not see them."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template

from webapp import charts
from webapp.charts import Bins, Calibration, Series

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def draw(tag: str, **values: object) -> str:
    page = Template(f"{{% load charts %}}{{% {tag} %}}").render(Context(values))
    return " ".join(page.split())


def lines_of(page: str) -> list[str]:
    return re.findall(r'<path class="chart-line tone-\w+" d="([^"]+)"/> ', page.partition("chart-frame")[2])


def cells(page: str) -> list[str]:
    return re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", page)


def test_a_line_goes_from_corner_to_corner_of_its_figures():
    page = draw('line_chart "Growth" series', series=[Series("a", [(0, 0), (10, 100)])])
    assert lines_of(page) == ["M0 1000L1000 0"]


def test_a_missing_figure_leaves_a_gap_and_a_lonely_one_is_a_dot():
    page = draw('line_chart "Gap" series', series=[Series("a", [(0, 1), (1, 1), (2, None), (3, 1), (4, None)])])
    assert lines_of(page) == ["M0 0L250 0M750 0"]
    assert page.count("chart-dot") == 1


def test_a_chart_says_in_words_and_in_a_table_what_it_shows():
    series = [Series("Version 8", [(1, 0.53), (3, 0.75)]), Series("Version 7", [(1, 0.5), (3, None)], "quiet")]
    page = draw('line_chart "Accuracy" series y="percent"', series=series)
    assert 'aria-label="Accuracy. Version 8: from 53 % to 75 %, lowest 53 %, highest 75 %. Version 7: from 50 %' in page
    assert cells(page) == ["", "Version 8", "Version 7", "1", "53 %", "50 %", "3", "75 %", "–"]


def test_several_lines_have_a_legend_and_one_has_none():
    one, other = Series("one", [(0, 1)]), Series("other", [(0, 2)])
    assert "chart-legend" not in draw('line_chart "x" series', series=[one])
    assert "chart-legend" in draw('line_chart "x" series', series=[one, other])


@pytest.mark.parametrize("series", [[], [Series("a", [])], [Series("a", [(0, None)])]])
def test_without_figures_a_chart_says_so(series):
    page = draw('line_chart "Empty" series', series=series)
    assert "No figures yet" in page
    assert "<svg" not in page.partition("chart-empty")[0].partition("figcaption")[0]


def test_names_cannot_break_out_of_a_chart():
    page = draw("line_chart title series", title="<b>", series=[Series('"><script>', [(0, 1), (1, 2)])])
    assert "<script>" not in page
    assert "<b>" not in page


def test_no_chart_has_styles_of_its_own():
    points = [(0, 1), (1, 2)]
    for tag, series in {
        'line_chart "a" series dots=True': [Series("a", points)],
        'histogram "b" series': [Bins("a", [(0, 1, 2)])],
        'reliability_diagram "c" series': [Calibration("a", [(0.1, 0.2, 3)])],
        'bar_chart "d" labels series': [Series("a", points)],
    }.items():
        assert not re.search(r"\sstyle=|<style", draw(tag, series=series, labels=["x", "y"])), tag


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0, "now"), (15, "15 min ago"), (90, "1.5 h ago"), (2880, "2 d ago")],
)
def test_times_are_told_from_now(minutes, words):
    assert charts.say(-60.0 * minutes, "ago") == words


def test_an_hour_has_a_tick_each_quarter():
    points = [(NOW - timedelta(minutes=minute), 1.0) for minute in range(60, -1, -1)]
    plot = charts.lines([Series("a", points)], x="ago", now=NOW)
    assert [tick.text for tick in plot.x_ticks] == ["1 h ago", "45 min", "30 min", "15 min", "now"]
    assert [tick.anchor for tick in plot.x_ticks] == ["start", "middle", "middle", "middle", "end"]


@pytest.mark.parametrize(
    ("highest", "form", "ticks"),
    [
        (97, "number", ["0", "25", "50", "75", "100"]),
        (3, "number", ["0", "1", "2", "3"]),
        (0.9, "percent", ["0 %", "25 %", "50 %", "75 %", "100 %"]),
        (1800, "ms", ["0", "500 ms", "1.0 s", "1.5 s", "2.0 s"]),
        (0, "number", ["0", "0.25", "0.5", "0.75", "1"]),
    ],
)
def test_the_axis_has_round_figures(highest, form, ticks):
    plot = charts.lines([Series("a", [(0, 0), (1, highest)])], y=form)
    assert [tick.text for tick in plot.y_ticks] == ticks


@pytest.mark.parametrize("values", [[-0.178], [-0.178, -0.02], [-0.178, 0.0]])
def test_what_is_below_zero_alone_has_an_axis_up_to_zero(values):
    plot = charts.lines([Series("a", list(enumerate(values)))], y="percent")
    assert [tick.text for tick in plot.y_ticks] == ["-20 %", "-15 %", "-10 %", "-5 %", "0 %"]


def test_a_histogram_draws_bins_of_any_width():
    page = draw('histogram "Latency" series x="ms"', series=[Bins("a", [(0, 10, 4), (10, 40, 2)])])
    assert 'd="M0 1000H0V0H250H250V500H1000V1000"' in page
    assert cells(page) == ["From", "To", "a", "0.0 ms", "10 ms", "4", "10 ms", "40 ms", "2"]


def test_an_honest_probability_lies_on_the_diagonal_and_empty_bins_are_left_out():
    series = [Calibration("v8", [(0.25, 0.25, 10), (0.5, 0.9, 0), (0.75, 0.75, 30)])]
    page = draw('reliability_diagram "Reliability" series', series=series)
    assert "M250 750L750 250" in page
    assert "M0 1000L1000 0" in page  # the diagonal
    assert "v8: 0 % off on average" in page
    assert cells(page)[4:] == ["v8", "25 %", "25 %", "10", "v8", "75 %", "75 %", "30"]


def test_bars_are_a_table():
    series = [Series("v8", [(0, 0.1), (1, 0.2)]), Series("v7", [(0, None), (1, 0.4)], "quiet")]
    page = draw('bar_chart "Confused" labels series y="percent" y_max=1', labels=["7 for 1", "8 for 3"], series=series)
    assert re.findall(r'chart-fill tone-(\w+)" width="([\d.]+%)"', page) == [
        ("accent", "10.00%"),
        ("quiet", "0.00%"),
        ("accent", "20.00%"),
        ("quiet", "40.00%"),
    ]
    assert [text for text in ("7 for 1", "8 for 3", "10 %", "–", "40 %") if text not in page] == []


def test_a_sparkline_tells_its_range():
    assert 'aria-label="Requests: lowest 1, highest 9, last 4"' in draw(
        'sparkline "Requests" values', values=[1, 9, None, 4]
    )
    assert 'aria-label="Requests: no figures yet"' in draw('sparkline "Requests" values', values=[])


@pytest.mark.parametrize("values", [[5], [0, 0], [None, 3], [2, 2, 2]])
def test_a_sparkline_of_little_or_level_figures_is_drawn(values):
    line, _ = charts.sparkline(values)
    assert line.startswith("M")
    assert "nan" not in line
