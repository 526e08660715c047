"""Words and character runs as numbers, and texts as sparse vectors over them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from scoring_service.faq import text
from scoring_service.faq.spelling import Spelling

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Words = Sequence[str]

_CACHED_WORDS = 100_000  # words whose character runs are remembered: some 50 MB at the most
_LONG = 3  # characters; shorter runs are in too many texts to search by


@dataclass(frozen=True, eq=False)
class Encoded:
    """n questions over a vocabulary.

    Words that the vocabulary does not know are read as known ones spelt alike, and still count as unknown.

    words, grams: TF-IDF vectors, rows of length 1 (0 where nothing is known), (n, words) and (n, grams).
    terms, runs: 1 for each word (and pair of characters in scripts without spaces) and each run of three or more
    characters that BM25 looks up, (n, words) and (n, grams). unknown_terms, unknown_runs: how many of them the
    vocabulary does not hold, (n,). weight: summed idf of the different words, the unknown ones counted as the rarest,
    (n,); known_weight: of the known ones. length: words, (n,).
    """

    words: csr_array
    grams: csr_array
    terms: csr_array
    runs: csr_array
    unknown_terms: Floats
    unknown_runs: Floats
    weight: Floats
    known_weight: Floats
    length: Floats


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The terms of a collection of texts, and how much each of them tells.

    words: number of each word and word pair; grams: number of each run of 2 to 5 characters.
    word_idf, gram_idf: inverse document frequency by number, smoothed as scikit-learn's TfidfVectorizer does it:
    ln((1 + texts) / (1 + texts holding the term)) + 1.
    """

    words: Mapping[str, int]
    grams: Mapping[str, int]
    word_idf: Floats
    gram_idf: Floats
    text_count: int

    @classmethod
    def of(cls, texts: Sequence[Words]) -> "Vocabulary":
        """The vocabulary of texts given as words (see `text.words`)."""
        words: dict[str, int] = {}
        grams: dict[str, int] = {}
        word_df: list[int] = []
        gram_df: list[int] = []
        for each in texts:
            _count(dict.fromkeys(word_grams(each)), words, word_df)
            _count(dict.fromkeys(chain.from_iterable(map(text.character_grams, each))), grams, gram_df)
        return cls(words, grams, _idf(word_df, len(texts)), _idf(gram_df, len(texts)), len(texts))

    def encode(self, questions: Sequence[Words]) -> Encoded:
        """The questions, given as words, over this vocabulary."""
        unknown_words = [{word for word in each if word not in self.words} for each in questions]
        read = [
            [self.spelling.nearest(word) if word in unknown else word for word in each] if unknown else each
            for each, unknown in zip(questions, unknown_words, strict=True)
        ]
        words, grams = self.word_vectors(read), self.gram_vectors(questions)
        single = csr_array((self.single_word_idf[words.indices], words.indices, words.indptr), shape=words.shape)
        known_weight = np.asarray(single.sum(axis=1), dtype=np.float32)
        known_weight -= [
            sum(self.single_word_idf[self.words[word]] for word in set(here) - set(each) if word in self.words)
            for here, each in zip(read, questions, strict=True)
        ]
        unknown = np.array([len(each) for each in unknown_words], dtype=np.float32)
        return Encoded(
            words=words,
            grams=grams,
            terms=_marked(words, self._is_term),
            runs=_marked(grams, self._is_long),
            unknown_terms=unknown,
            unknown_runs=np.array([self._unknown_runs(each) for each in unknown_words], dtype=np.float32),
            weight=known_weight + unknown * np.float32(math.log(1 + self.text_count) + 1),
            known_weight=known_weight,
            length=np.array([len(each) for each in questions], dtype=np.float32),
        )

    def word_vectors(self, texts: Sequence[Words]) -> csr_array:
        """TF-IDF of words and word pairs, rows of length 1 (0 where no term is known): float32 (texts, words)."""
        known = self.words
        numbers = [[known[term] for term in word_grams(each) if term in known] for each in texts]
        return _tf_idf(numbers, self.word_idf)

    def gram_vectors(self, texts: Sequence[Words]) -> csr_array:
        """TF-IDF of character runs within words, rows of length 1 or 0: float32 (texts, grams)."""
        return _tf_idf([list(chain.from_iterable(map(self._grams_of, each))) for each in texts], self.gram_idf)

    def terms(self, words: Words) -> list[int]:
        """Numbers of the known terms BM25 looks up, repeats kept: words, and pairs in scripts without spaces."""
        known = self.words
        return [known[term] for term in search_terms(words) if term in known]

    def runs(self, words: Words) -> list[int]:
        """Numbers of the known runs of three or more characters, repeats kept."""
        return [number for word in words for number in self._grams_of(word) if self._is_long[number]]

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling(term for term in self.words if " " not in term)

    @cached_property
    def single_word_idf(self) -> Floats:
        """The idf of single words, 0 for pairs: float32 (words,)."""
        single = np.array([" " not in term for term in self.words], dtype=bool)
        weights: Floats = np.where(single, self.word_idf, np.float32(0))
        return weights

    @cached_property
    def _is_term(self) -> Floats:
        return np.array([len(search_terms(term.split(" "))) != 2 for term in self.words], dtype=np.float32)

    @cached_property
    def _is_long(self) -> Floats:
        return np.array([len(gram) >= _LONG for gram in self.grams], dtype=np.float32)

    def _unknown_runs(self, unknown_words: Iterable[str]) -> int:
        runs = {gram for word in unknown_words for gram in text.character_grams(word) if len(gram) >= _LONG}
        return sum(run not in self.grams for run in runs)

    def _grams_of(self, word: str) -> list[int]:
        found = self._gram_cache.get(word)
        if found is None:
            known = self.grams
            found = [known[gram] for gram in text.character_grams(word) if gram in known]
            if len(self._gram_cache) < _CACHED_WORDS:
                self._gram_cache[word] = found
        return found

    @cached_property
    def _gram_cache(self) -> dict[str, list[int]]:
        return {}


