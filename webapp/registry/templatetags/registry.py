"""What the model pages need to write versions, figures and events the same way everywhere."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webapp.registry import admin_report
from webapp.registry.models import Event, ScoringModel, Version
from webapp.templatetags.ui import percent

register = template.Library()
register.filter(admin_report.headline)
register.filter(admin_report.made_figures)
register.filter(admin_report.metric_rows)

_GOOD = {Event.Kind.CHECK_PASSED, Event.Kind.PROMOTED, Event.Kind.CONVERGED}
_BAD = {Event.Kind.CHECK_FAILED, Event.Kind.PROMOTION_FAILED, Event.Kind.CANARY_ABORTED}
_WARN = {Event.Kind.ROLLED_BACK, Event.Kind.PROMOTION_CANCELLED, Event.Kind.ARTIFACT_DELETED}


@register.filter
def rest(percent: int) -> int:
    """What is left of a hundred."""
    return 100 - percent


@register.filter
def signed(difference: float) -> str:
    """A difference of two probabilities in percentage points with its sign: "+1.2"."""
    points = round(difference * 100, 1)
    return f"{'+' if points > 0 else '−' if points < 0 else '±'}{abs(points):.1f}"


@register.filter
def exactly(moment: datetime) -> SafeString:
    """A moment to the second, in UTC."""
    return format_html(
        '<time datetime="{}">{}</time>', moment.isoformat(timespec="seconds"), f"{moment:%-d %B %Y, %H:%M:%S} UTC"
    )


@register.filter
def instant(text: str) -> SafeString | str:
    """The moment that a manifest writes in RFC 3339; as it stands there when it is none."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    return exactly(moment.astimezone(UTC)) if moment else text or "–"


@register.filter
def event_tone(event: Event) -> str:
    """How the event's mark looks: good, bad, warn or plain."""
    return (
        "good" if event.kind in _GOOD else "bad" if event.kind in _BAD else "warn" if event.kind in _WARN else "plain"
    )


@register.filter
def serving_words(event: Event) -> str:
    """What served from the event on: "serves 7, canary 8 with 10 %"."""
    serving: Mapping[str, Any] = event.serving
    champion = f"serves {serving['champion']}" if serving.get("champion") else "nothing serves"
    trials = [(role, serving[role]) for role in ("canary", "shadow") if serving.get(role)]
    return ", ".join([champion, *(f"{role} {each['version']} with {each['percent']} %" for role, each in trials)])


@register.filter
def detail_rows(event: Event) -> list[tuple[str, str]]:
    """What else the event tells, as pairs of words. Percent and rollout stand elsewhere, or say nothing to people."""
    details: Mapping[str, Any] = event.details
    rows = []
    if replaces := details.get("replaces"):
        rows.append(("In place of", f"Version {replaces}"))
    if share := details.get("from_percent"):
        rows.append(("Share before", f"{share} %"))
    changed: Mapping[str, Any] = details.get("to") or {}
    rows += [(_setting(name), f"{details['from'][name]} → {after}") for name, after in changed.items()]
    for role in ("canary", "champion"):
        if isinstance(figures := details.get(role), Mapping):
            rows.append((f"{role.capitalize()}, version {figures['version']}", _traffic(figures)))
    if isinstance(compared := details.get("shadow"), Mapping):
        rows.append((f"Shadow, version {compared['version']}", _agreement(compared)))
    plain = (("inputs", "Inputs"), ("digest", "SHA-256"), ("seconds", "Seconds"))
    return rows + [(title, str(details[name])) for name, title in plain if details.get(name)]


def _setting(name: str) -> str:
    return str(ScoringModel._meta.get_field(name).verbose_name).capitalize()  # type: ignore[union-attr]  # our fields


def _traffic(figures: Mapping[str, Any]) -> str:
    """A version's requests while it was on trial."""
    said = f"{figures['requests']:,} requests, {figures['errors']:,} errors"
    if figures.get("p95_ms") is not None:
        said += f", p95 {admin_report.say(figures['p95_ms'], 'ms')}"
    return said


def _agreement(figures: Mapping[str, Any]) -> str:
    """How often a shadow put the same answer first, and how far its probability was off on average."""
    if not figures["compared"]:
        return f"nothing compared, {figures['failed']:,} failed"
    share = percent(figures["agreeing"] / figures["compared"])
    said = f"agreed on {share} of {figures['compared']:,} requests, {figures['failed']:,} failed"
    drift = figures["mean_difference"]
    return said if drift is None else f"{said}, mean difference {signed(drift)} points"


@register.filter
def file_rows(version: Version) -> list[tuple[str, int, str]]:
    """The version's files: name, size, SHA-256."""
    files: Mapping[str, Mapping[str, Any]] = version.manifest.get("files", {})
    return [(name, int(each["size"]), str(each["sha256"])) for name, each in sorted(files.items())]


@register.filter
def shape(tensor: Mapping[str, Any]) -> str:
    """A tensor's shape as people write it: "n × 3"; -1 stands for any number."""
    return " × ".join("n" if size == -1 else str(size) for size in tensor.get("shape", ()))
