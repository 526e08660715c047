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
from scoring_service.faq.sparse import Cells, Doubles, Floats, Integers, Ints, Numbers, binned, first_of_each, ranges
from scoring_service.faq.spelling import Spelling

Words = Sequence[str]

_CACHED_WORDS = 100_000  # words whose character runs are remembered: some 50 MB at the most
_TEXTS_AT_ONCE = 20_000  # whose runs are counted together: some 100 MB
_LONG = 3  # characters; shorter runs are in too many texts to search by
_NOTHING = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Encoded:
    """n questions over a vocabulary.

    Words that the vocabulary does not know are read as known ones spelt alike, and still count as unknown.

    known: the words and word pairs and, numbered after them, the character runs, (n, words + grams). values: their
    TF-IDF; the words of a question are together of length 1, and so are its runs. terms: what BM25 looks up, two rows
    for each question: its words (and pairs of characters in scripts without spaces), and its runs of three or more
    characters, (2n, words + grams). unknown: how many of them the vocabulary does not hold, (2n,). weight: summed idf
    of the different words, the unknown ones counted as the rarest, (n,); known_weight: of the known ones. length:
    words, (n,).
    """

    known: Cells
    values: Floats
    terms: Cells
    unknown: Doubles
    weight: Doubles
    known_weight: Doubles
    length: Doubles


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
        word_df: list[int] = []
        for each in texts:
            _count(dict.fromkeys(word_grams(each)), words, word_df)
        grams, gram_df = _counted_runs(texts)
        return cls(words, grams, smooth_idf(word_df, len(texts)), smooth_idf(gram_df, len(texts)), len(texts))

    def encode(self, questions: Sequence[Words]) -> Encoded:
        """The questions, given as words, over this vocabulary."""
        known = self.words
        pieces: list[Ints] = []
        lengths: list[int] = []
        unknown_terms: list[float] = []
        guessed = []
        for each in questions:
            unknown = {word for word in each if word not in known}
            read = [self.spelling.nearest(word) if word in unknown else word for word in each] if unknown else each
            found = [np.array([known[term] for term in word_grams(read) if term in known], dtype=np.int32)]
            found += map(self._grams_of, each)
            pieces += found
            lengths.append(sum(map(len, found)))
            unknown_terms += (len(unknown), self._unknown_runs(unknown) if unknown else 0)
            guesses = set(read).difference(each) if unknown else ()
            guessed.append(sum(float(self.single_word_idf[known[word]]) for word in guesses if word in known))
        cells, values = self._vectors(np.concatenate(pieces), np.array(lengths, dtype=np.int64))
        looked_up = self._looked_up[cells.column].nonzero()[0]
        column = cells.column[looked_up]
        known_weight = binned(cells.row, self.single_word_idf[cells.column], cells.rows) - np.array(guessed)
        counts = np.array(unknown_terms, dtype=np.float64)
        return Encoded(
            known=cells,
            values=values,
            terms=Cells(2 * cells.rows, 2 * cells.row[looked_up] + (column >= len(known)), column),
            unknown=counts,
            weight=known_weight + counts[::2] * (math.log(1 + self.text_count) + 1),
            known_weight=known_weight,
            length=np.array([len(each) for each in questions], dtype=np.float64),
        )

    def word_vectors(self, texts: Sequence[Words]) -> csr_array:
        """TF-IDF of words and word pairs, rows of length 1 (0 where no term is known): float32 (texts, words)."""
        known = self.words
        numbers = [[known[term] for term in word_grams(each) if term in known] for each in texts]
        lengths = [len(each) for each in numbers]
        flat = np.fromiter(chain.from_iterable(numbers), dtype=np.int64, count=sum(lengths))
        return tf_idf(flat, np.array(lengths, dtype=np.int64), self.word_idf)

    def gram_vectors(self, texts: Sequence[Words]) -> csr_array:
        """TF-IDF of character runs within words, rows of length 1 or 0: float32 (texts, grams)."""
        pieces = [[self._grams_of(word) for word in each] for each in texts]
        lengths = np.array([sum(map(len, each)) for each in pieces], dtype=np.int64)
        flat = np.concatenate([_NOTHING, *chain.from_iterable(pieces)]) - len(self.words)
        return tf_idf(flat, lengths, self.gram_idf)

    def terms(self, words: Words) -> list[int]:
        """Numbers of the known terms BM25 looks up, repeats kept: words, and pairs in scripts without spaces."""
        known = self.words
        return [known[term] for term in search_terms(words) if term in known]

    def runs(self, words: Words) -> list[int]:
        """Numbers of the known runs of three or more characters, repeats kept."""
        found = np.concatenate([_NOTHING, *map(self._grams_of, words)])
        long: list[int] = (found[self._looked_up[found]] - len(self.words)).tolist()
        return long

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling(term for term in self.words if " " not in term)

    @cached_property
    def single_word_idf(self) -> Floats:
        """The idf of single words, 0 for pairs and for runs: float32 (words + grams,)."""
        single = [" " not in term for term in self.words]
        return np.concatenate([self.word_idf * single, np.zeros(len(self.grams))]).astype(np.float32)

    @cached_property
    def _looked_up(self) -> npt.NDArray[np.bool_]:
        """Of each word or pair, and after them each run, whether BM25 looks it up: (words + grams,)."""
        words = [len(search_terms(term.split(" "))) != 2 for term in self.words]
        return np.array([*words, *(len(gram) >= _LONG for gram in self.grams)], dtype=np.bool_)

    @cached_property
    def _all_idf(self) -> Floats:
        return np.concatenate([self.word_idf, self.gram_idf])

    def _vectors(self, numbers: Ints, lengths: Numbers) -> tuple[Cells, Floats]:
        """TF-IDF of n texts given as the numbers of their words and runs, one text after the other: (n, words + grams).

        The words of a text are together of length 1, and so are its runs.
        """
        row, column, counts = counted(numbers, lengths, len(self._all_idf))
        values = (1 + np.log(counts)) * self._all_idf[column]
        part = 2 * row + (column >= len(self.words))
        values /= np.sqrt(np.bincount(part, values * values))[part]
        return Cells(len(lengths), row, column), values.astype(np.float32)

    def _unknown_runs(self, unknown_words: Iterable[str]) -> int:
        runs = {gram for word in unknown_words for gram in text.character_grams(word) if len(gram) >= _LONG}
        return sum(run not in self.grams for run in runs)

    def _grams_of(self, word: str) -> Ints:
        """Numbers of the known runs of a word, counted on from those of the words."""
        found = self._gram_cache.get(word)
        if found is None:
            known, first = self.grams, len(self.words)
            numbers = [known[gram] + first for gram in text.character_grams(word) if gram in known]
            found = np.array(numbers, dtype=np.int32)
            if len(self._gram_cache) < _CACHED_WORDS:
                self._gram_cache[word] = found
        return found

    @cached_property
    def _gram_cache(self) -> dict[str, Ints]:
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


