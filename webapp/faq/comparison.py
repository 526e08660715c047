"""Whether a version that editors publish is worse than the one that serves.

Where questions are kept for testing, the registry's check has asked both the same ones, and its verdict holds, but for
measures that few questions cannot tell from chance. Where there are none, what was measured in training is compared:
there each phrasing is held out once and asked of an index that does not know it. Two versions were so measured on
phrasings of their own, so the difference must be more than their uncertainty, and than the model tolerates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.registry import queries
from webapp.registry.models import Check, Version
from webapp.templatetags.ui import percent

SURE = 2.0  # standard errors
HELD_OUT = "held_out_phrasings"
ENOUGH = 100  # questions, below which how honest probabilities are cannot be told from chance
OF_PROBABILITIES = {"ece", "brier", "no_answer_auroc"}


@dataclass(frozen=True)
class Verdict:
    """worse: in what, one sentence each; the editor is asked. passed_over: why the rest of the check's verdict is not
    held against the version; empty where there is no more.
    """

    worse: Sequence[str] = ()
    passed_over: str = ""


def verdict_on(version: Version, champion: Version | None, check: Check) -> Verdict:
    """check: the version's last one, passed, beside the champion if there is one."""
    if champion is None:
        return Verdict()
    if not check.report.get("measured"):
        return Verdict(worse_in_training(version, champion), "There were no questions to measure it with.")
    worse = queries.worse_than_champion(version)
    inputs = int(check.report.get("evaluation", {}).get("inputs", 0))
    flagged = [row for row in check.report.get("differences", ()) if row["worse_than_tolerated"]]
    if inputs >= ENOUGH or len(flagged) != len(worse):
        return Verdict(worse)
    kept = [sentence for row, sentence in zip(flagged, worse, strict=True) if row["metric"] not in OF_PROBABILITIES]
    passed_over = "" if len(kept) == len(worse) else f"{inputs} questions are too few to judge its probabilities by."
    return Verdict(kept, passed_over)


@dataclass(frozen=True)
class Measured:
    """Accuracy@1 of a version, 0 to 1, on so many questions."""

    accuracy: float
    questions: int

    @classmethod
    def of(cls, version: Version) -> "Measured | None":
        """As it was measured in training, on phrasings held out in turn; None where nothing was."""
        found = version.manifest.get("metrics") or {}
        accuracy, questions = found.get("accuracy_at_1"), found.get("questions")
        if found.get("measured_on") != HELD_OUT or not isinstance(accuracy, float | int) or not questions:
            return None
        return cls(float(accuracy), int(questions))

    @property
    def variance(self) -> float:
        # With one more of either kind, so that few questions that all went well are not taken for certainty.
        share = (self.accuracy * self.questions + 1) / (self.questions + 2)
        return share * (1 - share) / self.questions


def worse_in_training(version: Version, champion: Version) -> Sequence[str]:
    """A sentence where the version did worse than what serves did; none where it did not, or nobody knows."""
    ours, theirs = Measured.of(version), Measured.of(champion)
    if ours is None or theirs is None:
        return ()
    behind = theirs.accuracy - ours.accuracy
    sure = SURE * math.sqrt(ours.variance + theirs.variance)
    if behind <= max(version.model.quality_tolerance / 100, sure):
        return ()
    sentence = (
        f"In training {percent(ours.accuracy)} of {ours.questions:,} phrasings held out in turn found their entry "
        f"first; with what serves it was {percent(theirs.accuracy)} of {theirs.questions:,}."
    )
    return [sentence]
