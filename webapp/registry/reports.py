"""What the gate found out about a version, as the JSON in `Check.report`. The pages of the admin draw it.

Shares and probabilities are from 0 to 1, times in milliseconds. `candidate` is the version, `champion` what served.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.registry import metrics
from webapp.registry.evaluation import Disagreements, Evaluation, Side
from webapp.registry.metrics import FAILED, LATENCY, QUALITY, TAIL, Measure
from webapp.registry.models import ScoringModel
from webapp.templatetags.ui import milliseconds, percent

EXAMPLES = 50  # inputs on which they disagree
FAILURES = 10
CURVE = {"faq": 10, "image": 5}  # the last k of accuracy@k
FULL_MATRIX = 25  # labels; of more, only the pairs most often confused are kept
NOTICEABLE = 1.0  # milliseconds; a smaller difference is no reason against a version
CHANCE = 0.05  # a split that comes by chance more often than that is no sign of a difference
RARE = 0.01  # the same of latencies, which scatter more than chance alone would have it
DIGITS = 6


@dataclass(frozen=True)
class Tolerance:
    """How much worse than the champion a version may be. quality: percentage points; latency: percent."""

    quality: float
    latency: float

    @classmethod
    def of(cls, model: ScoringModel) -> "Tolerance":
        return cls(quality=model.quality_tolerance, latency=model.latency_tolerance)


def report_of(
    evaluation: Evaluation, *, digest: str, answerable: int, tolerance: Tolerance, names: Mapping[str, str]
) -> dict[str, Any]:
    """The report of an evaluation that has ended.

    digest: of the evaluation set; answerable: its inputs with an expected answer. names: ids to what people read.
    """
    candidate, champion = evaluation.candidate, evaluation.champion
    sides = {"candidate": candidate, "champion": champion}
    ours = measures_of(evaluation.kind, candidate)
    theirs = measures_of(evaluation.kind, champion) if champion else None
    lags = champion is not None and _lags(candidate, champion, tolerance)
    differences = _differences(evaluation.kind, ours, theirs, tolerance, lags=lags)
    paired = _paired(evaluation.disagreements) if champion else None
    worse = [
        _worse(row, champion.version, tolerance) for row in differences if champion and row["worse_than_tolerated"]
    ]
    return {
        "measured": True,
        "note": evaluation.note,
        "evaluation": {"digest": digest, "inputs": evaluation.done, "answerable": answerable},
        "candidate": ours,
        "champion": champion and {"version": champion.version, **(theirs or {})},
        "differences": differences,
        "verdict": {"worse": worse, "summary": _summary(evaluation, worse, paired)},
        "paired": paired,
        "reliability": {role: side and _reliability(side) for role, side in sides.items()},
        "accuracy_at_k": {role: side and _curve(side, CURVE[evaluation.kind]) for role, side in sides.items()},
        "latency": _latency(candidate, champion),
        "confusion": _confusion(candidate, champion, names) if evaluation.kind == "image" else None,
        "disagreements": _disagreements(evaluation.disagreements, names, candidate),
        "failures": [{"input": case.name, "reason": reason} for case, reason in candidate.failures[:FAILURES]],
    }


def unmeasured(note: str) -> dict[str, Any]:
    """The report of a check that could measure nothing. note: why."""
    return {"measured": False, "note": note, "verdict": {"worse": [], "summary": f"Not measured. {note}"}}


def kept_measures(report: Mapping[str, Any]) -> dict[str, Any]:
    """The measures that go into the version's row and into the history."""
    candidate = report.get("candidate") or {}
    return {name: value for name, value in candidate.items() if name not in {"p99_ms", "mean_ms"}}


def measures_of(kind: str, side: Side) -> dict[str, Any]:
    """All measures of one version by name; None where its inputs do not allow to measure it."""
    expecting = [(probability, right) for probability, expected, right in side.firsts if expected]
    probabilities, right = [each[0] for each in expecting], [each[1] for each in expecting]
    times = side.milliseconds
    common = {
        "inputs": len(side.firsts) + len(side.failures),
        "failed": len(side.failures),
        "ece": metrics.calibration_error(metrics.reliability(probabilities, right)),
        "brier": metrics.brier(probabilities, right),
        "p50_ms": metrics.percentile(times, 0.5),
        "p95_ms": metrics.percentile(times, 0.95),
        "p99_ms": metrics.percentile(times, 0.99),
        "mean_ms": sum(times) / len(times) if times else None,
    }
    if kind == ScoringModel.Kind.FAQ:
        own = {
            **{f"accuracy_at_{k}": metrics.accuracy_at(k, side.ranks) for k in (1, 3, 5)},
            "mrr": metrics.mean_reciprocal_rank(side.ranks),
            "no_answer_auroc": metrics.auroc([each[0] for each in side.firsts], [each[1] for each in side.firsts]),
        }
    else:
        own = {f"top_{k}": metrics.accuracy_at(k, side.ranks) for k in (1, 5)}
    return _rounded({**own, **common})


