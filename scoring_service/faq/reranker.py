"""From the features of a candidate to the probability that the question is a duplicate of it.

A logistic regression and boosted trees each give log-odds; their mean goes through Platt scaling (J. Platt:
Probabilistic Outputs for Support Vector Machines, 1999). The logistic regression starts from weights that hold for FAQs
in general and moves away from them only as far as a collection's own questions carry it, so that a collection without
any phrasing has sensible probabilities too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring_service.faq.features import FEATURES
from scoring_service.faq.sparse import Doubles, Floats, Ints

_NEWTON_STEPS = 50
_TOLERANCE = 1e-8
_ROWS_AT_ONCE = 4_096  # bounds the memory that walking the trees takes


@dataclass(frozen=True, eq=False)
class Logistic:
    """Log-odds = bias + weights · (features - centre) / scale."""

    centre: Doubles
    scale: Doubles
    weights: Doubles
    bias: float

    def log_odds(self, features: Floats) -> Doubles:
        """For features (rows, columns): (rows,)."""
        result: Doubles = (features - self.centre) / self.scale @ self.weights + self.bias
        return result

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Logistic":
        columns = value["columns"]
        rows = np.array([columns[name] for name in FEATURES], dtype=np.float64)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2], float(value["bias"]))

    def to_json(self) -> dict[str, Any]:
        rows = np.stack([self.centre, self.scale, self.weights], axis=1).tolist()
        return {"bias": self.bias, "columns": dict(zip(FEATURES, rows, strict=True))}


@dataclass(frozen=True, eq=False)
class Trees:
    """Binary trees of equal depth d, each as a complete tree: node n has the children 2n + 1 and 2n + 2.

    feature, threshold: (trees, 2^d - 1); a row goes to the second child when its feature is above the threshold.
    leaf: log-odds added, (trees, 2^d). base: log-odds before the first tree.
    """

    feature: Ints
    threshold: Doubles
    leaf: Doubles
    base: float

    def log_odds(self, features: Floats) -> Doubles:
        """For features (rows, columns): (rows,)."""
        blocks = range(0, len(features), _ROWS_AT_ONCE)
        return np.concatenate([self._walk(features[start : start + _ROWS_AT_ONCE]) for start in blocks])

    def _walk(self, features: Floats) -> Doubles:
        trees, inner = self.feature.shape
        rows = np.arange(len(features))[:, None] * features.shape[1]
        flat = features.ravel()
        first = np.arange(trees) * inner
        node = np.zeros((len(features), trees), dtype=np.int64)
        for _ in range(inner.bit_length()):
            at = node + first
            node = 2 * node + 1 + (flat[rows + self.feature.ravel()[at]] > self.threshold.ravel()[at])
        leaves = self.leaf.ravel()[node - inner + np.arange(trees) * (inner + 1)]
        result: Doubles = leaves.sum(axis=1) + self.base
        return result

    @classmethod
    def from_booster(cls, booster: Any, depth: int) -> "Trees":
        """The trees of a fitted HistGradientBoostingClassifier of two classes, none deeper than `depth`.

        scikit-learn shows them in private attributes only; tests hold the copy against the original's own answers.
        """
        inner = 2**depth - 1
        count = len(booster._predictors)
        feature = np.zeros((count, inner), dtype=np.int32)
        threshold = np.full((count, inner), np.inf)  # filler nodes send every row to their first child
        leaf = np.zeros((count, inner + 1))
        for number, (predictor,) in enumerate(booster._predictors):
            nodes = predictor.nodes
            pending = [(0, 0)]
            while pending:
                source, place = pending.pop()
                node = nodes[source]
                if node["is_leaf"]:
                    while place < inner:
                        place = 2 * place + 1
                    leaf[number, place - inner] = node["value"]
                else:
                    feature[number, place], threshold[number, place] = node["feature_idx"], node["num_threshold"]
                    pending += [(node["left"], 2 * place + 1), (node["right"], 2 * place + 2)]
        return cls(feature, threshold, leaf, float(booster._baseline_prediction.item()))


@dataclass(frozen=True, eq=False)
class Reranker:
    """trees: None where there was too little to grow them on. slope, intercept: Platt's."""

    logistic: Logistic
    trees: Trees | None
    slope: float = 1.0
    intercept: float = 0.0

    def log_odds(self, features: Floats) -> Doubles:
        """Before Platt scaling. For features (rows, columns): (rows,)."""
        linear = self.logistic.log_odds(features)
        return linear if self.trees is None else (linear + self.trees.log_odds(features)) / 2

    def probabilities(self, features: Floats) -> Doubles:
        """For the candidates' features (n, k, columns): (n, k), between 0 and 1."""
        flat = self.log_odds(features.reshape(-1, features.shape[-1]))
        return self.calibrated(flat).reshape(features.shape[:2])

    def calibrated(self, log_odds: Doubles) -> Doubles:
        """Probabilities for log-odds of any shape."""
        return sigmoid(self.slope * log_odds + self.intercept)


def sigmoid(log_odds: Doubles) -> Doubles:
    result: Doubles = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
    return result


def fit_logistic(
    columns: Doubles, hits: npt.NDArray[np.bool_], rows_weight: Doubles, prior: Doubles, strength: float
) -> Doubles:
    """The most probable weights of a logistic regression, given that each is normally distributed around `prior`.

    columns: (rows, weights); hits: (rows,); rows_weight: (rows,); strength: 1 / variance of the prior. Found by
    Newton's method, each step halved until it does not make the fit worse. With no rows it is the prior.
    """

    def loss_of(weights: Doubles) -> float:
        log_odds = columns @ weights
        misfit = rows_weight @ np.logaddexp(0, np.where(hits, -log_odds, log_odds))
        return float(misfit + strength / 2 * ((weights - prior) ** 2).sum())

    weights = prior.copy()
    loss = loss_of(weights)
    for _ in range(_NEWTON_STEPS):
        probability = sigmoid(columns @ weights)
        gradient = columns.T @ (rows_weight * (probability - hits)) + strength * (weights - prior)
        curvature = (columns * (rows_weight * probability * (1 - probability))[:, None]).T @ columns
        step = np.linalg.solve(curvature + strength * np.eye(len(weights)), gradient)
        tried = loss_of(weights - step)
        while tried > loss and np.abs(step).max() > _TOLERANCE:
            step /= 2
            tried = loss_of(weights - step)
        if loss - tried < _TOLERANCE:
            break
        weights, loss = weights - step, tried
    return weights
