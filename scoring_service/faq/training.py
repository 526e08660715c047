"""From a collection of entries to a matcher: index, re-ranker, calibration and threshold.

The re-ranker learns from questions that the index does not know. In each of five rounds a fifth of the phrasings is
held out, and a fifth of the entries is hidden altogether, so that their phrasings are questions without an answer. Each
round builds its index anew from what is left: the words that only a held-out question has are unknown to it, as those
of a new question will be.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from itertools import chain

import msgspec
import numpy as np
import numpy.typing as npt

from scoring_service.faq import text
from scoring_service.faq.entries import Collection, Entry
from scoring_service.faq.evaluation import Outcome, best_threshold
from scoring_service.faq.features import candidates_of
from scoring_service.faq.index import EntryWords, Index
from scoring_service.faq.reranker import Logistic, Reranker, Trees, fit_logistic
from scoring_service.faq.sparse import Doubles, Floats
from scoring_service.faq.vocabulary import Words

FOLDS = 5
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

    fold: round, (n,); target: place of the right entry among the candidates, -1 when it is not there, (n,).
    rank: its place in the order before re-ranking, from 1, and 0 for a question without an answer, (n,).
    features: (n, k, columns), rounds with fewer candidates filled up with rows of NaN.
    """

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
    too few to learn from."""

    index: Index
    reranker: Reranker
    threshold: float
    outcome: Outcome | None


def train(collection: Collection, *, seed: int, progress: Progress = lambda _: None) -> Trained:
    """A matcher for the collection. The same collection and seed give the same matcher."""
    # Imported here: a pod that only scores needs no scikit-learn in memory.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the threads of such small tasks mostly wait for each other
        return _train(collection, seed=seed, progress=progress)


def _train(collection: Collection, *, seed: int, progress: Progress) -> Trained:
    entries = [_Prepared.of(entry) for entry in collection.entries]
    progress(f"{len(entries)} entries with {sum(len(entry.phrasings) for entry in entries)} phrasings")
    unanswerable = [text.words(each) for each in collection.unanswerable]
    held_out = hold_out(entries, unanswerable, seed=seed, progress=progress)
    reranker = Reranker(general_logistic(), None)
    outcome = None
    threshold = DEFAULT_THRESHOLD
    if held_out is not None:
        progress(f"learning to rank from {len(held_out.fold)} held-out questions")
        reranker, outcome = fit(held_out, seed=seed)
        weight = _weights(held_out.answerable, UNANSWERABLE_THRESHOLD)
        threshold = best_threshold(outcome, weight) or DEFAULT_THRESHOLD
    progress("building the index of all entries")
    index = Index.build([entry.with_phrasings(entry.phrasings) for entry in entries], seed=seed)
    return Trained(index, reranker, round(threshold, 3), outcome)


@dataclass(frozen=True)
class _Prepared:
    """An entry as words."""

    question: Words
    phrasings: Sequence[Words]
    tags: Words
    answer: Words

    @classmethod
    def of(cls, entry: Entry) -> "_Prepared":
        return cls(
            text.words(entry.question),
            [text.words(each) for each in entry.phrasings],
            list(chain.from_iterable(text.words(tag) for tag in entry.tags)),
            text.words(entry.answer, keep_code=True),
        )

    def with_phrasings(self, phrasings: Sequence[Words]) -> EntryWords:
        return EntryWords([self.question, *phrasings], [*self.answer, *self.tags])


def hold_out(
    entries: Sequence[_Prepared], unanswerable: Sequence[Words], *, seed: int, progress: Progress
) -> HeldOut | None:
    """The held-out questions of all rounds; None when there are too few for anything to be learnt."""
    random = np.random.default_rng(seed)
    size = len(entries)
    phrasings = sum(len(entry.phrasings) for entry in entries)
    if size < FOLDS or phrasings < _LEAST_QUESTIONS:
        return None
    kept = min(1.0, _MOST_QUESTIONS / phrasings)
    hidden_in = random.permutation(size) % FOLDS
    # A question of an entry with phrasings is never held out: people's questions look like phrasings.
    fold_of = [(random.permutation(max(len(entry.phrasings), FOLDS)) % FOLDS) for entry in entries]
    bare_share = _BARE_SHARE if any(not entry.phrasings for entry in entries) else 0.0
    rounds = []
    for fold in range(FOLDS):
        progress(f"round {fold + 1} of {FOLDS}: holding out questions")
        bare = random.random(size) < bare_share
        visible: list[EntryWords] = []
        questions: list[Words] = []
        answers: list[int] = []
        for number, entry in enumerate(entries):
            held = fold_of[number][: len(entry.phrasings)] == fold
            asked = [each for each, out in zip(entry.phrasings, held, strict=True) if out and random.random() < kept]
            hidden = hidden_in[number] == fold
            if hidden and not entry.phrasings:
                asked = [entry.question]
            questions += asked
            answers += [-1 if hidden else len(visible)] * len(asked)
            if not hidden:
                known = [each for each, out in zip(entry.phrasings, held, strict=True) if not out]
                visible.append(entry.with_phrasings([] if bare[number] else known))
        for each in unanswerable[fold::FOLDS]:
            questions.append(each)
            answers.append(-1)
        if questions:
            rounds.append(_seen_by(Index.build(visible, seed=seed), questions, np.array(answers), fold))
    together = _concatenated(rounds)
    return together if together.answerable.sum() >= _LEAST_QUESTIONS else None


def fit(held_out: HeldOut, *, seed: int) -> tuple[Reranker, Outcome]:
    """A re-ranker of the held-out questions, and what they look like to re-rankers that did not learn from them."""
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
    return reranker, Outcome(rank, reranker.calibrated(best))


def general_logistic() -> Logistic:
    """Weights that hold for FAQs in general; bench/faq_prior.py learns them from the sample FAQ."""
    content = resources.files("scoring_service.faq").joinpath("prior.json").read_bytes()
    return Logistic.from_json(msgspec.json.decode(content))


def _seen_by(index: Index, questions: Sequence[Words], answers: npt.NDArray[np.int64], fold: int) -> HeldOut:
    parts = []
    for start in range(0, len(questions), BATCH):
        answer = answers[start : start + BATCH]
        found = candidates_of(index, questions[start : start + BATCH])
        is_right = found.entries == answer[:, None]
        target = np.where(is_right.any(axis=1), is_right.argmax(axis=1), -1)
        fused = np.stack([found.fused(row) for row in range(len(answer))])
        own = fused[np.arange(len(answer)), answer][:, None]
        rank = np.where(answer >= 0, 1 + (fused > own).sum(axis=1), 0)
        parts.append(HeldOut(np.full(len(answer), fold), target, rank, found.features))
    return _concatenated(parts)


def _concatenated(parts: Sequence[HeldOut]) -> HeldOut:
    most = max(part.features.shape[1] for part in parts)
    padded = [
        np.pad(part.features, ((0, 0), (0, most - part.features.shape[1]), (0, 0)), constant_values=np.nan)
        for part in parts
    ]
    return HeldOut(
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
