"""The FAQ matcher as a runtime: questions in, entries with probabilities out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from scoring_service.contract import Manifest
from scoring_service.errors import BadRow, VersionUnusable
from scoring_service.faq import text
from scoring_service.faq.matcher import Matcher, Matches
from scoring_service.faq.terms import matching_terms
from scoring_service.runtimes.base import Row, RowResult, Signature, TensorSpec

DEFAULT_TOP_K = 10
LIGHT_CHARACTERS = 500


class FaqRuntime:
    """A matcher that answers rows.

    Request parameter `top_k`: entries wanted a question, 10 if not given, 0 for all.
    Optional outputs: `answer_id`, and `terms`, JSON {"question": […], "entry": […]}: the words that made the match.
    """

    signature = Signature(
        inputs=(TensorSpec("question", "BYTES", (-1,)),),
        outputs=(
            TensorSpec("faq_id", "BYTES", (-1, -1)),
            TensorSpec("probability", "FP32", (-1, -1)),
            TensorSpec("answer_id", "BYTES", (-1, -1), optional=True),
            TensorSpec("terms", "BYTES", (-1, -1), optional=True),
        ),
    )

    def __init__(self, matcher: Matcher, *, threshold: float) -> None:
        """threshold: the probability from which on the first match is worth showing as the answer."""
        self._matcher = matcher
        self.parameters: dict[str, Any] = {"threshold": threshold}

    def score(self, rows: Sequence[Row]) -> list[RowResult | BadRow]:
        """The best entries of each question, most probable first; a BadRow where a question has no words."""
        checked = [_checked(row) for row in rows]
        good = [each for each in checked if not isinstance(each, BadRow)]
        matches = iter(self._matcher.match([words for words, _ in good], [top_k for _, top_k in good]) if good else [])
        return [
            each if isinstance(each, BadRow) else self._result(row, next(matches))
            for row, each in zip(rows, checked, strict=True)
        ]

    def light(self, rows: Sequence[Row]) -> bool:
        """Short questions of which nobody wants to know why: nearly all."""
        return all(len(row.inputs[0]) <= LIGHT_CHARACTERS and "terms" not in row.outputs for row in rows)

    def close(self) -> None:
        """The arrays are mapped files; they go with the last reference."""

    def _result(self, row: Row, matches: Matches) -> RowResult:
        entries = [self._matcher.entries[number] for number in matches.entries]
        result: RowResult = {
            "faq_id": [entry.id for entry in entries],
            "probability": matches.probabilities.tolist(),
        }
        if "answer_id" in row.outputs:
            result["answer_id"] = [entry.answer_id for entry in entries]
        if "terms" in row.outputs:
            result["terms"] = [self._terms(row.inputs[0], number, matches) for number in matches.entries.tolist()]
        return result

    def _terms(self, question: str, number: int, matches: Matches) -> str:
        entry = self._matcher.entries[number]
        shown = [entry.texts[0], entry.answer]
        if number in matches.closest:
            shown.append(entry.texts[matches.closest[number] - int(self._matcher.index.first_text[number])])
        return msgspec.json.encode(matching_terms(self._matcher.index, question, shown)).decode()


def load(directory: Path, manifest: Manifest) -> FaqRuntime:
    """The matcher in a version's folder. Raises VersionUnusable when its files make no sense."""
    threshold = manifest.parameters.get("threshold")
    if not isinstance(threshold, float | int) or not 0 <= threshold <= 1:
        raise VersionUnusable(f"parameters.threshold must be a number from 0 to 1, not {threshold!r}")
    try:
        matcher = Matcher.load(directory)
    except (OSError, EOFError, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise VersionUnusable(f"its files cannot be read: {error}") from error
    return FaqRuntime(matcher, threshold=float(threshold))


def _checked(row: Row) -> tuple[list[str], int] | BadRow:
    """The words of the question and how many entries are wanted."""
    (question,) = row.inputs
    top_k = row.parameters.get("top_k", DEFAULT_TOP_K)
    if not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 0:
        return BadRow(f"top_k must be a whole number, 0 or more (0 means all entries), not {top_k!r}.")
    if not question.strip():
        return BadRow("The question is empty.")
    if len(question) > text.MAX_CHARACTERS:
        return BadRow(f"The question has {len(question):,} characters; at most {text.MAX_CHARACTERS:,} are allowed.")
    prose = text.without_markup(question)
    words = text.words_of_prose(prose)
    if not words or not text.has_content(prose):
        return BadRow("The question has no letters or digits, so there is nothing to compare.")
    return words, top_k
