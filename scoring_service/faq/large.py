"""A large collection, laid out so that a question is compared with some of the entries only.

What is searched are lists of entries for each word, those with the highest impact first. All else is computed for the
entries that were found, from their words: how often a run of characters occurs in a text follows from the words that
hold it, so that runs are kept by word and not by text. Strings are known by their hashes.
"""

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from scoring_service.faq.bm25 import K1, B
from scoring_service.faq.corpus import Corpus, owners_of
from scoring_service.faq.latent import MOST_TEXTS, Latent
from scoring_service.faq.lookup import Keys, Rows, hashes, joined
from scoring_service.faq.sparse import Doubles, Floats, Integers, Ints, Numbers, first_of_each
from scoring_service.faq.vocabulary import Words, counted, smooth_idf, tf_idf

TEXT, ENTRY, ANSWER = range(3)  # rows of `term_documents` and of `average_terms`
ENTRY_RUNS, ANSWER_RUNS, WHOLE_RUNS, SEEN_RUNS = range(4)  # rows of `run_documents`; the first three of `average_runs`
LONG = 3  # characters; shorter runs are in too many texts to search by

_ROWS_AT_ONCE = 200_000  # documents whose terms are counted together: some 200 MB
_IMPACT_BITS, _ENTRY_BITS = 14, 25


