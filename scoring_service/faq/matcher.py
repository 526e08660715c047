"""A trained matcher: entries for a question, most probable first, and the words that made each match."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scoring_service.faq import files, text
from scoring_service.faq.files import StoredEntry
from scoring_service.faq.large import LargeIndex
from scoring_service.faq.lookup import joined
from scoring_service.faq.reranker import Reranker
from scoring_service.faq.searching import AnyIndex, candidates_of
from scoring_service.faq.vocabulary import Words

EXACT_PROBABILITY = 0.99  # at least, of an entry that has the question word for word
OTHER_PROBABILITY = 0.98  # at most, of one that has not
_OUTSIDE_PROBABILITY = 0.001  # at most, of an entry outside the candidates: the right one hardly ever is there


@dataclass(frozen=True, eq=False)
class Matches:
    """All or the best entries for one question.

    entries: entry numbers, most probable first; probabilities: of each, between 0 and 1, never rising; closest: the
    number of the text nearest to the question, for the entries that were looked at closely (first to some twentieth).
    """

    entries: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    closest: dict[int, int]


@dataclass(frozen=True, eq=False)
class Matcher:
    entries: Sequence[StoredEntry]
    index: AnyIndex
    reranker: Reranker

    @classmethod
    def load(cls, folder: Path) -> "Matcher":
        """Raises OSError, ValueError or msgspec.MsgspecError when files are missing or make no sense."""
        return cls(*files.read(folder))

    def save(self, folder: Path) -> None:
        files.write(folder, self.entries, self.index, self.reranker)

    def match(self, questions: Sequence[Words], top_k: Sequence[int]) -> list[Matches]:
        """The entries for each question (as words, at least one each): its `top_k` best, or all where that is 0."""
        exact = {row: found for row, words in enumerate(questions) if (found := self._same(words))}
        candidates = candidates_of(self.index, questions, pinned=exact)
        probabilities = np.minimum(self.reranker.probabilities(candidates.features), OTHER_PROBABILITY)
        matches = []
        for row, wanted in enumerate(top_k):
            entries, probability = candidates.entries[row], probabilities[row]
            if row in exact:
                sure = EXACT_PROBABILITY + (1 - EXACT_PROBABILITY) * probability
                probability = np.where(np.isin(entries, exact[row]), sure, probability)
            order = np.argsort(-probability, kind="stable")
            closest = dict(zip(entries.tolist(), candidates.closest[row].tolist(), strict=True))
            entries, probability = entries[order], probability[order]
            if (wanted or len(self.entries)) > len(entries):
                rest, faint = self._rest(candidates.fused(row), entries, probability[-1])
                entries, probability = np.concatenate([entries, rest]), np.concatenate([probability, faint])
            shown = wanted or None
            matches.append(Matches(entries[:shown], probability[:shown].astype(np.float32), closest))
        return matches

    def _rest(
        self, fused: npt.NDArray[np.float64], seen: npt.NDArray[np.int64], least: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The entries outside the candidates in the order of their fused score, and their probabilities."""
        outside = np.setdiff1d(np.arange(len(fused)), seen)
        outside = outside[np.argsort(-fused[outside], kind="stable")]
        most = min(float(least), _OUTSIDE_PROBABILITY)
        return outside, most * (1 - np.arange(1, len(outside) + 1) / (len(outside) + 1))

    def _same(self, words: Words) -> Sequence[int]:
        """The entries that have a text of just these words: usually none."""
        return self.index.same(words) if isinstance(self.index, LargeIndex) else self._exact.get(joined(words), ())

    @cached_property
    def _exact(self) -> dict[str, list[int]]:
        """Entries by their folded texts: usually one."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(self.entries):
            for each in entry.texts:
                same = found[joined(text.words(each))]
                if number not in same:
                    same.append(number)
        return dict(found)
