"""Whether a canary does as well as its champion.

Both are judged by the traffic that chose no version, over the canary's last day and over its last minutes: a version
that goes bad after good hours would else hide behind them.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.utils import timezone

from webapp.registry.models import ScoringModel, Version
from webapp.usage import traffic
from webapp.usage.latencies import longer_than
from webapp.usage.remembered import Remembered
from webapp.usage.traffic import Totals

LONGEST = timedelta(days=1)
RECENT = timedelta(minutes=10)
NOTICEABLE = 1.0  # milliseconds; a percentile that is longer by less is not worth ending anything
LEAST_ERRORS = 5  # fewer prove nothing, however small the champion's rate is
# Standard errors beyond which a difference is no chance: one in 4,000. So few because it is looked at again and again.
CERTAIN = 3.5


_read = Remembered[tuple[Totals, Totals]]()


class Verdict(StrEnum):
    TOO_FEW = "too-few"
    FINE = "fine"
    WORSE = "worse"


@dataclass(frozen=True)
class CanaryReport:
    """A canary beside its champion, since it began but at most for a day.

    sentence: the verdict for people. cause: "errors" or "latency" where it is worse.
    """

    champion: Version
    canary: Version
    percent: int
    since: datetime
    champion_totals: Totals
    canary_totals: Totals
    least_requests: int
    verdict: Verdict
    sentence: str
    cause: str = ""

    def figures(self) -> dict[str, Any]:
        """The figures as an event keeps them."""
        return {
            "since": self.since.isoformat(),
            "champion": _figures(self.champion, self.champion_totals),
            "canary": _figures(self.canary, self.canary_totals),
        }


def canary_report(model: ScoringModel) -> CanaryReport | None:
    """How the model's canary does; None when it has none."""
    trying = {version.role: version for version in model.versions.filter(role__in=["champion", "canary"])}
    champion, canary = trying.get(Version.Role.CHAMPION), trying.get(Version.Role.CANARY)
    if champion is None or canary is None:
        return None
    began = [version.role_since for version in (champion, canary) if version.role_since]
    now = timezone.now()
    since = max([*began, now - LONGEST])
    champion_totals, canary_totals = _both(model, champion, canary, now, now - since)
    judged = [(champion_totals, canary_totals)]
    if now - since > RECENT:
        judged.append(_both(model, champion, canary, now, RECENT))
    verdict, sentence, cause = _verdict(model, judged)
    return CanaryReport(
        champion=champion,
        canary=canary,
        percent=canary.percent,
        since=since,
        champion_totals=champion_totals,
        canary_totals=canary_totals,
        least_requests=model.least_requests,
        verdict=verdict,
        sentence=sentence,
        cause=cause,
    )


def canary_figures(model: ScoringModel) -> dict[str, Any]:
    """What the history keeps of the model's canary when it ends; empty when it has none."""
    report = canary_report(model)
    return report.figures() if report else {}


def _both(
    model: ScoringModel, champion: Version, canary: Version, now: datetime, span: timedelta
) -> tuple[Totals, Totals]:
    """What the champion and the canary did in the span up to now; of a long one some seconds ago."""

    def read() -> tuple[Totals, Totals]:
        since = now - span
        return traffic.totals(model.name, champion.name, since=since), traffic.totals(
            model.name, canary.name, since=since
        )

    key = (champion.pk, champion.role_since, canary.pk, canary.role_since, span == RECENT)
    return _read.get(key, span, read)


def _verdict(model: ScoringModel, judged: list[tuple[Totals, Totals]]) -> tuple[Verdict, str, str]:
    """The verdict, its sentence and its cause, by the champion's and the canary's totals of each span of time."""
    for champion, canary in judged:
        if more_errors(champion, canary, model.error_factor):
            return Verdict.WORSE, _errors_sentence(champion, canary, model.error_factor), "errors"
        if _slower(champion, canary, model):
            return Verdict.WORSE, _latency_sentence(champion, canary, model.latency_factor), "latency"
    champion, canary = judged[0]
    if min(champion.requests, canary.requests) < model.least_requests:
        return Verdict.TOO_FEW, _too_few_sentence(champion, canary, model.least_requests), ""
    return Verdict.FINE, "The canary's errors and latency are within the limits set for the model.", ""


