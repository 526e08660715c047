"""Measures of a version: by hand where one can count, and against those of the scoring service."""

import random
from itertools import pairwise

import numpy as np
import pytest

from scoring_service.faq import evaluation
from webapp.registry import metrics


def random_outcomes(seed: int, *, inputs: int = 400, deepest: int = 100) -> evaluation.Outcome:
    """Ranks (0: no entry answers it) and probabilities, some of them equal or on the edge of a bin."""
    chance = np.random.default_rng(seed)
    ranks = chance.integers(0, deepest + 1, inputs)
    ranks[chance.random(inputs) < 0.6] = 1
    probabilities = chance.random(inputs).round(2)
    probabilities[:3] = 0.0, 0.3, 1.0
    return evaluation.Outcome(ranks, probabilities)


@pytest.mark.parametrize("seed", range(5))
def test_measures_agree_with_those_of_the_scoring_service(seed):
    outcome = random_outcomes(seed)
    theirs = evaluation.metrics_of(outcome)
    answerable = outcome.answerable
    ranks = outcome.rank[answerable].tolist()
    probabilities = outcome.probability[answerable].tolist()
    right = [rank == 1 for rank in ranks]
    bins = metrics.reliability(probabilities, right)
    for k in (1, 3, 5, 10):
        assert metrics.accuracy_at(k, ranks) == pytest.approx(theirs[f"accuracy_at_{k}"], abs=1e-12)
    assert metrics.mean_reciprocal_rank(ranks) == pytest.approx(theirs["mrr"], abs=1e-12)
    assert metrics.calibration_error(bins) == pytest.approx(theirs["ece"], abs=1e-12)
    assert metrics.brier(probabilities, right) == pytest.approx(theirs["brier"], abs=1e-12)
    auroc = metrics.auroc(outcome.probability.tolist(), answerable.tolist())
    assert auroc == pytest.approx(theirs["no_answer_auroc"], abs=1e-12)
    for ours, other in zip(bins, theirs["reliability"], strict=True):
        assert (ours.start, ours.count) == (other["from"], other["questions"])
        assert ours.probability == pytest.approx(other["probability"], abs=1e-12)
        assert ours.accuracy == pytest.approx(other["accuracy"], abs=1e-12)


def test_an_answer_that_is_not_there_counts_nothing():
    assert metrics.accuracy_at(5, [1, None, 5, 6]) == 0.5
    assert metrics.mean_reciprocal_rank([1, None, 2, 4]) == (1 + 0.5 + 0.25) / 4


def test_without_inputs_nothing_is_measured():
    assert metrics.accuracy_at(1, []) is None
    assert metrics.mean_reciprocal_rank([]) is None
    assert metrics.reliability([], []) == []
    assert metrics.calibration_error([]) is None
    assert metrics.brier([], []) is None
    assert metrics.percentile([], 0.5) is None
    assert metrics.histograms([], []) == [[], []]


def test_telling_apart_needs_both_kinds():
    assert metrics.auroc([0.1, 0.2], [True, True]) is None
    assert metrics.auroc([0.1, 0.2], [False, False]) is None


def test_equal_scores_tell_nothing_apart():
    assert metrics.auroc([0.5, 0.5, 0.5], [True, False, True]) == 0.5
    assert metrics.auroc([0.2, 0.9], [False, True]) == 1.0
    assert metrics.auroc([0.9, 0.2], [False, True]) == 0.0


@pytest.mark.parametrize("share", [0, 0.5, 0.95, 0.99, 1])
def test_percentiles_are_those_of_numpy(share):
    chance = random.Random(7)
    samples = [chance.expovariate(1) for _ in range(137)]
    assert metrics.percentile(samples, share) == pytest.approx(np.percentile(samples, share * 100))


def test_histograms_share_their_bars_and_lose_no_sample():
    quick, slow = [1.0 + number / 100 for number in range(100)], [3.0] * 40 + [500.0]
    first, second = metrics.histograms(quick, slow)
    assert [(bar.start, bar.end) for bar in first] == [(bar.start, bar.end) for bar in second]
    assert sum(bar.count for bar in first) == 100
    assert sum(bar.count for bar in second) == 41
    assert first[-1].end < 10, "one straggler does not stretch the scale"
    assert all(left.end == right.start for left, right in pairwise(first))


@pytest.mark.parametrize("samples", [[0.0], [2.0, 2.0], [0.001, 0.002], [1e6, 3e6]])
def test_any_samples_make_a_histogram(samples):
    [bars] = metrics.histograms(samples)
    assert sum(bar.count for bar in bars) == len(samples)
    assert bars[0].start <= min(samples)


@pytest.mark.parametrize(
    ("won", "lost", "chance"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 5, 2 / 32), (5, 0, 2 / 32), (2, 8, 2 * (1 + 10 + 45) / 1024), (3, 4, 1.0)],
)
def test_how_likely_a_split_is_by_chance(won, lost, chance):
    assert metrics.chance_of_split(won, lost) == pytest.approx(chance)


def test_a_split_of_many_inputs_is_counted_exactly():
    assert metrics.chance_of_split(20_000, 20_000) == 1.0
    assert 0 < metrics.chance_of_split(9_800, 10_200) < 0.01
