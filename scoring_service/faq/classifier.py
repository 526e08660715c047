"""A linear support vector machine with one class an entry.

R.-E. Fan et al.: LIBLINEAR, a library for large linear classification (2008), through scikit-learn's LinearSVC: each
class against all others, squared hinge loss.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from scoring_service.faq.sparse import Cells, Doubles, Floats, Postings

C = 1.0
SMALLEST_WEIGHT = 0.02  # what is below is left out: a tenth of the memory at the same accuracy
_CLASSES_AT_ONCE = 64  # bounds the dense weights that LinearSVC keeps while it trains


@dataclass(frozen=True, eq=False)
class Classifier:
    """weights: float32 (terms, classes), sparse; bias: float32 (classes,)."""

    weights: Postings
    bias: Floats

    @classmethod
    def train(cls, vectors: csr_array, labels: npt.NDArray[np.int64], classes: int, *, seed: int) -> "Classifier":
        """One class for each label 0 … classes - 1; every label occurs, and there are at least two."""
        # Imported here: a pod that only scores needs no scikit-learn in memory.
        from sklearn.svm import LinearSVC

        blocks, biases = [], []
        for first in range(0, classes, _CLASSES_AT_ONCE):
            last = min(first + _CLASSES_AT_ONCE, classes)
            inside = (labels >= first) & (labels < last)
            # The classes of other blocks are one class here: to each class of this block they are "the others" anyway.
            with warnings.catch_warnings():
                # Many classes of few texts are what a FAQ is; scikit-learn suspects a regression.
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
                machine = LinearSVC(C=C, random_state=seed).fit(vectors, np.where(inside, labels, classes))
            weights, bias = machine.coef_, machine.intercept_
            if len(bias) == 1:  # two classes share one hyperplane
                weights, bias = np.vstack([-weights, weights]), np.concatenate([-bias, bias])
            kept = np.where(np.abs(weights) < SMALLEST_WEIGHT, 0, weights)[: last - first]
            blocks.append(csr_array(kept.astype(np.float32).T))
            biases.append(bias[: last - first])
        return cls(Postings.of(csr_array(hstack(blocks))), np.concatenate(biases).astype(np.float32))

    def margins(self, terms: Cells, values: Floats) -> Doubles:
        """Signed distance of each text to the border of each class: (texts, classes), above 0 is inside."""
        return self.weights.product(terms, values) + self.bias
