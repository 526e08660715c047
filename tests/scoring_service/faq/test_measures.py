"""The measures themselves, on outcomes whose values can be worked out by hand, and held against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from scoring_service.faq.evaluation import Outcome, auroc, best_threshold, metrics_of
from scoring_service.faq.reranker import fit_logistic, sigmoid


def outcome(*pairs):
    return Outcome(
        np.array([rank for rank, _ in pairs]), np.array([probability for _, probability in pairs], dtype=float)
    )


def test_ranks_and_calibration_of_a_small_outcome():
    metrics = metrics_of(outcome((1, 0.9), (1, 0.9), (2, 0.9), (4, 0.1), (0, 0.2)))
    assert (metrics["questions"], metrics["unanswerable_questions"]) == (4, 1)
    assert [metrics[f"accuracy_at_{k}"] for k in (1, 3, 5, 10)] == [0.5, 0.75, 1.0, 1.0]
    assert metrics["mrr"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 4) / 4)
    assert metrics["mean_rank"] == 2
    assert metrics["ece"] == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.1)
    assert metrics["brier"] == pytest.approx(brier_score_loss([1, 1, 0, 0], [0.9, 0.9, 0.9, 0.1]))
    assert metrics["no_answer_auroc"] == pytest.approx(3 / 4)
    assert [(each["from"], each["questions"]) for each in metrics["reliability"]] == [(0.1, 1), (0.9, 3)]


def test_what_cannot_be_measured_is_none():
    nothing = metrics_of(outcome())
    assert all(
        nothing[name] is None for name in ("accuracy_at_1", "mrr", "mean_rank", "ece", "brier", "no_answer_auroc")
    )
    assert metrics_of(outcome((1, 0.5)))["no_answer_auroc"] is None
    assert metrics_of(outcome((0, 0.5)))["accuracy_at_1"] is None


def test_auroc_is_scikit_learns_equal_scores_included():
    random = np.random.default_rng(0)
    score, positive = random.integers(0, 10, 200) / 10, random.random(200) < 0.3
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))


def test_the_threshold_shows_right_answers_and_hides_the_others():
    found = outcome((1, 0.9), (1, 0.8), (1, 0.6), (0, 0.5), (3, 0.4), (0, 0.1))
    assert best_threshold(found, np.ones(6)) == 0.6
    assert best_threshold(outcome((2, 0.9), (0, 0.8)), np.ones(2)) is None


def test_weights_stay_with_the_general_ones_until_questions_move_them():
    general = np.array([1.0, -2.0])
    none = fit_logistic(np.zeros((0, 2)), np.zeros(0, bool), np.zeros(0), general, 4.0)
    assert none == pytest.approx(general)
    columns = np.array([[1.0, 1.0], [-1.0, 1.0]] * 50)
    moved = fit_logistic(columns, columns[:, 0] > 0, np.ones(100), general, 4.0)
    assert moved[0] > 1.5
    gradient = columns.T @ (sigmoid(columns @ moved) - (columns[:, 0] > 0)) + 4 * (moved - general)
    assert gradient == pytest.approx([0, 0], abs=1e-4)