# The table and the verdict --------------------------------------------------------------------------------------------


def _differences(
    kind: str,
    candidate: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    tolerance: Tolerance,
    *,
    lags: bool,
) -> list[dict[str, Any]]:
    """One row for each measure, as the table shows them. lags: the version takes longer by more than tolerated."""
    rows = []
    for measure in (*QUALITY[kind], FAILED, *LATENCY):
        ours, theirs = candidate[measure.name], champion[measure.name] if champion else None
        difference = None if ours is None or theirs is None else round(ours - theirs, DIGITS)
        rows.append(
            {
                "metric": measure.name,
                "title": measure.title,
                "unit": measure.unit,
                "higher_is_better": measure.higher_is_better,
                "candidate": ours,
                "champion": theirs,
                "difference": difference,
                "better": (difference > 0) is measure.higher_is_better if difference else None,
                "worse_than_tolerated": (measure is TAIL and lags)
                or (difference is not None and _is_worse(measure, difference, tolerance)),
            }
        )
    return rows


def _is_worse(measure: Measure, difference: float, tolerance: Tolerance) -> bool:
    """Whether the version is worse than the champion in more than is tolerated; of latency see `_lags`."""
    behind = -difference if measure.higher_is_better else difference
    match measure.unit:
        case "share" | "score":
            return round(behind * 100, DIGITS) > tolerance.quality
        case "count":
            return behind > 0
        case _:
            return False


def _lags(candidate: Side, champion: Side, tolerance: Tolerance) -> bool:
    """Whether the version's 95th percentile is longer by more than tolerated, and by more than chance.

    On a busy machine stragglers come in bursts, which may meet the one more than the other.
    """
    ours, theirs = (metrics.percentile(side.milliseconds, 0.95) for side in (candidate, champion))
    if ours is None or theirs is None:
        return False
    limit = theirs + max(NOTICEABLE, theirs * tolerance.latency / 100)
    late, late_champion = (sum(each > limit for each in side.milliseconds) for side in (candidate, champion))
    return ours > limit and metrics.chance_of_split(late, late_champion) < RARE


def _worse(row: Mapping[str, Any], champion: str, tolerance: Tolerance) -> str:
    """What is worse, and by how much, in one sentence."""
    title, ours, theirs = row["title"], row["candidate"], row["champion"]
    behind = abs(row["difference"])
    direction = "below" if row["higher_is_better"] else "above"
    match row["unit"]:
        case "share":
            return (
                f"{title} is {percent(ours)}, {behind * 100:.1f} percentage points {direction} version {champion} "
                f"({percent(theirs)}); tolerated are {tolerance.quality:g}."
            )
        case "score":
            return (
                f"{title} is {ours:.3f}, {behind:.3f} {direction} version {champion} ({theirs:.3f}); "
                f"tolerated are {tolerance.quality / 100:g}."
            )
        case "ms":
            return (
                f"{title} is {milliseconds(ours)}, {percent(behind / theirs)} {direction} version {champion} "
                f"({milliseconds(theirs)}); tolerated are {tolerance.latency:g} %."
            )
        case _:
            return f"It has no answer to {_inputs(ours)}; version {champion} has none to {theirs}."


def _paired(disagreements: Disagreements) -> dict[str, Any]:
    """On how many inputs only one of the two is right, and how likely so uneven a split is by chance."""
    won, lost = disagreements.counts["won"], disagreements.counts["lost"]
    return {"won": won, "lost": lost, "chance": round(metrics.chance_of_split(won, lost), DIGITS)}


def _summary(evaluation: Evaluation, worse: Sequence[str], paired: Mapping[str, Any] | None) -> str:
    measured = f"Measured on {_inputs(evaluation.done)}."
    champion = evaluation.champion
    if champion is None or paired is None:
        return f"{measured} {evaluation.note or 'No version serves yet, so there is nothing to compare with.'}"
    if not paired["won"] and not paired["lost"]:
        first = f"It is right on the same inputs as version {champion.version}."
    else:
        first = (
            f"It alone is right on {_inputs(paired['won'])}, version {champion.version} alone on "
            f"{_inputs(paired['lost'])}"
        )
        first += ", which may well be chance." if paired["chance"] > CHANCE else "."
    if worse:
        return f"{measured} {first} It is worse than version {champion.version} by more than tolerated."
    return f"{measured} {first} In nothing is it worse by more than tolerated."


