"""Latent semantic analysis: texts compared by topics, so that words that keep the same company count as alike.

S. Deerwester et al.: Indexing by Latent Semantic Analysis (1990), through scikit-learn's TruncatedSVD.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from scoring_service.faq.sparse import Cells, Floats, Integers, Ints, row_totals

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
        some = vectors
        if vectors.shape[0] > MOST_TEXTS:
            chosen = np.random.default_rng(seed).choice(vectors.shape[0], MOST_TEXTS, replace=False)
            some = vectors[np.sort(chosen)]
        shared = np.bincount(vectors.indices, minlength=vectors.shape[1]) > 1
        found = _topics_of(some, shared, seed)
        return None if found is None else cls(*found, _unit(_members(owners, entries, _places(vectors, *found))))

    @classmethod
    def of_parts(
        cls,
        some: csr_array,
        parts: Iterable[tuple[csr_array, npt.NDArray[np.integer]]],
        entries: int,
        *,
        seed: int,
    ) -> "Latent | None":
        """As `train`, with topics from some of the texts, and the centres from all of them, read in parts."""
        found = _topics_of(some, np.bincount(some.indices, minlength=some.shape[1]) > 1, seed)
        if found is None:
            return None
        centres = np.zeros((entries, found[1].shape[1]), dtype=np.float32)
        for vectors, owners in parts:
            first = int(owners.min())
            added = _members(owners - first, int(owners.max()) - first + 1, _places(vectors, *found))
            centres[first : first + len(added)] += added
        return cls(*found, _unit(centres))

    def scores(self, terms: Cells, values: Floats) -> Floats:
        """Cosine of each text with the centre of each entry: float32 (texts, entries)."""
        rows = self.row_of[terms.column]
        if terms.rows == 1:
            projected = (values @ self.topics.take(rows, axis=0))[None]
        else:
            projected = row_totals(terms, self.topics.take(rows, axis=0) * values[:, None])
        cosines: Floats = _unit(projected) @ self.centres.T
        return cosines

    def scores_of(self, terms: Integers, values: Floats, entries: Integers) -> Floats:
        """Cosine of one text, given as its terms and their TF-IDF, with the centres of some entries: (entries,)."""
        cosines: Floats = self.centres[entries] @ _unit((values @ self.topics[self.row_of[terms]])[None])[0]
        return cosines


def _topics_of(some: csr_array, shared: npt.NDArray[np.bool_], seed: int) -> tuple[Ints, Floats] | None:
    """`row_of` and `topics` of texts (texts, terms), by the terms that several texts share."""
    # Imported here: a pod that only scores needs no scikit-learn in memory.
    from sklearn.decomposition import TruncatedSVD

    size = min(TOPICS, some.shape[0] - 1, int(shared.sum()) - 1)
    if size < 2:
        return None
    row_of = np.where(shared, np.cumsum(shared) - 1, shared.sum()).astype(np.int32)
    kept = some.tocsc()[:, np.flatnonzero(shared)].tocsr()
    found = TruncatedSVD(size, n_iter=_ROUNDS, random_state=seed).fit(kept).components_.T
    return row_of, np.vstack([found, np.zeros((1, size))]).astype(np.float32)


def _places(vectors: csr_array, row_of: Ints, topics: Floats) -> Floats:
    """Where texts stand among the topics: rows of length 1 or 0."""
    shape = (vectors.shape[0], len(topics))
    projected: Floats = csr_array((vectors.data, row_of[vectors.indices], vectors.indptr), shape=shape) @ topics
    return _unit(projected)


def _members(owners: npt.NDArray[np.integer], entries: int, places: Floats) -> Floats:
    """The sum of the places of each entry's texts: (entries, topics)."""
    count = len(owners)
    added: Floats = csr_array((np.ones(count, np.float32), (owners, np.arange(count))), (entries, count)) @ places
    return added


def _unit(rows: Floats) -> Floats:
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    scaled: Floats = rows / np.maximum(lengths, np.float32(1e-9))
    return scaled
