"""The candidates of a question among very many entries: found by its rarer words, compared as closely as among few.

1. Find: the entries that the lists of the question's terms, and of words spelt much like its own, begin with; the
   shorter lists whole, of the longer ones the entries of the highest impact, some hundred thousand in all.
2. Compare: BM25 over words for the best hundreds of them, then every scorer for the best of these.
3. Rank and describe them as `features` does, except that ranks and leads are those among what was found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from scoring_service.faq import text
from scoring_service.faq.features import (
    CANDIDATES,
    FEATURES,
    PINNED,
    RETRIEVERS,
    SCORERS,
    Compared,
    best_of,
    features_of,
    fused_of,
    ranks_of,
)
from scoring_service.faq.large import (
    ANSWER,
    ANSWER_RUNS,
    ENTRY,
    ENTRY_RUNS,
    LONG,
    SEEN_RUNS,
    TEXT,
    WHOLE_RUNS,
    LargeIndex,
    bm25_idf,
    saturated,
)
from scoring_service.faq.lookup import Rows, places_in
from scoring_service.faq.sparse import Doubles, Floats, Integers, Ints, Numbers, first_of_each, ranges
from scoring_service.faq.spelling import ALIKE, LEAST_LENGTH, short_runs
from scoring_service.faq.vocabulary import Words, search_terms

_READ = 50_000  # entries that are read from the lists of terms in texts; half as many from all other lists
_COMPARED = 600  # entries whose words are compared
_BEST = 70  # of each of three kinds, that are compared in all ways
_CELLS = 30_000  # texts times terms: what a long question is compared with is less
_IN_ANSWER, _SPELT_ALIKE = 0.4, 0.5  # what a word counts for there, or when it is only spelt alike, to be found by
_SIMILAR = 6  # words spelt like one of the question
_SIMILAR_FROM = 0.5  # Dice coefficient of their runs of three
_SIMILAR_READ = 30_000  # words that are read from the lists of a word's runs
_NEAR = 40  # words that an unknown one is compared with closely
_REMEMBERED = 20_000

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class FoundCandidates:
    """As `features.Candidates`, of questions each of which was compared with some entries only.

    found: the entries, ascending, and their fused scores, of each question; size: entries of the collection.
    """

    entries: Numbers
    closest: Numbers
    features: Floats
    found: Sequence[tuple[Numbers, Doubles]]
    size: int

    def fused(self, row: int) -> Doubles:
        """A score of every entry for one of the questions, by which those outside the candidates are ordered."""
        fused = np.zeros(self.size)
        entries, scores = self.found[row]
        fused[entries] = scores
        return fused


def candidates_of(
    index: LargeIndex, questions: Sequence[Words], pinned: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> FoundCandidates:
    """As `features.candidates_of`."""
    each = [_candidates(index, words, pinned.get(row, ())) for row, words in enumerate(questions)]
    entries, closest, features, found, fused = zip(*each, strict=True)
    return FoundCandidates(
        np.stack(entries),
        np.stack(closest),
        np.concatenate(features),
        list(zip(found, fused, strict=True)),
        index.entry_count,
    )


def _candidates(
    index: LargeIndex, words: Words, pinned: Sequence[int]
) -> tuple[Numbers, Numbers, Floats, Numbers, Doubles]:
    """Entries, closest texts, features, and what was found with its fused scores."""
    asked = _Asked.of(index, words)
    found = _found(index, asked, pinned)
    by_words = _word_scores(index, asked, found)
    scores = np.zeros((len(SCORERS), 1, len(found)), dtype=np.float32)
    own = dict(zip(SCORERS, scores[:, 0], strict=True))
    own["closest_words"][:], own["entry_words"][:] = by_words.closest, by_words.entry
    own["answer_words"][:] = _answer_scores(index, asked, found)
    own["entry_grams"][:], own["answer_grams"][:], own["all_grams"][:] = _run_scores(index, asked, found, by_words)
    if index.latent:
        own["topics"][:] = index.latent.scores_of(asked.terms, asked.term_values, found)
    retrievers = {name: weight for name, weight in RETRIEVERS.items() if name != "margin"}
    by = scores[[SCORERS.index(name) for name in retrievers]]
    ranks = ranks_of(by, np.array(list(retrievers.values())))
    ranks[0, found.searchsorted(np.array(pinned, dtype=np.int64))] += PINNED
    places = best_of(ranks, by)
    closest = np.array([by_words.best_text(place) for place in places[0].tolist()])
    features = features_of(scores, places, _compared(index, asked, closest))
    features[:, :, FEATURES.index("margin_share")] = 1 / index.entry_count  # of margins that are all the same
    return found[places[0]], closest, features, found, fused_of(ranks[0], by[:, 0])


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question over an index.

    terms, term_values: the known terms, those that unknown words are read as among them, with their TF-IDF; unknown:
    words that are not known. runs: known runs of three or more characters; unknown_runs: how many are not known.
    similar, alike: words that are not among the terms but spelt much like one of the question, and how much.
    word_keys, word_values: TF-IDF of words and, numbered after all terms, pairs of neighbours; gram_keys, gram_values:
    of all runs; both of length 1. Everything ascending. weight, known_weight, length: as `vocabulary.Encoded` has them.
    """

    terms: Numbers
    term_values: Floats
    unknown: int
    runs: Numbers
    unknown_runs: int
    similar: Numbers
    alike: Doubles
    word_keys: Numbers
    word_values: Doubles
    gram_keys: Numbers
    gram_values: Doubles
    weight: float
    known_weight: float
    length: int

    @classmethod
    def of(cls, index: LargeIndex, words: Words) -> "_Asked":
        written = list(dict.fromkeys(words))
        pairs = search_terms(words)[len(words) :]
        numbers = index.terms.numbers([*written, *pairs])
        number_of = dict(zip(written, numbers.tolist(), strict=False))
        unknown = [word for word, number in number_of.items() if number < 0]
        read_as = number_of | {word: _nearest(index, word) for word in unknown}
        read = np.array([read_as[word] for word in words], dtype=np.int64)
        known = np.concatenate([read, numbers[len(written) :]])
        terms, counts = _distinct(known[known >= 0])
        seen = _smooth_idf(index, index.seen[terms])
        is_word = index.term_is_word[terms] > 0
        guessed = np.array(sorted({read_as[word] for word in unknown} - set(number_of.values()) - {-1}), dtype=np.int64)
        known_weight = float(seen[is_word].sum() - _smooth_idf(index, index.seen[guessed]).sum())

        grams: list[Integers] = []
        unknown_runs: set[str] = set()
        for word in words:
            if (number := number_of[word]) >= 0:
                grams.append(index.word_runs[number])
            else:
                runs = text.character_grams(word)
                found = index.runs.numbers(runs)
                grams.append(found[found >= 0])
                unknown_runs.update(run for run, at in zip(runs, found.tolist(), strict=True) if at < 0)
        gram_keys, gram_counts = _distinct(np.concatenate(grams).astype(np.int64))
        gram_values = (1 + np.log(gram_counts)) * _smooth_idf(index, index.run_documents[SEEN_RUNS, gram_keys])
        similar, alike = _similar(index, read_as, terms)
        word_keys, word_values = _words_and_pairs(index, read, np.zeros(len(read), dtype=np.int64))[1:]
        return cls(
            terms=terms,
            term_values=((1 + np.log(counts)) * seen).astype(np.float32),
            unknown=len(unknown),
            runs=gram_keys[index.run_length[gram_keys] >= LONG],
            unknown_runs=sum(len(run) >= LONG for run in unknown_runs),
            similar=similar,
            alike=alike,
            word_keys=word_keys,
            word_values=_unit(word_values),
            gram_keys=gram_keys,
            gram_values=_unit(gram_values),
            weight=known_weight + len(unknown) * (math.log(1 + index.text_count) + 1),
            known_weight=known_weight,
            length=len(words),
        )


