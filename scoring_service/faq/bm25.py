"""BM25 over an inverted index whose impacts are computed once, when the index is built.

S. Robertson, H. Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond (2009), with the idf that stays
positive for terms of more than half of the documents, ln(1 + (N - n + 0.5) / (n + 0.5)).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from scoring_service.faq.vocabulary import Floats

K1 = 1.2
B = 0.75


@dataclass(frozen=True, eq=False)
class Field:
    """One searchable field of a collection, e.g. the answers.

    impacts: what a term adds to the score of each document, float32 (terms, documents); one row is one posting list.
    idf: weight of each term, float32 (terms,); 0 for a term that no document holds.
    unknown_idf: weight of a term that is in no document.
    """

    impacts: csr_array
    idf: Floats
    unknown_idf: float

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]], terms: int) -> "Field":
        """The field of documents given as lists of term numbers below `terms`, repeats counted."""
        lengths = np.array([len(each) for each in documents], dtype=np.int64)
        flat = np.fromiter((term for each in documents for term in each), dtype=np.int64, count=int(lengths.sum()))
        size = len(documents)
        keys, counts = np.unique(flat * size + np.repeat(np.arange(size), lengths), return_counts=True)
        term, document = np.divmod(keys, max(size, 1))
        holding = np.bincount(term, minlength=terms)
        idf = np.log1p((size - holding + 0.5) / (holding + 0.5)) * (holding > 0)
        average = max(float(lengths.mean()), 1.0) if size else 1.0
        saturation = counts + K1 * (1 - B + B * lengths[document] / average)
        impacts = csr_array(
            (
                (idf[term] * counts * (K1 + 1) / saturation).astype(np.float32),
                document.astype(np.int32),
                np.concatenate(([0], np.cumsum(holding))).astype(np.int32),
            ),
            shape=(terms, size),
        )
        return cls(impacts, idf.astype(np.float32), math.log1p((size + 0.5) / 0.5))

    def scores(self, questions: csr_array, unknown: Floats) -> Floats:
        """BM25 of every document, as a share of what a document matching every term would get at term counts of 1.

        questions: which terms each question holds, 1 or 0, (questions, terms); unknown: terms per question that the
        vocabulary does not hold. Returns float32 (questions, documents), 0 to somewhat above 1.
        """
        reached = (questions @ self.impacts).toarray()
        known = np.where(self.idf > 0, self.idf, np.float32(self.unknown_idf))
        possible = questions @ known + unknown * self.unknown_idf
        shares: Floats = reached / np.maximum(possible, 1e-6)[:, None]
        return shares
