"""Sparse matrices as plain arrays, multiplied without the objects and checks of scipy, which cost more than the sums.

What is searched stays scipy's `csr_array`, of which only the three arrays are read; a question is `Cells`.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Integers = npt.NDArray[np.integer]
Ints = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_YES = np.ones(1, dtype=np.bool_)
_FREQUENT = 0.1  # share of the columns: a dense row is then at most five times as large as its postings
_WIDE = 10_000  # columns from which on copying dense rows together costs more than adding them up one by one
_HEADS_SIZE = 2**26  # bytes of a matrix's dense rows at the most; where all would be more, the fullest have one


@dataclass(frozen=True, eq=False, slots=True)
class Cells:
    """Where a matrix of `rows` rows is not 0, sorted by row and column: (cells,) each."""

    rows: int
    row: Numbers
    column: Numbers


@dataclass(frozen=True, eq=False)
class Postings:
    """A matrix (terms, columns) to be multiplied with questions: for each term the columns that hold it.

    heads: the rows of the terms that a large share of the columns hold, dense, (heads, columns): they are what most
    of a question's words are, and adding up dense rows is many times as fast as following their postings. Where the
    columns are fewer than the matrix's, they are its last ones. ends: where the postings of each term end that are
    not in a dense row, (terms,).
    """

    matrix: csr_array
    heads: Floats
    ends: Ints

    @classmethod
    def of(cls, matrix: csr_array, *, sparse_columns: int = 0) -> "Postings":
        """sparse_columns: the first ones, of which hardly a term is in many."""
        indptr, width = matrix.indptr, matrix.shape[1] - sparse_columns
        dense = (matrix.indices >= sparse_columns).cumsum(dtype=np.int64)
        counts = np.diff(np.concatenate(([0], dense))[indptr])
        terms = (counts >= max(_FREQUENT * width, 1)).nonzero()[0]
        most = int(_HEADS_SIZE / max(width * matrix.dtype.itemsize, 1))
        if len(terms) > most:
            terms = np.sort(terms[np.argsort(-counts[terms], kind="stable")[:most]])
        ends = indptr[1:].copy()
        ends[terms] -= counts[terms]
        places = ranges(ends[terms], counts[terms])
        heads = np.zeros((len(terms), width), dtype=matrix.dtype)
        row = np.arange(len(terms)).repeat(counts[terms])
        heads[row, matrix.indices[places] - sparse_columns] = matrix.data[places]
        return cls(matrix, heads, ends)

    def product(self, questions: Cells, values: Floats | None = None) -> Doubles:
        """questions (n, terms) times the matrix: (n, columns). values: of the questions' cells, all 1 where None."""
        width = self.matrix.shape[1]
        starts, ends = self.matrix.indptr[questions.column], self.ends[questions.column]
        in_heads = (ends < self.matrix.indptr[questions.column + 1]).nonzero()[0]
        if values is None and width >= _WIDE:
            return self._from_slices(questions, starts, ends, in_heads)
        total = self._from_postings(questions, starts, ends, values)
        total[:, width - self.heads.shape[1] :] += self._from_heads(questions, in_heads, values)
        return total

    def _from_postings(self, questions: Cells, starts: Ints, ends: Ints, values: Floats | None) -> Doubles:
        rows, width = questions.rows, self.matrix.shape[1]
        lengths = ends - starts
        places = ranges(starts, lengths)
        columns, added = self.matrix.indices[places], self.matrix.data[places]
        if values is not None:
            added = added * values.repeat(lengths)
        if rows > 1:
            columns = columns + (questions.row * width).repeat(lengths)
        return binned(columns, added, rows * width).reshape(rows, width)

    def _from_heads(self, questions: Cells, chosen: Numbers, values: Floats | None) -> Floats:
        numbers = self._head_terms.searchsorted(questions.column[chosen])
        weights = np.ones(len(chosen), self.heads.dtype) if values is None else values[chosen]
        if questions.rows <= 2:
            dense = np.zeros((questions.rows, len(chosen)), self.heads.dtype)
            dense[questions.row[chosen], np.arange(len(chosen))] = weights
            return dense @ self.heads.take(numbers, axis=0)
        used = np.zeros(len(self.heads), dtype=np.bool_)
        used[numbers] = True
        terms = used.nonzero()[0]
        dense = np.zeros((questions.rows, len(terms)), self.heads.dtype)
        dense[questions.row[chosen], terms.searchsorted(numbers)] = weights
        return dense @ self.heads[terms]

    def _from_slices(self, questions: Cells, starts: Ints, ends: Ints, in_heads: Numbers) -> Doubles:
        """The product where columns are many: whole slices and rows are read in their order, nothing is gathered."""
        total = np.zeros((questions.rows, self.matrix.shape[1]))
        held = (ends > starts).nonzero()[0]
        for row, places in enumerate(_by_row(questions, held)):
            spans = list(map(slice, starts[places].tolist(), ends[places].tolist()))
            if spans:
                columns = np.concatenate([self.matrix.indices[span] for span in spans])
                added = np.concatenate([self.matrix.data[span] for span in spans])
                total[row] = np.bincount(columns, added, total.shape[1])
        for row, places in enumerate(_by_row(questions, in_heads)):
            numbers = self._head_terms.searchsorted(questions.column[places]).tolist()
            if numbers:
                summed = self.heads[numbers[0]].copy()
                for number in numbers[1:]:
                    summed += self.heads[number]
                total[row, total.shape[1] - len(summed) :] += summed
        return total

    @cached_property
    def _head_terms(self) -> Numbers:
        terms: Numbers = (self.ends < self.matrix.indptr[1:]).nonzero()[0]
        return terms


def _by_row(cells: Cells, places: Numbers) -> list[Numbers]:
    """The places of the cells of each row; places ascend."""
    return np.split(places, cells.row[places].searchsorted(np.arange(1, cells.rows)))


def row_totals(cells: Cells, vectors: Floats) -> Floats:
    """Sum over each row of the vectors, one for each cell (cells, size): (rows, size)."""
    totals = np.zeros((cells.rows, vectors.shape[1]), dtype=vectors.dtype)
    starts = first_of_each(cells.row)
    if len(starts):
        totals[cells.row[starts]] = np.add.reduceat(vectors, starts, axis=0)
    return totals


def first_of_each(ascending: Integers) -> Numbers:
    """The place of the first of equals."""
    starts: Numbers = np.concatenate((_YES[: len(ascending)], ascending[1:] != ascending[:-1])).nonzero()[0]
    return starts


def binned(places: Integers, values: npt.NDArray[np.floating], size: int) -> Doubles:
    """The sum of the values at each place from 0 to size - 1."""
    # Of nothing at all, bincount would be whole numbers.
    return np.bincount(places, values, size).astype(np.float64, copy=False)


def ranges(starts: Integers, lengths: Integers) -> Numbers:
    """The numbers start … start + length - 1 of every pair, one after the other."""
    ends = lengths.cumsum(dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Numbers = np.arange(total) + (starts - ends + lengths).repeat(lengths)
    return numbers
