"""The words of a large collection as arrays, from which indexes of it or of parts of it are built."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

from scoring_service.faq import text
from scoring_service.faq.lookup import Rows, hashes, joined
from scoring_service.faq.sparse import Ints, Numbers
from scoring_service.faq.vocabulary import Words, search_terms


class _Numbering(dict[str, int]):
    """Numbers strings in the order in which they first come."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


@dataclass(frozen=True, eq=False)
class Terms:
    """The different words of a collection and, with a space between, pairs of characters in scripts without spaces."""

    strings: Sequence[str]

    @cached_property
    def hashes(self) -> Numbers:
        return hashes(self.strings)

    @cached_property
    def are_words(self) -> npt.NDArray[np.bool_]:
        return np.array([" " not in each for each in self.strings], dtype=np.bool_)

    @cached_property
    def runs(self) -> tuple[Rows, Sequence[str]]:
        """The numbers of the character runs of each word, as often as they occur, none of a pair; and all the runs."""
        numbers = _Numbering()
        found = [
            array("i", map(numbers.__getitem__, text.character_grams(each) if is_word else ()))
            for each, is_word in zip(self.strings, self.are_words.tolist(), strict=True)
        ]
        items = np.fromiter(chain.from_iterable(found), dtype=np.int32, count=sum(map(len, found)))
        return Rows.of(np.array([len(each) for each in found], dtype=np.int64), items), list(numbers)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Entries as the numbers of their terms.

    texts, answers: the terms of each text and of each entry's answer, words in their order, then pairs. counts: texts
    of each entry, at least one; they follow each other. exact: a hash of each text as exact matches compare it.
    """

    terms: Terms
    texts: Rows
    answers: Rows
    counts: Numbers
    exact: Numbers

    @classmethod
    def of(cls, entries: Iterable[tuple[Iterable[Words], Words]]) -> "Corpus":
        """From the texts and the answer of each entry, given as words; they are read one by one, and not kept."""
        numbers = _Numbering()
        number = numbers.__getitem__
        in_texts, in_answers = array("i"), array("i")
        text_lengths, answer_lengths, counts = array("q"), array("q"), array("q")
        exact: list[str] = []
        kept: list[Numbers] = []
        for texts, answer in entries:
            before = len(text_lengths)
            for each in texts:
                terms = search_terms(each)
                in_texts.extend(map(number, terms))
                text_lengths.append(len(terms))
                exact.append(joined(each))
            counts.append(len(text_lengths) - before)
            terms = search_terms(answer)
            in_answers.extend(map(number, terms))
            answer_lengths.append(len(terms))
            if len(exact) > 10_000:
                kept.append(hashes(exact))
                exact.clear()
        return cls(
            Terms(list(numbers)),
            Rows.of(np.array(text_lengths), np.array(in_texts, dtype=np.int32)),
            Rows.of(np.array(answer_lengths), np.array(in_answers, dtype=np.int32)),
            np.array(counts),
            np.concatenate([*kept, hashes(exact)]),
        )

    @property
    def first_text(self) -> Numbers:
        first: Numbers = np.cumsum(self.counts) - self.counts
        return first

    def chosen(self, entries: Numbers, texts: Numbers) -> "Corpus":
        """Some of the entries with some of their texts, at least one each; both by their numbers, ascending."""
        owners = np.arange(len(self.counts)).repeat(self.counts)[texts]
        in_texts, text_lengths = self.texts.gathered(texts)
        in_answers, answer_lengths = self.answers.gathered(entries)
        return Corpus(
            self.terms,
            Rows.of(text_lengths, in_texts),
            Rows.of(answer_lengths, in_answers),
            np.bincount(owners, minlength=len(self.counts))[entries],
            self.exact[texts],
        )


def owners_of(rows: Rows) -> Ints:
    """The row of each item."""
    return np.arange(len(rows), dtype=np.int32).repeat(np.diff(rows.starts))