def _inputs(count: int) -> str:
    return "1 input" if count == 1 else f"{count:,} inputs"


# What the charts show -------------------------------------------------------------------------------------------------


def _reliability(side: Side) -> list[dict[str, Any]]:
    expecting = [(probability, right) for probability, expected, right in side.firsts if expected]
    bins = metrics.reliability([each[0] for each in expecting], [each[1] for each in expecting])
    return [
        _rounded(
            {
                "from": each.start,
                "to": each.end,
                "count": each.count,
                "probability": each.probability,
                "accuracy": each.accuracy,
            }
        )
        for each in bins
    ]


def _curve(side: Side, last: int) -> list[list[float | None]]:
    """Pairs of k and accuracy@k."""
    return [[k, _short(metrics.accuracy_at(k, side.ranks))] for k in range(1, last + 1)]


def _latency(candidate: Side, champion: Side | None) -> dict[str, Any]:
    sides = [side for side in (candidate, champion) if side]
    drawn = [
        _rounded(
            {
                "count": len(side.milliseconds),
                "p50": metrics.percentile(side.milliseconds, 0.5),
                "p95": metrics.percentile(side.milliseconds, 0.95),
                "p99": metrics.percentile(side.milliseconds, 0.99),
                "mean": sum(side.milliseconds) / len(side.milliseconds) if side.milliseconds else None,
                "histogram": [{"from": bar.start, "to": bar.end, "count": bar.count} for bar in bars],
            }
        )
        for side, bars in zip(sides, metrics.histograms(*(side.milliseconds for side in sides)), strict=True)
    ]
    return {"candidate": drawn[0], "champion": drawn[1] if champion else None}


def _confusion(candidate: Side, champion: Side | None, names: Mapping[str, str]) -> dict[str, Any]:
    """What was taken for what: the whole matrix (rows: expected), or the pairs most often confused."""
    sides = {"candidate": candidate, "champion": champion}
    found = [label for side in sides.values() if side for pair in side.confused for label in pair]
    named = {**names, **(champion.labels if champion else {}), **candidate.labels}
    # In the order in which the version itself lists its labels, as far as it does.
    order = {label: place for place, label in enumerate(names)}
    labels = sorted(set(found), key=lambda label: (order.get(label, len(order)), label))
    if len(labels) <= FULL_MATRIX:
        matrix = {
            role: side and [[side.confused[expected, answered] for answered in labels] for expected in labels]
            for role, side in sides.items()
        }
        return {"labels": _labels(labels, named), **matrix}
    wrong = sorted(
        (pair for pair in candidate.confused if pair[0] != pair[1]), key=lambda pair: (-candidate.confused[pair], pair)
    )
    pairs = [
        {
            "expected": _labels([expected], named)[0],
            "answered": _labels([answered], named)[0],
            "candidate": candidate.confused[expected, answered],
            "champion": champion and champion.confused[expected, answered],
        }
        for expected, answered in wrong[:FULL_MATRIX]
    ]
    return {"pairs": pairs}


def _labels(ids: Iterable[str], named: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"label_id": each, "label": named.get(each, "")} for each in ids]


def _disagreements(found: Disagreements, names: Mapping[str, str], candidate: Side) -> dict[str, Any]:
    """How many there are of each kind, and some of them."""
    reasons = {case.name: reason for case, reason in candidate.failures}
    kinds = ("lost", "won", "different")
    examples = [example for kind in kinds for example in found.examples.get(kind, [])][:EXAMPLES]

    def named(answer: Mapping[str, Any]) -> dict[str, Any]:
        return _rounded({**answer, "label": answer["label"] or names.get(answer["id"], "")})

    return {
        **{kind: found.counts[kind] for kind in kinds},
        "examples": [
            {
                **example,
                "expected": named(example["expected"]),
                "candidate": [named(each) for each in example["candidate"]],
                "champion": [named(each) for each in example["champion"]],
                **({} if example["candidate"] else {"candidate_failure": reasons.get(example["input"], "")}),
            }
            for example in examples
        ],
    }


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _short(value) if isinstance(value, float) else value for name, value in values.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)
