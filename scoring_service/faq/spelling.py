"""Words that a collection does not know, read as the known word that is spelt most alike ("closre" as "closure").

Two words are compared by the pairs and triples of characters that they share, their ends included (the Dice
coefficient): letters left out, doubled or swapped leave most of them in place.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable

from scoring_service.faq import text

LEAST_LENGTH = 4  # shorter words are alike by chance
_ALIKE = 0.6
_REMEMBERED = 20_000


class Spelling:
    """Knows the words of a collection."""

    def __init__(self, known: Iterable[str]) -> None:
        self._runs: dict[str, frozenset[str]] = {}
        self._holding: dict[str, list[str]] = defaultdict(list)
        self._found: dict[str, str] = {}
        for word in known:
            if len(word) >= LEAST_LENGTH:
                self._runs[word] = runs = short_runs(word)
                for run in runs:
                    self._holding[run].append(word)

    def nearest(self, word: str) -> str:
        """The known word that an unknown one most likely stands for, or the word itself where none is near."""
        if len(word) < LEAST_LENGTH:
            return word
        found = self._found.get(word)
        if found is None:
            found = self._search(word)
            if len(self._found) < _REMEMBERED:
                self._found[word] = found
        return found

    def _search(self, word: str) -> str:
        own = short_runs(word)
        shared = Counter(other for run in own for other in self._holding.get(run, ()))
        alike, best = max(
            ((2 * count / (len(own) + len(self._runs[other])), other) for other, count in shared.items()),
            default=(0.0, word),
        )
        return best if alike >= _ALIKE else word


@functools.lru_cache(maxsize=16_384)
def short_runs(word: str) -> frozenset[str]:
    """Pairs and triples of characters, the ends of the word included."""
    return frozenset(run for run in text.character_grams(word) if len(run) <= 3)
