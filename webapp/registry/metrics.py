"""How good and how quick a version is, from what it made of inputs with known answers. Numbers in, numbers out.

Shares and probabilities are from 0 to 1, times in milliseconds. `scoring_service.faq.evaluation` measures the same of a
matcher that lies in memory; a test holds the two together.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

BINS = 10  # of the reliability diagram
BARS = 24  # of a histogram, about

Unit = Literal["share", "score", "count", "ms"]
Rank = int | None  # place of the expected answer, from 1; None where it is not among the answers


@dataclass(frozen=True)
class Measure:
    """One row of the table: what the number is called, how it reads, and which direction is better."""

    name: str
    title: str
    unit: Unit
    higher_is_better: bool


QUALITY = {
    "faq": (
        Measure("accuracy_at_1", "Accuracy@1", "share", higher_is_better=True),
        Measure("accuracy_at_3", "Accuracy@3", "share", higher_is_better=True),
        Measure("accuracy_at_5", "Accuracy@5", "share", higher_is_better=True),
        Measure("mrr", "Mean reciprocal rank", "score", higher_is_better=True),
        Measure("no_answer_auroc", "No-answer AUROC", "score", higher_is_better=True),
        Measure("ece", "Calibration error", "score", higher_is_better=False),
        Measure("brier", "Brier score", "score", higher_is_better=False),
    ),
    "image": (
        Measure("top_1", "Top-1 accuracy", "share", higher_is_better=True),
        Measure("top_5", "Top-5 accuracy", "share", higher_is_better=True),
        Measure("ece", "Calibration error", "score", higher_is_better=False),
        Measure("brier", "Brier score", "score", higher_is_better=False),
    ),
}
FAILED = Measure("failed", "Inputs without an answer", "count", higher_is_better=False)
TAIL = Measure("p95_ms", "Latency p95", "ms", higher_is_better=False)
LATENCY = (
    Measure("p50_ms", "Latency p50", "ms", higher_is_better=False),
    TAIL,
    Measure("p99_ms", "Latency p99", "ms", higher_is_better=False),
)


@dataclass(frozen=True)
class Bin:
    """Inputs whose first answer had a probability from `start` to `end`: its mean, and the share that was right."""

    start: float
    end: float
    count: int
    probability: float
    accuracy: float


@dataclass(frozen=True)
class Bar:
    """How many samples lie from `start` to `end`."""

    start: float
    end: float
    count: int


def accuracy_at(k: int, ranks: Sequence[Rank]) -> float | None:
    """The share of inputs whose expected answer is among the first k. None without inputs."""
    return sum(rank is not None and rank <= k for rank in ranks) / len(ranks) if ranks else None


def mean_reciprocal_rank(ranks: Sequence[Rank]) -> float | None:
    """The mean of 1 / rank, 0 for an answer that is not there (E. M. Voorhees: The TREC-8 QA Track Report, 1999).

    None without inputs.
    """
    return math.fsum(1 / rank for rank in ranks if rank is not None) / len(ranks) if ranks else None


def reliability(probabilities: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """The inputs in ten bins of equal width by the probability of the first answer; empty bins are left out."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for probability, was_right in zip(probabilities, right, strict=True):
        members.setdefault(min(int(probability * BINS), BINS - 1), []).append((probability, was_right))
    return [
        Bin(
            start=number / BINS,
            end=(number + 1) / BINS,
            count=len(inside),
            probability=math.fsum(probability for probability, _ in inside) / len(inside),
            accuracy=sum(was_right for _, was_right in inside) / len(inside),
        )
        for number, inside in sorted(members.items())
    ]


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: how far probability and accuracy lie apart, weighted by the bins' inputs.

    C. Guo et al.: On Calibration of Modern Neural Networks, 2017. None without inputs.
    """
    inputs = sum(each.count for each in bins)
    return math.fsum(each.count * abs(each.probability - each.accuracy) for each in bins) / inputs if inputs else None


def brier(probabilities: Sequence[float], right: Sequence[bool]) -> float | None:
    """The mean squared distance between the first answer's probability and whether it was right (1 or 0).

    G. W. Brier: Verification of Forecasts Expressed in Terms of Probability, 1950. None without inputs.
    """
    if not probabilities:
        return None
    return math.fsum((p - was_right) ** 2 for p, was_right in zip(probabilities, right, strict=True)) / len(right)


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """How often a positive scores above a negative, equal scores counted half.

    The Mann-Whitney statistic over the number of pairs (J. A. Hanley, B. J. McNeil: The Meaning and Use of the Area
    under a ROC Curve, 1982). None when one of the two kinds is missing.
    """
    positives = sum(positive)
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    ranks_of_positives, below = 0.0, 0
    for _, tied in groupby(sorted(zip(scores, positive, strict=True)), key=lambda pair: pair[0]):
        group = [is_positive for _, is_positive in tied]
        ranks_of_positives += sum(group) * (below + (len(group) + 1) / 2)
        below += len(group)
    return (ranks_of_positives - positives * (positives + 1) / 2) / (positives * negatives)


def percentile(samples: Sequence[float], share: float) -> float | None:
    """The value below which that share (0 to 1) of the samples lies, between two of them by the straight line.

    Definition 7 of R. J. Hyndman, Y. Fan: Sample Quantiles in Statistical Packages, 1996. None without samples.
    """
    if not samples:
        return None
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def histograms(*groups: Sequence[float]) -> list[list[Bar]]:
    """A histogram of each group, all with the same bars, of a round width; the last bar takes all longer samples too.

    The bars reach to the 99th percentile of all samples, so that a single straggler does not flatten the rest.
    """
    everything = [sample for group in groups for sample in group]
    if not everything:
        return [[] for _ in groups]
    low, high = min(everything), percentile(everything, 0.99) or 0.0
    width = _round_width((high - low) / BARS or high / BARS or 1.0)
    first = math.floor(low / width)
    bars = max(1, math.ceil(high / width) - first)

    def counted(group: Iterable[float]) -> list[Bar]:
        counts = [0] * bars
        for sample in group:
            counts[min(max(math.floor(sample / width) - first, 0), bars - 1)] += 1
        edges = [round((first + number) * width, 6) for number in range(bars + 1)]
        return [Bar(start, end, count) for start, end, count in zip(edges, edges[1:], counts, strict=False)]

    return [counted(group) for group in groups]


def _round_width(least: float) -> float:
    """The next of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = math.pow(10, math.floor(math.log10(least)))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least)


def chance_of_split(won: int, lost: int) -> float:
    """How likely a split at least as uneven is when neither side is better: the two-sided exact sign test.

    Over the inputs on which exactly one side is right (Q. McNemar: Note on the Sampling Error of the Difference between
    Correlated Proportions, 1947, in its exact form).
    """
    tried = won + lost
    term = tail = 1  # whole numbers: no rounding however many inputs
    for number in range(min(won, lost)):
        term = term * (tried - number) // (number + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << tried))
