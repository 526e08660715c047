"""From a collection of entries to a matcher: index, re-ranker, calibration and threshold.

The re-ranker learns from questions that the index does not know. In each of five rounds a fifth of the phrasings is
held out, and a fifth of the entries is hidden altogether, so that their phrasings are questions without an answer. Each
round builds its index anew from what is left: the words that only a held-out question has are unknown to it, as those
of a new question will be. A large collection has questions enough in two rounds.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from itertools import chain

import msgspec
import numpy as np
import numpy.typing as npt

from scoring_service.faq import text
from scoring_service.faq.corpus import Corpus
from scoring_service.faq.entries import Collection, Entry
from scoring_service.faq.evaluation import Asked, Outcome, best_threshold
from scoring_service.faq.index import EntryWords, Index
from scoring_service.faq.large import LargeIndex
from scoring_service.faq.reranker import Logistic, Reranker, Trees, fit_logistic
from scoring_service.faq.searching import AnyIndex, candidates_of
from scoring_service.faq.sparse import Doubles, Floats
from scoring_service.faq.vocabulary import Words

FOLDS = 5
LARGE = 20_000  # entries, from which on two rounds hold out as many questions as five would
PRUNED_FROM = 20_000  # entries, from which on a question is compared with some of them only
BATCH = 128

# What questions without an answer weigh of all questions: in learning, where more of them tell them apart better; in
# choosing the threshold; and in calibrating, the share of such questions that visitors are taken to ask.
UNANSWERABLE_LEARNT = 0.5
UNANSWERABLE_THRESHOLD = 0.15
UNANSWERABLE_SHARE = 0.05

DEFAULT_THRESHOLD = 0.4  # of a collection that has nothing to choose one by
_BARE_SHARE = 0.25  # of the entries with phrasings play one without, when there are such
_MOST_QUESTIONS = 6_000  # that the re-ranker learns from
_LEAST_QUESTIONS = 10  # below, nothing is learnt beyond the general weights
_LEAST_FOR_TREES = 5_500  # below, trees were not worth their time in cross-validation
_LOGISTIC_STRENGTH = 4.0
_PLATT_STRENGTH = 4.0
_TREE_COUNT, _TREE_DEPTH = 80, 4

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """n questions as an index saw them that did not know them.

    texts: the questions as written. source: number of the entry each was taken from, also where that was hidden; -1 for
    a question that none answers, (n,). candidates: numbers of the entries found, (n, k).
    fold: round, (n,); target: place of the right entry among the candidates, -1 when it is not there, (n,).
    rank: its place in the order before re-ranking, from 1, and 0 for a question without an answer, (n,).
    features: (n, k, columns), rounds with fewer candidates filled up with rows of NaN.
    """

    texts: Sequence[str]
    source: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]
    features: Floats

    @property
    def answerable(self) -> npt.NDArray[np.bool_]:
        return self.rank > 0


@dataclass(frozen=True, eq=False)
class Trained:
    """outcome: of the held-out questions, each scored by a re-ranker that did not learn from it; None when there are
    too few to learn from. asked: the same questions one by one."""

    index: AnyIndex
    reranker: Reranker
    threshold: float
    outcome: Outcome | None
    asked: Sequence[Asked]


def train(
    collection: Collection, *, seed: int, pruned_from: int = PRUNED_FROM, progress: Progress = lambda _: None
) -> Trained:
    """A matcher for the collection. The same collection and seed give the same matcher.

    pruned_from: entries, from which on a question is compared with some of them only.
    """
    # Imported here: a pod that only scores needs no scikit-learn in memory.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the threads of such small tasks mostly wait for each other
        return _train(collection, seed=seed, pruned_from=pruned_from, progress=progress)


def _train(collection: Collection, *, seed: int, pruned_from: int, progress: Progress) -> Trained:
    entries = [_Prepared.of(entry) for entry in collection.entries]
    progress(f"{len(entries)} entries with {sum(len(entry.phrasings) for entry in entries)} phrasings")
    unanswerable = [_Question(each, text.words(each)) for each in collection.unanswerable]
    corpus = None
    if len(entries) >= pruned_from:
        whole = (entry.with_phrasings(entry.phrasings) for entry in entries)
        corpus = Corpus.of((each.texts, each.answer) for each in whole)
    held_out = hold_out(entries, unanswerable, corpus, seed=seed, progress=progress)
    reranker = Reranker(general_logistic(), None)
    outcome = None
    asked: Sequence[Asked] = ()
    threshold = DEFAULT_THRESHOLD
    if held_out is not None:
        progress(f"learning to rank from {len(held_out.fold)} held-out questions")
        reranker, outcome, first = fit(held_out, seed=seed)
        asked = _one_by_one(held_out, outcome, first, [entry.id for entry in collection.entries])
        weight = _weights(held_out.answerable, UNANSWERABLE_THRESHOLD)
        threshold = best_threshold(outcome, weight) or DEFAULT_THRESHOLD
    progress("building the index of all entries")
    everything = [range(len(entry.phrasings)) for entry in entries]
    index = _index_of(entries, corpus, range(len(entries)), everything, seed=seed)
    return Trained(index, reranker, round(threshold, 3), outcome, asked)


def _one_by_one(held_out: HeldOut, outcome: Outcome, first: npt.NDArray[np.int64], names: Sequence[str]) -> list[Asked]:
    """first: place of the best candidate of each question, (n,); names: ids of the entries by their number."""
    best = held_out.candidates[np.arange(len(first)), first].tolist()
    rows = zip(held_out.texts, held_out.source.tolist(), held_out.answerable.tolist(), strict=True)
    return [
        Asked(
            question=question,
            expected=None if source < 0 else names[source],
            hidden=source >= 0 and not answerable,
            first=names[number],
            probability=round(float(probability), 4),
        )
        for (question, source, answerable), number, probability in zip(
            rows, best, outcome.probability.tolist(), strict=True
        )
    ]


@dataclass(frozen=True)
class _Question:
    """A question as written, and as words."""

    written: str
    words: Words


@dataclass(frozen=True)
class _Prepared:
    """An entry as words."""

    question: _Question
    phrasings: Sequence[_Question]
    tags: Words
    answer: Words

    @classmethod
    def of(cls, entry: Entry) -> "_Prepared":
        return cls(
            _Question(entry.question, _kept(text.words(entry.question))),
            [_Question(each, _kept(text.words(each))) for each in entry.phrasings],
            list(chain.from_iterable(text.words(tag) for tag in entry.tags)),
            _kept(text.words(entry.answer, keep_code=True)),
        )

    def with_phrasings(self, phrasings: Sequence[_Question]) -> EntryWords:
        texts = [each.words for each in (self.question, *phrasings)]
        return EntryWords(texts, [*self.answer, *self.tags])


def _kept(words: Words) -> Words:
    """The words, each of them in memory once however many texts have it."""
    return list(map(sys.intern, words))


def _index_of(
    entries: Sequence[_Prepared],
    corpus: Corpus | None,
    numbers: Sequence[int],
    known: Sequence[Sequence[int]],
    *,
    seed: int,
) -> AnyIndex:
    """An index of some of the entries, each with some of its phrasings, both by their places, ascending.

    corpus: of all entries, where a question is to be compared with some of them only.
    """
    if corpus is None:
        chosen = ((entries[number], places) for number, places in zip(numbers, known, strict=True))
        return Index.build(
            [each.with_phrasings([each.phrasings[at] for at in places]) for each, places in chosen], seed=seed
        )
    first = corpus.first_text.tolist()
    texts = [
        first[number] + at
        for number, places in zip(numbers, known, strict=True)
        for at in (0, *(1 + place for place in places))
    ]
    return LargeIndex.build(corpus.chosen(np.array(numbers), np.array(texts)), seed=seed)


def hold_out(
    entries: Sequence[_Prepared],
    unanswerable: Sequence[_Question],
    corpus: Corpus | None = None,
    *,
    seed: int,
    progress: Progress,
) -> HeldOut | None:
    """The held-out questions of all rounds; None when there are too few for anything to be learnt.

    corpus: as `_index_of` has it.
    """
    random = np.random.default_rng(seed)
    size = len(entries)
    phrasings = sum(len(entry.phrasings) for entry in entries)
    if size < FOLDS or phrasings < _LEAST_QUESTIONS:
        return None
    rounds_count = FOLDS if size < LARGE else 2
    kept = min(1.0, _MOST_QUESTIONS * FOLDS / (phrasings * rounds_count))
    hidden_in = random.permutation(size) % FOLDS
    # A question of an entry with phrasings is never held out: people's questions look like phrasings.
    fold_of = [(random.permutation(max(len(entry.phrasings), FOLDS)) % FOLDS) for entry in entries]
    bare_share = _BARE_SHARE if any(not entry.phrasings for entry in entries) else 0.0
    rounds = []
    for fold in range(rounds_count):
        progress(f"round {fold + 1} of {rounds_count}: holding out questions")
        bare = random.random(size) < bare_share
        numbers: list[int] = []  # of the visible entries
        visible: list[list[int]] = []  # their phrasings that are not held out
        questions: list[_Question] = []
        answers: list[int] = []
        sources: list[int] = []
        for number, entry in enumerate(entries):
            held = (fold_of[number][: len(entry.phrasings)] == fold).tolist()
            asked = [each for each, out in zip(entry.phrasings, held, strict=True) if out and random.random() < kept]
            hidden = hidden_in[number] == fold
            if hidden and not entry.phrasings:
                asked = [entry.question]
            questions += asked
            answers += [-1 if hidden else len(numbers)] * len(asked)
            sources += [number] * len(asked)
            if not hidden:
                numbers.append(number)
                visible.append([] if bare[number] else [place for place, out in enumerate(held) if not out])
        for each in unanswerable[fold::rounds_count]:
            questions.append(each)
            answers.append(-1)
            sources.append(-1)
        if questions:
            index = _index_of(entries, corpus, numbers, visible, seed=seed)
            come_from = {"sources": np.array(sources), "numbers": np.array(numbers)}
            rounds.append(_seen_by(index, questions, np.array(answers), **come_from, fold=fold))
    together = _concatenated(rounds)
    return together if together.answerable.sum() >= _LEAST_QUESTIONS else None


def fit(held_out: HeldOut, *, seed: int) -> tuple[Reranker, Outcome, npt.NDArray[np.int64]]:
    """A re-ranker of the held-out questions, what they look like to re-rankers that did not learn from them, and the
    place of the candidate that these put first, (n,).
    """
    folds = np.unique(held_out.fold)
    learnt_from = [np.ones(len(held_out.fold), dtype=bool), *(held_out.fold != fold for fold in folds)]
    # Each learns on one core; together they use those there are.
    with ThreadPoolExecutor(min(len(learnt_from), os.cpu_count() or 1)) as threads:
        reranker, *partials = threads.map(lambda chosen: _learnt(held_out, chosen, seed=seed), learnt_from)
    log_odds = np.full(held_out.features.shape[:2], -np.inf)
    for fold, partial in zip(folds, partials, strict=True):
        inside = held_out.fold == fold
        features = held_out.features[inside]
        real = ~np.isnan(features[:, :, 0])
        part = np.full(real.shape, -np.inf)
        part[real] = partial.log_odds(features[real])
        log_odds[inside] = part

    first, best = log_odds.argmax(axis=1), log_odds.max(axis=1)
    weight = _weights(held_out.answerable, UNANSWERABLE_SHARE)
    columns = np.stack([best, np.ones_like(best)], axis=1)
    slope, intercept = fit_logistic(columns, first == held_out.target, weight, np.array([1.0, 0.0]), _PLATT_STRENGTH)
    reranker = replace(reranker, slope=max(float(slope), 0.05), intercept=float(intercept))
    rows = np.arange(len(first))
    inside_rank = 1 + (log_odds > log_odds[rows, held_out.target][:, None]).sum(axis=1)
    rank = np.where(held_out.target >= 0, inside_rank, held_out.rank)
    return reranker, Outcome(rank, reranker.calibrated(best)), first


def general_logistic() -> Logistic:
    """Weights that hold for FAQs in general; bench/faq_prior.py learns them from the sample FAQ."""
    content = resources.files("scoring_service.faq").joinpath("prior.json").read_bytes()
    return Logistic.from_json(msgspec.json.decode(content))


def _seen_by(
    index: AnyIndex,
    questions: Sequence[_Question],
    answers: npt.NDArray[np.int64],
    *,
    sources: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    fold: int,
) -> HeldOut:
    """answers: the right entry of each question by its number in the index, -1 for none; sources: as HeldOut has it;
    numbers: of the index's entries in the collection.
    """
    parts = []
    for start in range(0, len(questions), BATCH):
        some = questions[start : start + BATCH]
        answer, source = answers[start : start + BATCH], sources[start : start + BATCH]
        found = candidates_of(index, [each.words for each in some])
        is_right = found.entries == answer[:, None]
        target = np.where(is_right.any(axis=1), is_right.argmax(axis=1), -1)
        rank = np.zeros(len(answer), dtype=np.int64)
        for row in (answer >= 0).nonzero()[0].tolist():
            fused = found.fused(row)
            rank[row] = 1 + (fused > fused[answer[row]]).sum()
        texts = [each.written for each in some]
        folds = np.full(len(answer), fold)
        parts.append(HeldOut(texts, source, numbers[found.entries], folds, target, rank, found.features))
    return _concatenated(parts)


def _concatenated(parts: Sequence[HeldOut]) -> HeldOut:
    most = max(part.features.shape[1] for part in parts)
    padded = [
        np.pad(part.features, ((0, 0), (0, most - part.features.shape[1]), (0, 0)), constant_values=np.nan)
        for part in parts
    ]
    candidates = [
        np.pad(part.candidates, ((0, 0), (0, most - part.candidates.shape[1])), constant_values=-1) for part in parts
    ]
    return HeldOut(
        list(chain.from_iterable(part.texts for part in parts)),
        np.concatenate([part.source for part in parts]),
        np.concatenate(candidates),
        np.concatenate([part.fold for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.rank for part in parts]),
        np.concatenate(padded),
    )


def _weights(answerable: npt.NDArray[np.bool_], share: float) -> Doubles:
    """A weight for each question: 1 when it has an answer; the others together are `share` of all."""
    without = int((~answerable).sum())
    each = share / (1 - share) * answerable.sum() / without if without else 0.0
    return np.where(answerable, 1.0, each)


def _learnt(held_out: HeldOut, chosen: npt.NDArray[np.bool_], *, seed: int) -> Reranker:
    """A re-ranker, not yet calibrated, that learnt from the chosen questions."""
    features = held_out.features[chosen]
    hits = np.arange(features.shape[1]) == held_out.target[chosen][:, None]
    weight = np.broadcast_to(_weights(held_out.answerable[chosen], UNANSWERABLE_LEARNT)[:, None], hits.shape)
    real = ~np.isnan(features[:, :, 0])
    rows, hits, weight = features[real], hits[real], weight[real]
    general = general_logistic()
    columns = np.column_stack([(rows - general.centre) / general.scale, np.ones(len(rows))])
    prior = np.append(general.weights, general.bias)
    weights = fit_logistic(columns, hits, weight, prior, _LOGISTIC_STRENGTH)
    logistic = replace(general, weights=weights[:-1], bias=float(weights[-1]))
    grows = len(held_out.fold) >= _LEAST_FOR_TREES
    return Reranker(logistic, _grown(rows, hits, weight, seed=seed) if grows else None)


def _grown(rows: Floats, hits: npt.NDArray[np.bool_], weight: Doubles, *, seed: int) -> Trees:
    # Imported here: a pod that only scores needs no scikit-learn in memory.
    from sklearn.ensemble import HistGradientBoostingClassifier

    booster = HistGradientBoostingClassifier(
        max_iter=_TREE_COUNT,
        learning_rate=0.1,
        max_depth=_TREE_DEPTH,
        max_leaf_nodes=None,
        max_bins=63,  # with weights, scikit-learn looks for each bin's edge alone: more bins cost more than the trees
        min_samples_leaf=20,
        l2_regularization=5.0,
        early_stopping=False,
        random_state=seed,
    )
    return Trees.from_booster(booster.fit(rows, hits, sample_weight=weight), _TREE_DEPTH)
