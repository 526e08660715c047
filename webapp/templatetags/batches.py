"""Figures of batches as people read them."""

from django import template

register = template.Library()


@register.filter
def rate(rows_a_second: float) -> str:
    """ "85 rows/s"; slow ones by the minute: "12 rows/min"."""
    if rows_a_second >= 10:
        return f"{rows_a_second:,.0f} rows/s"
    if rows_a_second >= 1:
        return f"{rows_a_second:.1f}".removesuffix(".0") + " rows/s"
    return f"{rows_a_second * 60:.1g} rows/min"


@register.filter
def span(seconds: float) -> str:
    """A duration as its two largest parts: "8 s", "3 min 20 s", "2 h 5 min", "1 d 4 h"."""
    whole = max(1, round(seconds))
    for size, name, part, part_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {part_name}" if rest else "")
    return f"{whole} s"