@dataclass(frozen=True, eq=False)
class LargeIndex:
    """What is known of a large collection, as arrays.

    A term is a word or, in scripts without spaces, a pair of characters; a document is a text, all texts of an entry,
    or an answer.

    terms: T; term_is_word: 0 for pairs, int8 (T,). runs: R runs of 2 to 5 characters; run_length: int8 (R,).
    word_runs: the runs of each term, as often as it holds them. run_words: the terms that hold each run of three.
    term_documents: how many texts, entries and answers hold each term, int32 (3, T). run_documents: how many entries,
    answers, wholes of the two, and texts or answers hold each run, on the supposition that words come independently of
    each other, float32 (4, R). average_terms, average_runs: terms of a text, an entry, an answer; runs of an entry, an
    answer, a whole, (3,).
    pairs: neighbouring words as first * T + second, int64, ascending; pair_count: how often each occurs, int32.
    texts, answers: terms of each text and answer, words in their order, then pairs.
    first_text: of each entry, int32 (entries,).
    in_texts, in_answers: for each term the entries that hold it there, by falling impact; *_impacts: BM25, float16.
    exact: hashes of the texts, ascending; exact_entry: the entry of each, int32.
    latent: over terms; None where there are too few texts to have topics.
    """

    terms: Keys
    term_is_word: npt.NDArray[np.int8]
    runs: Keys
    run_length: npt.NDArray[np.int8]
    word_runs: Rows
    run_words: Rows
    term_documents: Ints
    run_documents: Floats
    average_terms: Doubles
    average_runs: Doubles
    pairs: Numbers
    pair_count: Ints
    texts: Rows
    answers: Rows
    first_text: Ints
    in_texts: Rows
    in_texts_impacts: npt.NDArray[np.float16]
    in_answers: Rows
    in_answers_impacts: npt.NDArray[np.float16]
    exact: Numbers
    exact_entry: Ints
    latent: Latent | None

    @classmethod
    def build(cls, corpus: Corpus, *, seed: int) -> "LargeIndex":
        chosen, texts, answers = _numbered(corpus)
        first, size = corpus.first_text, len(corpus.counts)
        entries = Rows(np.append(texts.starts[first], len(texts.items)), texts.items)
        terms = Keys(corpus.terms.hashes[chosen])
        is_word = corpus.terms.are_words[chosen]
        runs, run_length, word_runs = _runs_of(corpus, chosen)

        text_terms = _counts_by_row(texts, len(chosen))
        holding_texts = np.bincount(text_terms[1], minlength=len(chosen))
        del text_terms
        entry_terms, answer_terms = _counts_by_row(entries, len(chosen)), _counts_by_row(answers, len(chosen))
        holding = np.stack(
            [holding_texts, *(np.bincount(each[1], minlength=len(chosen)) for each in (entry_terms, answer_terms))]
        ).astype(np.int32)
        in_texts = _postings(*entry_terms, np.diff(entries.starts), holding[ENTRY])
        in_answers = _postings(*answer_terms, np.diff(answers.starts), holding[ANSWER])
        del entry_terms, answer_terms

        run_counts = _long_runs(run_length, word_runs)
        held_by = _holders(word_runs, len(runs))
        run_lengths = [_totals(rows, run_counts) for rows in (entries, answers)]
        average_runs = [float(each.mean()) for each in (*run_lengths, run_lengths[0] + run_lengths[1])]
        pairs, pair_count = _pairs_of((texts, answers), is_word)
        exact_order = corpus.exact.argsort(kind="stable")
        owners = np.arange(size, dtype=np.int32).repeat(corpus.counts)
        return cls(
            terms=terms,
            term_is_word=is_word.astype(np.int8),
            runs=runs,
            run_length=run_length,
            word_runs=word_runs,
            run_words=held_by.only(run_length == LONG),
            term_documents=holding,
            run_documents=_run_documents(held_by, holding, (len(texts), size)),
            average_terms=np.array([max(np.diff(rows.starts).mean(), 1.0) for rows in (texts, entries, answers)]),
            average_runs=np.maximum(average_runs, 1.0),
            pairs=pairs,
            pair_count=pair_count,
            texts=texts,
            answers=answers,
            first_text=first.astype(np.int32),
            in_texts=in_texts[0],
            in_texts_impacts=in_texts[1],
            in_answers=in_answers[0],
            in_answers_impacts=in_answers[1],
            exact=corpus.exact[exact_order],
            exact_entry=owners[exact_order],
            latent=_latent(texts, answers, owners, holding, seed),
        )

    @property
    def entry_count(self) -> int:
        return len(self.first_text)

    @cached_property
    def text_count(self) -> int:
        """Texts and answers: of what the TF-IDF is."""
        return len(self.texts) + int((np.diff(self.answers.starts) > 0).sum())

    @cached_property
    def seen(self) -> Ints:
        """How many texts and answers hold each term (T,)."""
        seen: Ints = self.term_documents[TEXT] + self.term_documents[ANSWER]
        return seen

    @cached_property
    def text_counts(self) -> Ints:
        """How many texts each entry has; at least one."""
        return np.diff(np.append(self.first_text, len(self.texts))).astype(np.int32)

    @cached_property
    def long_runs(self) -> Ints:
        """How many runs of three or more characters each term has (T,)."""
        return _long_runs(self.run_length, self.word_runs)

    @cached_property
    def triples(self) -> Ints:
        """How many different runs of three characters each term has (T,)."""
        return np.bincount(self.run_words.items, minlength=len(self.terms)).astype(np.int32)

    @cached_property
    def scratch(self) -> threading.local:
        """Arrays that each thread keeps from question to question."""
        return threading.local()

    @cached_property
    def remembered(self) -> dict[str, dict[str, Any]]:
        """What was found out about the spelling of words that were asked for."""
        return {"similar": {}, "nearest": {}}

    def holding(self, word: str) -> int:
        """How many entries have the word in their texts."""
        [number] = self.terms.numbers([word]).tolist()
        return int(self.term_documents[ENTRY, number]) if number >= 0 else 0

    def same(self, words: Words) -> list[int]:
        """The entries that have a text of just these words."""
        [wanted] = hashes([joined(words)])
        first, last = self.exact.searchsorted([wanted, wanted + 1]) if wanted < np.iinfo(np.int64).max else (0, 0)
        found: list[int] = np.unique(self.exact_entry[first:last]).tolist()
        return found


