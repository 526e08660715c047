"""How good a matcher is: rank of the right entry, calibration, telling apart questions that no entry answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from scoring_service.contract import studied

BINS = 10
ACCURACY_AT = (1, 3, 5, 10)

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a matcher made of n questions.

    rank: place of the right entry, from 1; 0 for a question that no entry answers, (n,).
    probability: of the entry in the first place, (n,).
    """

    rank: npt.NDArray[np.int64]
    probability: Doubles

    @property
    def answerable(self) -> npt.NDArray[np.bool_]:
        return self.rank > 0


@studied
class Asked(Struct, frozen=True, kw_only=True):
    """A question asked of a matcher that did not know it.

    expected: the id of the entry that answers it, None: there is none. hidden: that entry was left out, so that none
    should be found. first: the id of the entry that was most probable, with its probability (0 to 1).
    """

    question: str
    expected: str | None
    hidden: bool = False
    first: str
    probability: float


def metrics_of(outcome: Outcome) -> dict[str, Any]:
    """All measures by name; None where the questions do not allow to measure it.

    accuracy_at_k, mrr (mean reciprocal rank), mean_rank, ece, brier and reliability are over the answerable questions,
    no_answer_auroc over all.
    """
    answerable = outcome.answerable
    rank = outcome.rank[answerable]
    probability, right = outcome.probability[answerable], rank == 1
    measured = len(rank) > 0
    return {
        "questions": len(rank),
        "unanswerable_questions": int((~answerable).sum()),
        **{f"accuracy_at_{k}": float((rank <= k).mean()) if measured else None for k in ACCURACY_AT},
        "mrr": float((1 / rank).mean()) if measured else None,
        "mean_rank": float(rank.mean()) if measured else None,
        "ece": calibration_error(probability, right) if measured else None,
        "brier": float(((probability - right) ** 2).mean()) if measured else None,
        "reliability": reliability(probability, right),
        "no_answer_auroc": auroc(outcome.probability, answerable),
    }


def reliability(probability: Doubles, right: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """The questions in ten bins of equal width by probability; empty bins are left out."""
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        {
            "from": number / BINS,
            "questions": int((place == number).sum()),
            "probability": float(probability[place == number].mean()),
            "accuracy": float(right[place == number].mean()),
        }
        for number in range(BINS)
        if (place == number).any()
    ]


def calibration_error(probability: Doubles, right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins (C. Guo et al.: On Calibration of Modern Neural Networks, 2017)."""
    bins = reliability(probability, right)
    return sum(each["questions"] * abs(each["probability"] - each["accuracy"]) for each in bins) / len(probability)


def auroc(score: Doubles, positive: npt.NDArray[np.bool_]) -> float | None:
    """How often a positive scores above a negative, equal scores counted half (the Mann-Whitney statistic).

    None when one of the two kinds is missing.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2
    summed = float(middle_rank[place][positive].sum())
    return (summed - positives * (positives + 1) / 2) / (positives * negatives)


def best_threshold(outcome: Outcome, weight: Doubles) -> float | None:
    """The probability from which on the first match should be shown as the answer: where F1 is highest.

    Precision is the share of right ones among the answers shown, recall the share of answerable questions answered
    rightly, each question counted with its weight. None when no question was answered rightly.
    """
    right = weight * (outcome.rank == 1)
    if not right.any():
        return None
    order = np.argsort(-outcome.probability, kind="stable")
    shown = np.cumsum(weight[order])
    rightly = np.cumsum(right[order])
    f1 = 2 * rightly / (shown + (weight * outcome.answerable).sum())
    return float(outcome.probability[order[int(np.argmax(f1))]])
