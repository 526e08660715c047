"""What templates need to write figures, times and icons the same way everywhere."""

import math
from datetime import datetime

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

register = template.Library()

_STEPS = ((60, 1, "second"), (3600, 60, "minute"), (86_400, 3600, "hour"), (86_400 * 30, 86_400, "day"))


@register.filter
def percent(probability: float) -> str:
    """A probability from 0 to 1 as people read it: "87.3 %".

    A whole hundred is only said of what is certain: 0.9996 reads "> 99.9 %", 0.0004 "< 0.1 %".
    """
    if 0 < probability < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= probability < 1:
        return "> 99.9 %"
    return f"{probability * 100:.1f}".removesuffix(".0") + " %"


@register.filter
def percentage(probability: float) -> str:
    """The same as a bare number from 0 to 100 with a decimal point, for attributes of SVG and ARIA."""
    return f"{probability * 100:.1f}"


@register.filter
def milliseconds(duration: float) -> str:
    """A duration in milliseconds with its unit: "0.8 ms", "42 ms", "1.3 s"."""
    if duration < 10:
        return f"{duration:.1f} ms"
    if duration < 1000:
        return f"{duration:.0f} ms"
    return f"{duration / 1000:.1f} s"


@register.filter
def byte_size(size: int) -> str:
    """A size in bytes as people read it: "8 KB", "10 MB", "12.3 MB", "1.5 GB"."""
    if 0 < size < 99_500:
        return f"{math.ceil(size / 1000)} KB"
    if size >= 999_950_000:
        return f"{size / 1_000_000_000:.1f}".removesuffix(".0") + " GB"
    return f"{size / 1_000_000:.1f}".removesuffix(".0") + " MB"


@register.filter
def counted(number: int) -> str:
    """A whole number with its thousands set off: "12,345"."""
    return f"{number:,}"


@register.filter
def share_of(part: float, whole: float) -> str:
    """How much of the whole it is, as a width for SVG: "42.0%", at most all of it."""
    return f"{min(part / whole, 1.0) * 100:.1f}%"


@register.filter
def span_since(moment: str) -> SafeString:
    """How long since a moment written as in RFC 3339: "3 hours"; its title says exactly when."""
    began = datetime.fromisoformat(moment)
    young = (timezone.now() - began).total_seconds() < 60
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment,
        f"since {began:%-d %B %Y, %H:%M:%S} UTC",
        "a few seconds" if young else timesince(began, depth=1).replace("\N{NO-BREAK SPACE}", " "),
    )


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """How long since (or until) a moment as a <time> whose title says exactly when, in UTC."""
    if moment is None:
        return format_html('<span class="quiet">{}</span>', "never")
    return format_html(
        '<time datetime="{}" title="{}" data-module="local-time">{}</time>',
        moment.isoformat(timespec="seconds"),
        f"{moment:%-d %B %Y, %H:%M:%S} UTC",
        _distance((timezone.now() - moment).total_seconds(), moment),
    )


def _distance(seconds: float, moment: datetime) -> str:
    if abs(seconds) < 10:
        return "just now"
    for limit, size, name in _STEPS:
        if abs(seconds) < limit:
            # What is over has gone by for that long at least; what comes is as far off as it nearly is.
            count = int(seconds // size) if seconds > 0 else max(1, round(-seconds / size))
            span = f"{count} {name}{'' if count == 1 else 's'}"
            return f"{span} ago" if seconds > 0 else f"in {span}"
    return f"{moment:%-d %b %Y}"


@register.simple_tag
def icon(name: str) -> SafeString:
    """The symbol of that name in img/icons.svg; says nothing to a screen reader, the text beside it does."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("img/icons.svg"),
        name,
    )


@register.filter
def code_words(text: str) -> SafeString:
    """A sentence with what stands between backticks as <code>."""
    pieces = text.split("`")
    return format_html_join(
        "",
        "{}",
        ((format_html("<code>{}</code>", piece) if number % 2 else piece,) for number, piece in enumerate(pieces)),
    )


@register.filter
def paragraphs(text: str) -> SafeString:
    """Plain text as <p> for each block between empty lines, words between backticks as <code>."""
    blocks = [" ".join(block.split()) for block in text.split("\n\n")]
    return format_html_join("\n", "<p>{}</p>", ((code_words(block),) for block in blocks if block))