def _counted_runs(texts: Sequence[Words]) -> tuple[dict[str, int], Numbers]:
    """Each run of characters numbered in the order in which the texts bring it, and how many of them hold it.

    Words come again and again, so their runs are looked up once a word.
    """
    grams: dict[str, int] = {}
    number_of = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
    runs = [
        [grams.setdefault(gram, len(grams)) for gram in dict.fromkeys(text.character_grams(word))] for word in number_of
    ]
    counts = np.array([len(each) for each in runs], dtype=np.int64)
    starts = np.cumsum(counts) - counts
    flat = np.fromiter(chain.from_iterable(runs), dtype=np.int64, count=int(counts.sum()))
    holding = np.zeros(len(grams), dtype=np.int64)
    for first in range(0, len(texts), _TEXTS_AT_ONCE):
        some = texts[first : first + _TEXTS_AT_ONCE]
        lengths = np.array([len(each) for each in some], dtype=np.int64)
        words = np.fromiter((number_of[word] for each in some for word in each), np.int64, count=int(lengths.sum()))
        owner = np.arange(len(some)).repeat(lengths)
        keys = owner.repeat(counts[words]) * len(grams) + flat[ranges(starts[words], counts[words])]
        keys.sort()
        holding += np.bincount(keys[first_of_each(keys)] % max(len(grams), 1), minlength=len(grams))
    return grams, holding


def smooth_idf(counts: Sequence[int] | Numbers, texts: int) -> Floats:
    return (np.log((1 + texts) / (1 + np.array(counts, dtype=np.float64))) + 1).astype(np.float32)


def counted(numbers: Integers, lengths: Numbers, size: int) -> tuple[Numbers, Numbers, Numbers]:
    """Row, column and count of each different number below `size` of n texts, given one after the other."""
    if len(lengths) == 1:
        column = np.sort(numbers).astype(np.int64)
        starts = first_of_each(column)
        column = column[starts]
        row = np.zeros(len(column), dtype=np.int64)
    else:
        keys = numbers + (np.arange(len(lengths)) * size).repeat(lengths)
        keys.sort()
        starts = first_of_each(keys)
        row, column = np.divmod(keys[starts], max(size, 1))
    counts = np.empty_like(starts)
    counts[:-1] = starts[1:]
    counts[-1:] = len(numbers)
    counts -= starts
    return row, column, counts


def tf_idf(numbers: Integers, lengths: Numbers, idf: Floats) -> csr_array:
    """Rows of (1 + ln count) * idf, scaled to length 1, from the numbers of n texts' terms, one after the other."""
    row, column, counts = counted(numbers, lengths, len(idf))
    starts = np.searchsorted(row, np.arange(len(lengths) + 1))
    values = (1 + np.log(counts)) * idf[column]
    values /= np.sqrt(np.bincount(row, values * values, minlength=len(lengths)))[row]
    shape = (len(lengths), len(idf))
    return csr_array((values.astype(np.float32), column.astype(np.int32), starts.astype(np.int32)), shape=shape)
