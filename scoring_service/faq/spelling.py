"""Words that a collection does not know, read as the known word that is spelt most alike ("closre" as "closure").

Two words are compared by the pairs and triples of characters that they share, their ends included (the Dice
coefficient): letters left out, doubled or swapped leave most of them in place.
"""

import functools
from collections.abc import Iterable
from itertools import chain

import numpy as np

LEAST_LENGTH = 4  # shorter words are alike by chance
ALIKE = 0.6  # Dice coefficient from which on one word is read as another
_REMEMBERED = 20_000


class Spelling:
    """Knows the words of a collection."""

    def __init__(self, known: Iterable[str]) -> None:
        self._words = sorted(word for word in known if len(word) >= LEAST_LENGTH)
        self._number: dict[str, int] = {}  # of each run
        self._found: dict[str, str] = {}
        runs = [[self._number.setdefault(run, len(self._number)) for run in _runs(word)] for word in self._words]
        self._counts = np.array([len(each) for each in runs], dtype=np.int32)  # runs of each word
        flat = np.fromiter(chain.from_iterable(runs), dtype=np.int32, count=int(self._counts.sum()))
        order = flat.argsort(kind="stable")
        # The words that hold each run, by their numbers, one run after the other.
        self._holding = np.arange(len(runs), dtype=np.int32).repeat(self._counts)[order]
        self._ends = np.bincount(flat, minlength=len(self._number)).cumsum()

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
        own = _runs(word)
        numbers = [self._number[run] for run in own if run in self._number]
        if not numbers:
            return word
        holding = [self._holding[self._ends[number - 1] if number else 0 : self._ends[number]] for number in numbers]
        shared = np.bincount(np.concatenate(holding), minlength=len(self._words))
        alike = 2 * shared / (len(own) + self._counts)
        best = len(alike) - 1 - int(alike[::-1].argmax())  # of equals, the last in the alphabet
        return self._words[best] if alike[best] >= ALIKE else word


@functools.lru_cache(maxsize=16_384)
def short_runs(word: str) -> frozenset[str]:
    """Pairs and triples of characters, the ends of the word included."""
    return frozenset(_runs(word))


def _runs(word: str) -> set[str]:
    padded = f" {word} "
    return {padded[start : start + size] for size in (2, 3) for start in range(len(padded) - size + 1)}