def bm25_idf(documents: npt.NDArray[np.integer] | Floats, size: int) -> Doubles:
    """Of terms that so many of `size` documents hold; 0 of one that none holds."""
    idf: Doubles = np.log1p((size - documents + 0.5) / (documents + 0.5)) * (documents > 0)
    return idf


def saturated(counts: Integers | Doubles, lengths: Integers | Doubles, average: float) -> Doubles:
    """What a term's idf is multiplied with in BM25: of a term that comes so often in a document so long."""
    result: Doubles = counts * (K1 + 1) / (counts + K1 * (1 - B + B * lengths / average))
    return result


def _numbered(corpus: Corpus) -> tuple[Numbers, Rows, Rows]:
    """The terms that occur, in the order of their hashes; the texts and the answers, as places in that order."""
    occurs = np.zeros(len(corpus.terms.strings), dtype=np.bool_)
    for rows in (corpus.texts, corpus.answers):
        occurs[rows.items] = True
    chosen = occurs.nonzero()[0]
    chosen = chosen[corpus.terms.hashes[chosen].argsort(kind="stable")]
    number = np.zeros(len(occurs), dtype=np.int32)
    number[chosen] = np.arange(len(chosen), dtype=np.int32)
    texts, answers = (Rows(rows.starts, number[rows.items]) for rows in (corpus.texts, corpus.answers))
    return chosen, texts, answers


def _runs_of(corpus: Corpus, chosen: Numbers) -> tuple[Keys, npt.NDArray[np.int8], Rows]:
    """The runs of the chosen terms, the characters of each, and those of each term."""
    rows, strings = corpus.terms.runs
    items, lengths = rows.gathered(chosen)
    occurs = np.unique(items)
    held = [strings[number] for number in occurs.tolist()]
    keys = hashes(held)
    order = keys.argsort(kind="stable")
    number = np.zeros(len(strings), dtype=np.int32)
    number[occurs[order]] = np.arange(len(order), dtype=np.int32)
    characters = np.array([len(each) for each in held], dtype=np.int8)[order]
    return Keys(keys[order]), characters, Rows.of(lengths, number[items])


def _counts_by_row(rows: Rows, terms: int) -> tuple[Ints, Ints, Ints]:
    """Row, term and count of all there is, by row and term."""
    parts: tuple[list[Ints], ...] = ([], [], [])
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        starts = rows.starts[first : first + _ROWS_AT_ONCE + 1]
        row, term, count = counted(rows.items[starts[0] : starts[-1]], np.diff(starts), terms)
        for part, values in zip(parts, (row + first, term, count), strict=True):
            part.append(values.astype(np.int32))
    rows_of, terms_of, counts = map(np.concatenate, parts)
    return rows_of, terms_of, counts


def _postings(
    row: Ints, term: Ints, count: Ints, lengths: Numbers, holding: Ints
) -> tuple[Rows, npt.NDArray[np.float16]]:
    """The rows that hold each term, by falling impact, and the impacts."""
    size = len(lengths)
    idf = bm25_idf(holding, size)
    share = saturated(count, lengths[row], max(float(lengths.mean()), 1.0)) / (K1 + 1)
    # Term, impact and row in one number, which is sorted several times as fast as their order is found.
    lowest = (1 << _IMPACT_BITS) - 1
    keys = term.astype(np.int64) << (_IMPACT_BITS + _ENTRY_BITS)
    keys |= np.rint((1 - share) * lowest).astype(np.int64) << _ENTRY_BITS
    keys |= row
    keys.sort()
    entries = (keys & ((1 << _ENTRY_BITS) - 1)).astype(np.int32)
    keys >>= _ENTRY_BITS
    share = 1 - (keys & lowest) / lowest
    keys >>= _IMPACT_BITS
    impacts = (share * (K1 + 1) * idf[keys]).astype(np.float16)
    return Rows.of(holding, entries), impacts


