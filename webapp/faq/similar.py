"""Which questions ask much the same, told by their words alone: cheap enough for thousands, without a model.

Words that are rare in the collection count more than those in every question. Each text is a bag of weighted words; it
belongs to a group when its cosine with a group of others is high.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

WORD = re.compile(r"\w+|[^\w\s]{2,}")
UNSPACED = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uff66-\uff9f]{2,}")  # scripts that put no blanks between words
ALIKE = 0.5  # cosine with a group from which on a question is one of it
MOST_TOLD = 2_000  # groups with a word, beyond which it tells nothing
Vector = dict[str, float]


def words_of(text: str) -> list[str]:
    """The words of the text in their order, in small letters; of scripts without blanks, pairs of letters."""
    return [part for word in WORD.findall(text.casefold()) for part in _parts(word)]


def _parts(word: str) -> list[str]:
    if UNSPACED.fullmatch(word):
        return [word[at : at + 2] for at in range(len(word) - 1)]
    return [word]


def _stem(word: str) -> str:
    """Without the ending of a plural, roughly."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


class Weights:
    """How much each word says, from texts in which it does and does not stand."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._count = 0
        self._texts_with: Counter[str] = Counter()
        for text in texts:
            self._count += 1
            self._texts_with.update({_stem(word) for word in words_of(text)})

    def vector(self, text: str) -> Vector:
        """The words of the text with their weights, of length 1; {} where it has none."""
        words = {_stem(word) for word in words_of(text)}
        weights = {word: self._weight(word) for word in words}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}

    def _weight(self, word: str) -> float:
        # Among a few texts, what is rare says little yet: there all words weigh nearly the same.
        return math.log((self._count + 50) / (self._texts_with[word] + 1))


class Groups:
    """Groups of texts, each the sum of their vectors: finds the one that a further text belongs to."""

    def __init__(self) -> None:
        self._sums: dict[int, Vector] = {}
        self._squares: dict[int, float] = {}  # of the lengths of the sums
        self._with: dict[str, set[int]] = defaultdict(set)

    def add(self, group: int, vector: Mapping[str, float]) -> None:
        """Puts a text into the group, which there may not be yet."""
        sums = self._sums.setdefault(group, {})
        before = sum(sums.get(word, 0.0) * weight for word, weight in vector.items())
        self._squares[group] = self._squares.get(group, 0.0) + 2 * before + (1.0 if vector else 0.0)
        for word, weight in vector.items():
            sums[word] = sums.get(word, 0.0) + weight
            self._with[word].add(group)

    def nearest(self, vector: Mapping[str, float]) -> int | None:
        """The group whose texts are most alike, None where those of none are."""
        products: dict[int, float] = defaultdict(float)
        for word, weight in vector.items():
            having = self._with.get(word, ())
            if len(having) <= MOST_TOLD:
                for group in having:
                    products[group] += weight * self._sums[group][word]
        cosines = ((product / math.sqrt(self._squares[group]), group) for group, product in products.items())
        cosine, group = max(cosines, default=(0.0, 0))
        return group if cosine >= ALIKE else None