def more_errors(champion: Totals, canary: Totals, factor: float) -> bool:
    """Whether the canary's error rate exceeds the champion's by the factor, beyond chance.

    That holds for few requests as well, so a canary that fails each of them need not wait for its hundredth. Where
    nearly all callers are the canary's, the champion's rate stays uncertain: then it is enough that the canary fails
    more than half of them.
    """
    ours, theirs = Share(canary.errors, canary.requests), Share(champion.errors, champion.requests)
    if canary.errors < LEAST_ERRORS:
        return False
    most_fail = ours.rate > factor * theirs.rate and ours.limits[0] > 0.5
    return most_fail or exceeds(ours, theirs, factor)


def _slower(champion: Totals, canary: Totals, model: ScoringModel) -> bool:
    """Whether the canary's 95th percentile exceeds the champion's by the factor, by more than anybody would notice, and
    beyond chance: more of its requests took so long than of the champion's.
    """
    if min(champion.requests, canary.requests) < model.least_requests:
        return False
    if champion.p95_ms is None or canary.p95_ms is None:
        return False
    limit = max(model.latency_factor * champion.p95_ms, champion.p95_ms + NOTICEABLE)
    late, late_champion = (Share(longer_than(totals.latency, limit), totals.requests) for totals in (canary, champion))
    return canary.p95_ms > limit and exceeds(late, late_champion)


@dataclass(frozen=True)
class Share:
    """So many of all."""

    count: int
    total: int

    @property
    def rate(self) -> float:
        return self.count / self.total if self.total else 0.0

    @property
    def limits(self) -> tuple[float, float]:
        """The Wilson score interval of the rate, at CERTAIN standard errors (E. B. Wilson, Journal of the American
        Statistical Association 22, 1927); 0 to 1 of none.
        """
        count, total, squared = self.count, self.total, CERTAIN**2
        centre = count + squared / 2
        spread = CERTAIN * math.sqrt(count * (total - count) / total + squared / 4) if total else centre
        return max(0.0, (centre - spread) / (total + squared)), min(1.0, (centre + spread) / (total + squared))


def exceeds(ours: Share, theirs: Share, factor: float = 1.0) -> bool:
    """Whether one rate is more than `factor` times another, beyond chance.

    It is when `ours - factor * theirs` is above zero by its lower confidence limit, put together from the Wilson limits
    of both rates by the square-and-add method (R. G. Newcombe, Interval estimation for the difference between
    independent proportions, Statistics in Medicine 17, 1998, method 10).
    """
    difference = ours.rate - factor * theirs.rate
    return difference > math.hypot(ours.rate - ours.limits[0], factor * (theirs.limits[1] - theirs.rate))


# Words ----------------------------------------------------------------------------------------------------------------


def _too_few_sentence(champion: Totals, canary: Totals, least: int) -> str:
    return (
        f"Too few requests to judge: the canary has answered {canary.requests:,}, the champion {champion.requests:,}. "
        f"Each needs {least:,}."
    )


def _errors_sentence(champion: Totals, canary: Totals, factor: float) -> str:
    failed = f"{_share(canary)} of the canary's {canary.requests:,} requests failed"
    if not champion.requests:
        return f"{failed}; the champion had none."
    return f"{failed}, {_share(champion)} of the champion's {champion.requests:,}: over {factor:g} times as many."


def _latency_sentence(champion: Totals, canary: Totals, factor: float) -> str:
    return (
        f"The canary's 95th percentile of latency is {canary.p95_ms:,.1f} ms, "
        f"the champion's {champion.p95_ms:,.1f} ms: over {factor:g} times as long."
    )


def _share(totals: Totals) -> str:
    return f"{100 * totals.error_rate:.3g} %"


def _figures(version: Version, totals: Totals) -> dict[str, Any]:
    return {
        "version": version.name,
        "requests": totals.requests,
        "errors": totals.errors,
        "error_rate": totals.error_rate,
        "p50_ms": totals.p50_ms,
        "p95_ms": totals.p95_ms,
        "mean_confidence": totals.mean_confidence,
        "right": totals.right,
        "wrong": totals.wrong,
    }
