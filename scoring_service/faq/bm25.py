"""BM25 over an inverted index whose impacts are computed once, when the index is built.

S. Robertson, H. Zaragoza: The Probabilistic Relevance Framework: BM25 and Beyond (2009), with the idf that stays
positive for terms of more than half of the documents, ln(1 + (N - n + 0.5) / (n + 0.5)).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from scoring_service.faq.sparse import Cells, Doubles, Floats, Postings, binned

K1 = 1.2
B = 0.75

Documents = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Field:
    """One kind of document, over one kind of term.

    impacts: what a term adds to the score of each document, float32 (terms, documents). idf: weight of each term,
    float32 (terms,), 0 for a term that no document holds; unknown_idf: of a term that is in no document.
    """

    impacts: csr_array
    idf: Floats
    unknown_idf: float

    @classmethod
    def of(cls, documents: Documents, terms: int) -> "Field":
        """From documents given as lists of term numbers below `terms`, repeats counted."""
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


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields side by side, so that a question is looked up in all of them at once.

    Kinds of terms (such as words and character runs) are numbered one after the other, and so are kinds of documents;
    a question is one row of cells for each kind of term.

    sizes: documents of each kind. impacts: (terms, documents). weights: what a term counts for in each kind of
    document, float32 (kinds of documents, terms). unknown: what a term counts for that is in no document, (kinds of
    documents, kinds of terms).
    """

    sizes: Sequence[int]
    impacts: Postings
    weights: Floats
    unknown: Doubles

    @classmethod
    def of(cls, fields: Sequence[Sequence[Field | None]], *, sparse: int = 0) -> "Fields":
        """From a row for each kind of term, with a field, or None, for each kind of document.

        sparse: how many kinds of documents, the first ones, hold few of the terms each.
        """
        sizes = [next(field.impacts.shape[1] for field in column if field) for column in zip(*fields, strict=True)]
        terms = [next(field.impacts.shape[0] for field in row if field) for row in fields]
        blocks = [
            [
                field.impacts if field else csr_array((height, width), dtype=np.float32)
                for field, width in zip(row, sizes, strict=True)
            ]
            for row, height in zip(fields, terms, strict=True)
        ]
        impacts = csr_array(vstack([hstack(row, format="csr") for row in blocks], format="csr"))
        unknown = np.array([[field.unknown_idf if field else 0 for field in row] for row in fields]).T
        weights = np.zeros((len(sizes), sum(terms)), dtype=np.float32)
        first = 0
        for row, height in zip(fields, terms, strict=True):
            for kind, field in enumerate(row):
                if field:
                    weights[kind, first : first + height] = np.where(field.idf > 0, field.idf, field.unknown_idf)
            first += height
        return cls(sizes, Postings.of(impacts, sparse_columns=sum(sizes[:sparse])), weights, unknown)

    def scores(self, questions: Cells, unknown: Doubles) -> tuple[Doubles, Doubles]:
        """BM25 of every document, as a share of what a document matching every term would get at term counts of 1.

        questions: which terms each question holds, (rows, terms); unknown: terms of each row that the vocabulary does
        not hold, (rows,). Returns what every document got, (rows, documents), and what it is to be multiplied with,
        (kinds of documents, rows, 1), so that it is 0 to somewhat above 1.
        """
        kinds, rows = len(self.sizes), questions.rows
        cell = questions.row + np.arange(0, kinds * rows, rows)[:, None]
        known = self.weights[:, questions.column]
        found = binned(cell.ravel(), known.ravel(), kinds * rows)
        term_kinds = self.unknown.shape[1]
        possible = found.reshape(kinds, -1, term_kinds) + unknown.reshape(-1, term_kinds) * self.unknown[:, None]
        return self.impacts.product(questions), (1 / np.maximum(possible, 1e-6)).reshape(kinds, rows, 1)

    def holding(self, kind: int, term: int) -> int:
        """How many documents of a kind hold the term."""
        matrix, first = self.impacts.matrix, sum(self.sizes[:kind])
        documents = matrix.indices[matrix.indptr[term] : matrix.indptr[term + 1]]
        return int(((documents >= first) & (documents < first + self.sizes[kind])).sum())