def _long_runs(run_length: npt.NDArray[np.int8], word_runs: Rows) -> Ints:
    return _summed((run_length >= LONG)[word_runs.items].astype(np.int32), word_runs.starts).astype(np.int32)


def _totals(rows: Rows, values: Ints) -> Numbers:
    """The sum of its items' values for each row."""
    return _summed(values[rows.items], rows.starts)


def _summed(values: Integers, starts: Numbers) -> Numbers:
    sums = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    total: Numbers = sums[starts[1:]] - sums[starts[:-1]]
    return total


def _holders(word_runs: Rows, runs: int) -> Rows:
    """The terms that hold each run."""
    keys = word_runs.items.astype(np.int64) * len(word_runs) + owners_of(word_runs)
    keys.sort()
    run, term = np.divmod(keys[first_of_each(keys)], max(len(word_runs), 1))
    return Rows.of(np.bincount(run, minlength=runs), term)


def _run_documents(held_by: Rows, holding: Ints, sizes: tuple[int, int]) -> Floats:
    """As `LargeIndex.run_documents`. sizes: how many texts and entries there are."""
    run, term = owners_of(held_by), held_by.items
    texts, entries = sizes
    lacking = []
    for row, size in ((ENTRY, entries), (ANSWER, entries), (TEXT, texts)):
        with np.errstate(divide="ignore"):
            share = np.log1p(-holding[row] / size)
        lacking.append(np.exp(np.bincount(run, share[term], minlength=len(held_by))))
    in_entries, in_answers, in_texts = (1 - each for each in lacking)
    whole = 1 - lacking[0] * lacking[1]
    seen = in_texts * texts + in_answers * entries
    return np.stack([in_entries * entries, in_answers * entries, whole * entries, seen]).astype(np.float32)


def _pairs_of(documents: tuple[Rows, ...], is_word: npt.NDArray[np.bool_]) -> tuple[Numbers, Ints]:
    keys = np.concatenate([neighbours(rows, is_word) for rows in documents])
    keys.sort()
    starts = first_of_each(keys)
    return keys[starts], np.diff(np.append(starts, len(keys))).astype(np.int32)


def neighbours(rows: Rows, is_word: npt.NDArray[np.bool_]) -> Numbers:
    """Every two words that follow each other in a row, as first * terms + second."""
    items = rows.items
    follows = is_word[items[:-1]] & is_word[items[1:]]
    inner = rows.starts[1:-1]
    follows[inner[(inner > 0) & (inner < len(items))] - 1] = False
    keys: Numbers = items[:-1][follows].astype(np.int64) * len(is_word) + items[1:][follows]
    return keys


def _latent(texts: Rows, answers: Rows, owners: Ints, holding: Ints, seed: int) -> Latent | None:
    """Topics of the words of some texts and answers, and the centres of all entries among them."""
    counts = len(texts) + len(answers)
    together = Rows.of(
        np.concatenate([np.diff(texts.starts), np.diff(answers.starts)]), np.concatenate([texts.items, answers.items])
    )
    documents = len(texts) + int((np.diff(answers.starts) > 0).sum())
    idf = smooth_idf(holding[TEXT] + holding[ANSWER], documents)

    def vectors(rows: Numbers) -> csr_array:
        return tf_idf(*together.gathered(rows), idf)

    some = np.arange(counts)
    if counts > MOST_TEXTS:
        some = np.sort(np.random.default_rng(seed).choice(counts, MOST_TEXTS, replace=False))
    all_owners = np.concatenate([owners, np.arange(len(answers), dtype=np.int32)])
    parts = (
        (vectors(rows), all_owners[rows])
        for rows in (np.arange(first, min(first + _ROWS_AT_ONCE, counts)) for first in range(0, counts, _ROWS_AT_ONCE))
    )
    return Latent.of_parts(vectors(some), parts, len(answers), seed=seed)