def word_grams(words: Words) -> list[str]:
    """Single words and pairs of neighbours (joined by a space), in the order of the text."""
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def search_terms(words: Words) -> list[str]:
    """Single words, and pairs of neighbours in scripts without spaces, where a character alone says little."""
    if all(map(str.isascii, words)):
        return list(words)
    pairs = pairwise(words)
    return [*words, *(f"{a} {b}" for a, b in pairs if text.is_unspaced(a) and text.is_unspaced(b))]


def _count(terms: Iterable[str], numbers: dict[str, int], counts: list[int]) -> None:
    for term in terms:
        number = numbers.setdefault(term, len(numbers))
        if number == len(counts):
            counts.append(1)
        else:
            counts[number] += 1


def _idf(counts: list[int], texts: int) -> Floats:
    return (np.log((1 + texts) / (1 + np.array(counts, dtype=np.float64))) + 1).astype(np.float32)


def _marked(vectors: csr_array, marks: Floats) -> csr_array:
    """The matrix with the mark of its column in place of each value."""
    return csr_array((marks[vectors.indices], vectors.indices, vectors.indptr), shape=vectors.shape)


def _tf_idf(numbers: Sequence[Sequence[int]], idf: Floats) -> csr_array:
    """Rows of (1 + ln count) * idf, scaled to length 1, from the term numbers of each text."""
    size = len(idf)
    lengths = [len(each) for each in numbers]
    flat = np.fromiter(chain.from_iterable(numbers), dtype=np.int64, count=sum(lengths))
    keys, counts = np.unique(flat + np.repeat(np.arange(len(numbers)) * size, lengths), return_counts=True)
    rows, columns = np.divmod(keys, max(size, 1))
    starts = np.searchsorted(rows, np.arange(len(numbers) + 1))
    values = ((1 + np.log(counts)) * idf[columns]).astype(np.float32)
    norms = np.sqrt(np.bincount(rows, weights=values * values, minlength=len(numbers)))
    values /= norms[rows].astype(np.float32)
    return csr_array((values, columns.astype(np.int32), starts.astype(np.int32)), shape=(len(numbers), size))
