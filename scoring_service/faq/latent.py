"""Latent semantic analysis: texts compared by topics, so that words that keep the same company count as alike.

S. Deerwester et al.: Indexing by Latent Semantic Analysis (1990), through scikit-learn's TruncatedSVD.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from scoring_service.faq.sparse import Cells, Floats, Ints, row_totals

TOPICS = 50
MOST_TEXTS = 50_000  # that topics are found in; of more, some by lot, which show the same
_ROUNDS = 3  # of the randomised decomposition


@dataclass(frozen=True, eq=False)
class Latent:
    """row_of: for each term the row of `topics` that holds it, (terms,); the last row, all zeros, is that of terms in
    one text only, which keep no company. topics: (rows, k). centres: the entries, (entries, k), rows of length 1 or 0.
    """

    row_of: Ints
    topics: Floats
    centres: Floats

    @classmethod
    def train(cls, vectors: csr_array, owners: npt.NDArray[np.int64], entries: int, *, seed: int) -> "Latent | None":
        """From texts (texts, terms) and the entry of each; None where there are too few texts to have topics."""
        # Imported here: a pod that only scores needs no scikit-learn in memory.
        from sklearn.decomposition import TruncatedSVD

        shared = np.bincount(vectors.indices, minlength=vectors.shape[1]) > 1
        size = min(TOPICS, vectors.shape[0] - 1, int(shared.sum()) - 1)
        if size < 2:
            return None
        row_of = np.where(shared, np.cumsum(shared) - 1, shared.sum()).astype(np.int32)
        some = vectors
        if vectors.shape[0] > MOST_TEXTS:
            chosen = np.random.default_rng(seed).choice(vectors.shape[0], MOST_TEXTS, replace=False)
            some = vectors[np.sort(chosen)]
        kept = some.tocsc()[:, np.flatnonzero(shared)].tocsr()
        found = TruncatedSVD(size, n_iter=_ROUNDS, random_state=seed).fit(kept).components_.T
        topics = np.vstack([found, np.zeros((1, size))]).astype(np.float32)
        places = _unit(_projected(vectors, row_of, topics))
        members = csr_array(
            (np.ones(len(owners), np.float32), (owners, np.arange(len(owners)))), (entries, len(owners))
        )
        return cls(row_of, topics, _unit(members @ places))

    def scores(self, terms: Cells, values: Floats) -> Floats:
        """Cosine of each text with the centre of each entry: float32 (texts, entries)."""
        rows = self.row_of[terms.column]
        if terms.rows == 1:
            projected = (values @ self.topics.take(rows, axis=0))[None]
        else:
            projected = row_totals(terms, self.topics.take(rows, axis=0) * values[:, None])
        cosines: Floats = _unit(projected) @ self.centres.T
        return cosines


def _projected(vectors: csr_array, row_of: Ints, topics: Floats) -> Floats:
    shape = (vectors.shape[0], len(topics))
    projected: Floats = csr_array((vectors.data, row_of[vectors.indices], vectors.indptr), shape=shape) @ topics
    return projected


def _unit(rows: Floats) -> Floats:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    scaled: Floats = rows / np.maximum(lengths, np.float32(1e-9))
    return scaled