def _distinct(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """The different numbers, ascending, and how often each occurs."""
    ascending = np.sort(numbers)
    starts = first_of_each(ascending)
    return ascending[starts], np.diff(np.append(starts, len(ascending)))


def _unit(values: Doubles) -> Doubles:
    scaled: Doubles = values / max(math.sqrt(float(values @ values)), 1e-9)
    return scaled


def _smooth_idf(index: LargeIndex, holding: npt.NDArray[np.integer | np.floating]) -> Doubles:
    idf: Doubles = np.log((1 + index.text_count) / (1 + holding.astype(np.float64))) + 1
    return idf


def _words_and_pairs(index: LargeIndex, words: Integers, owner: Numbers) -> tuple[Numbers, Numbers, Doubles]:
    """TF-IDF of words and pairs of neighbours of some texts, by text and key; -1 is a word that is not known.

    words: of all texts, one after the other; owner: text of each. Returns text, key and value of all there is.
    """
    size = len(index.terms)
    words = words.astype(np.int64)
    known = words >= 0
    follows = known[:-1] & known[1:] & (owner[:-1] == owner[1:])
    places = places_in(index.pairs, words[:-1][follows] * size + words[1:][follows])
    of_pair = owner[:-1][follows][places >= 0]
    places = places[places >= 0]
    span = size + len(index.pairs)
    texts = np.concatenate([owner[known], of_pair])
    keys, counts = _distinct(texts * span + np.concatenate([words[known], places + size]))
    texts, keys = np.divmod(keys, span)
    is_word = keys < size
    holding = np.empty(len(keys))
    holding[is_word] = index.seen[keys[is_word]]
    holding[~is_word] = index.pair_count[keys[~is_word] - size]
    return texts, keys, (1 + np.log(counts)) * _smooth_idf(index, holding)


def _similar(index: LargeIndex, read_as: Mapping[str, int], terms: Numbers) -> tuple[Numbers, Doubles]:
    """Words that are spelt much like one of the question's, and how much: the Dice coefficient of their runs."""
    best: dict[int, float] = {}
    for word in read_as:
        for number, alike in _spelt_like(index, word):
            best[number] = max(alike, best.get(number, 0.0))
    for number in terms.tolist():
        best.pop(number, None)
    numbers = np.array(sorted(best), dtype=np.int64)
    return numbers, np.array([best[number] for number in numbers.tolist()])


def _spelt_like(index: LargeIndex, word: str) -> Sequence[tuple[int, float]]:
    if len(word) < LEAST_LENGTH:
        return ()
    remembered: dict[str, Sequence[tuple[int, float]]] = index.remembered["similar"]
    if (kept := remembered.get(word)) is not None:
        return kept
    numbers, alike = _by_triples(index, word)
    chosen = np.argsort(-alike, kind="stable")[: _SIMILAR + 1]
    chosen = chosen[alike[chosen] >= _SIMILAR_FROM]
    found = list(zip(numbers[chosen].tolist(), alike[chosen].tolist(), strict=True))
    if len(remembered) < _REMEMBERED:
        remembered[word] = found
    return found


def _by_triples(index: LargeIndex, word: str) -> tuple[Numbers, Doubles]:
    """Words that share a run of three characters with this one, and the Dice coefficient of those runs."""
    own = sorted(run for run in short_runs(word) if len(run) == LONG)
    runs = index.runs.numbers(own)
    runs = runs[runs >= 0]
    lengths = index.run_words.starts[runs + 1] - index.run_words.starts[runs]
    order = lengths.argsort(kind="stable")
    runs, lengths = runs[order], lengths[order]
    items = index.run_words.gathered(runs[: max(1, int((lengths.cumsum() <= _SIMILAR_READ).sum()))])[0]
    numbers, shared = _distinct(items.astype(np.int64))
    return numbers, 2 * shared / (len(own) + index.triples[numbers])


def _nearest(index: LargeIndex, word: str) -> int:
    """The known word that an unknown one most likely stands for, as `spelling` finds it; -1 where none is near."""
    if len(word) < LEAST_LENGTH:
        return -1
    remembered: dict[str, int] = index.remembered["nearest"]
    if (kept := remembered.get(word)) is not None:
        return kept
    numbers, alike = _by_triples(index, word)
    close = np.sort(numbers[np.argsort(-alike, kind="stable")[:_NEAR]])
    own = short_runs(word)
    runs = index.runs.numbers(own)
    items, lengths = index.word_runs.gathered(close)
    owner = np.arange(len(close)).repeat(lengths)
    short = index.run_length[items] <= LONG
    keys, _ = _distinct(owner[short] * len(index.runs) + items[short])
    owner, items = np.divmod(keys, max(len(index.runs), 1))
    shared = np.bincount(owner, np.isin(items, runs), minlength=len(close))
    dice = 2 * shared / (len(own) + np.bincount(owner, minlength=len(close)))
    found = int(close[dice.argmax()]) if len(close) and dice.max() >= ALIKE else -1
    if len(remembered) < _REMEMBERED:
        remembered[word] = found
    return found


def _found(index: LargeIndex, asked: _Asked, pinned: Sequence[int]) -> Numbers:
    """The entries to be compared in all ways, ascending: at least as many as there are candidates."""
    exact = np.ones(len(asked.terms))
    alike = _SPELT_ALIKE * asked.alike**2
    lists = [
        _read(index.in_texts, index.in_texts_impacts, asked.terms, exact, _READ),
        _read(index.in_answers, index.in_answers_impacts, asked.terms, _IN_ANSWER * exact, _READ // 4),
        _read(index.in_texts, index.in_texts_impacts, asked.similar, alike, _READ // 4),
        _read(index.in_answers, index.in_answers_impacts, asked.similar, _IN_ANSWER * alike, _READ // 8),
    ]
    entries = np.concatenate([each for each, _ in lists])
    values = np.concatenate([each for _, each in lists])
    best, total = _highest(index, entries, values, max(_BEST, min(_COMPARED, _CELLS // max(len(asked.terms), 1))))
    chosen: list[Integers] = [np.array(pinned, dtype=np.int64)]
    if len(best) > _BEST:
        by_words = _word_scores(index, asked, best)
        scores = (by_words.closest, by_words.entry, total)
        chosen += [best[np.argpartition(-score, _BEST)[:_BEST]] for score in scores]
    else:
        chosen.append(best)
    found = np.unique(np.concatenate(chosen)).astype(np.int64)
    least = min(CANDIDATES, index.entry_count)
    if len(found) < least:
        others = np.setdiff1d(np.arange(least), found)
        found = np.sort(np.concatenate([found, others[: least - len(found)]]))
    return found


def _read(
    rows: Rows, impacts: npt.NDArray[np.float16], terms: Numbers, weights: Doubles, budget: int
) -> tuple[Integers, Floats]:
    """The entries that the lists of the terms begin with, and what each of them adds: the short lists as a whole."""
    starts = rows.starts[terms]
    lengths = rows.starts[terms + 1] - starts
    left, taken = budget, lengths.copy()
    for waiting, place in zip(range(len(terms), 0, -1), lengths.argsort(kind="stable").tolist(), strict=True):
        taken[place] = min(int(lengths[place]), left // waiting)
        left -= int(taken[place])
    # Whole slices are read in their order: to gather places takes several times as long.
    parts = [slice(start, start + count) for start, count in zip(starts.tolist(), taken.tolist(), strict=True) if count]
    if not parts:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    entries = np.concatenate([rows.items[part] for part in parts])
    found = np.concatenate([impacts[part] for part in parts])
    return entries, found * weights.astype(np.float32).repeat(taken)


def _highest(index: LargeIndex, entries: Integers, values: Floats, most: int) -> tuple[Numbers, Floats]:
    """The entries with the highest sums of their values, ascending, and the sums."""
    sums = _scratch(index, "sums", index.entry_count, np.float32)
    np.add.at(sums, entries, values)
    reached = sums[entries]
    sums[entries] = 0
    if len(entries) > 8 * most:  # an entry stands there once for each of its terms: eight times is more than enough
        chosen = np.argpartition(-reached, 8 * most)[: 8 * most]
        entries, reached = entries[chosen], reached[chosen]
    found, first = np.unique(entries, return_index=True)
    reached = reached[first]
    if len(found) > most:
        chosen = np.sort(np.argpartition(-reached, most)[:most])
        found, reached = found[chosen], reached[chosen]
    return found.astype(np.int64), reached


def _scratch(index: LargeIndex, name: str, size: int, kind: type[Scalar]) -> npt.NDArray[Scalar]:
    """Zeros, which whoever takes them leaves as zeros: to make them anew takes longer than a question does."""
    kept: npt.NDArray[Scalar] | None = getattr(index.scratch, name, None)
    if kept is None:
        kept = np.zeros(size, dtype=kind)
        setattr(index.scratch, name, kept)
    return kept


def _places_of(index: LargeIndex, name: str, size: int, numbers: Numbers, items: Integers) -> Ints:
    """For each item its place among the numbers, from 1; 0 where it is not among them."""
    lookup = _scratch(index, name, size, np.int32)
    lookup[numbers] = np.arange(1, len(numbers) + 1)
    places: Ints = lookup[items]
    lookup[numbers] = 0
    return places


@dataclass(frozen=True, eq=False)
class _WordScores:
    """BM25 over words of some entries. texts: numbers of their texts, the first of each entry at `firsts`; by_text: of
    each text; closest, entry: of each entry, on its best text and on all of them."""

    texts: Numbers
    firsts: Numbers
    by_text: Doubles
    closest: Doubles
    entry: Doubles

    def best_text(self, place: int) -> int:
        """The number of the text of the entry at that place with the highest score; the first one of equals."""
        first = int(self.firsts[place])
        last = int(self.firsts[place + 1]) if place + 1 < len(self.firsts) else len(self.texts)
        return int(self.texts[first + int(self.by_text[first:last].argmax())])


def _word_scores(index: LargeIndex, asked: _Asked, entries: Numbers) -> _WordScores:
    counts = index.text_counts[entries]
    firsts = np.cumsum(counts) - counts
    texts = ranges(index.first_text[entries], counts)
    occurring, lengths = _term_counts(index, asked, index.texts, texts)
    return _WordScores(
        texts,
        firsts,
        by_text := _term_scores(index, asked, TEXT, occurring, lengths),
        np.maximum.reduceat(by_text, firsts),
        _term_scores(index, asked, ENTRY, np.add.reduceat(occurring, firsts, axis=0), np.add.reduceat(lengths, firsts)),
    )


def _answer_scores(index: LargeIndex, asked: _Asked, entries: Numbers) -> Doubles:
    return _term_scores(index, asked, ANSWER, *_term_counts(index, asked, index.answers, entries))


def _term_counts(index: LargeIndex, asked: _Asked, rows: Rows, chosen: Numbers) -> tuple[Numbers, Numbers]:
    """How often the question's terms occur in some documents (documents, terms), and how many terms each has."""
    items, lengths = rows.gathered(chosen)
    places = _places_of(index, "terms", len(index.terms), asked.terms, items)
    hits = places.nonzero()[0]
    size = len(asked.terms)
    cells = np.arange(len(chosen)).repeat(lengths)[hits] * size + places[hits] - 1
    return np.bincount(cells, minlength=len(chosen) * size).reshape(len(chosen), size), lengths


def _term_scores(index: LargeIndex, asked: _Asked, kind: int, counts: Numbers, lengths: Numbers) -> Doubles:
    size = len(index.texts) if kind == TEXT else index.entry_count
    idf = bm25_idf(index.term_documents[kind, asked.terms], size)
    scores = saturated(counts, lengths[:, None], float(index.average_terms[kind])) @ idf
    return _as_share(scores, idf, asked.unknown, size)


def _run_scores(
    index: LargeIndex, asked: _Asked, entries: Numbers, by_words: _WordScores
) -> tuple[Doubles, Doubles, Doubles]:
    """BM25 over runs of characters: of the texts, of the answer, of both."""
    in_texts, text_lengths = index.texts.gathered(by_words.texts)
    in_answers, answer_lengths = index.answers.gathered(entries)
    items = np.concatenate([in_texts, in_answers])
    text_owner = np.arange(len(entries)).repeat(np.diff(np.append(by_words.firsts, len(by_words.texts))))
    document = np.concatenate([text_owner, len(entries) + np.arange(len(entries))])
    document = document.repeat(np.concatenate([text_lengths, answer_lengths]))
    words = np.unique(items)
    runs, lengths = index.word_runs.gathered(words)
    places = _places_of(index, "runs", len(index.runs), asked.runs, runs)
    hits = places.nonzero()[0]
    held = np.bincount(np.arange(len(words)).repeat(lengths)[hits], minlength=len(words))  # runs of the question
    first = np.cumsum(held) - held
    word = _places_of(index, "terms", len(index.terms), words.astype(np.int64), items) - 1
    run = places[hits][ranges(first[word], held[word])] - 1
    size = len(asked.runs)
    cells = document.repeat(held[word]) * size + run
    counts = np.bincount(cells, minlength=2 * len(entries) * size).reshape(2, len(entries), size)
    all_runs = np.bincount(document, index.long_runs[items], minlength=2 * len(entries)).reshape(2, -1)
    scores = []
    for kind, occurring, length in (
        (ENTRY_RUNS, counts[0], all_runs[0]),
        (ANSWER_RUNS, counts[1], all_runs[1]),
        (WHOLE_RUNS, counts.sum(axis=0), all_runs.sum(axis=0)),
    ):
        idf = bm25_idf(index.run_documents[kind, asked.runs], index.entry_count)
        reached = saturated(occurring, length[:, None], float(index.average_runs[kind])) @ idf
        scores.append(_as_share(reached, idf, asked.unknown_runs, index.entry_count))
    return scores[0], scores[1], scores[2]


def _as_share(scores: Doubles, idf: Doubles, unknown: int, size: int) -> Doubles:
    """BM25 scores as a share of what a document gets that holds every term of the question once.

    unknown: terms of the question that no document of any kind holds; size: documents there are.
    """
    rarest = math.log1p((size + 0.5) / 0.5)
    possible = float(np.where(idf > 0, idf, rarest).sum()) + unknown * rarest
    shares: Doubles = scores / max(possible, 1e-6)
    return shares


def _compared(index: LargeIndex, asked: _Asked, texts: Numbers) -> Compared:
    """The question beside some texts."""
    items, lengths = index.texts.gathered(texts)
    owner = np.arange(len(texts)).repeat(lengths)
    is_word = index.term_is_word[items] > 0
    words, owner = items[is_word].astype(np.int64), owner[is_word]
    text_of, keys, values = _words_and_pairs(index, words, owner)
    word_cosine = _cosines((text_of, keys, values), (asked.word_keys, asked.word_values), len(texts))
    single = keys < len(index.terms)
    idf = _smooth_idf(index, index.seen[keys[single]])
    is_shared = places_in(asked.word_keys, keys[single]) >= 0
    text_weight = np.bincount(text_of[single], idf, len(texts))
    shared = np.bincount(text_of[single], idf * is_shared, len(texts))
    runs, lengths = index.word_runs.gathered(words)
    keys, counts = _distinct(owner.repeat(lengths) * len(index.runs) + runs)
    text_of, keys = np.divmod(keys, len(index.runs))
    values = (1 + np.log(counts)) * _smooth_idf(index, index.run_documents[SEEN_RUNS, keys])
    gram_cosine = _cosines((text_of, keys, values), (asked.gram_keys, asked.gram_values), len(texts))
    return Compared(
        word_cosine[None],
        gram_cosine[None],
        (shared / asked.weight)[None],
        (shared / text_weight)[None],
        np.array([[asked.known_weight / asked.weight]]),
        np.array([[math.log1p(asked.length)]]),
    )


def _cosines(texts: tuple[Numbers, Numbers, Doubles], asked: tuple[Numbers, Doubles], count: int) -> Floats:
    """Of the question, of length 1, with each of `count` texts, given as text, key and value of all there is."""
    text_of, keys, values = texts
    places = places_in(asked[0], keys)
    shared = (places >= 0).nonzero()[0]
    products = np.bincount(text_of[shared], values[shared] * asked[1][places[shared]], count)
    cosines: Floats = (products / np.sqrt(np.bincount(text_of, values * values, count))).astype(np.float32)
    return cosines
