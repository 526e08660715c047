"""The FAQ workload's own answers, by the matcher's way of multiplying: `workloads.py` lies beside it in the version.

What scikit-learn's vectorizer learnt is read once; a question is then cut, weighed and multiplied without it.
"""

import re
from itertools import pairwise

import numpy as np
import workloads
from scipy.sparse import csr_array

from scoring_service.faq.sparse import Cells, Postings, first_of_each

WORD = re.compile(r"(?u)\b\w\w+\b")  # as TfidfVectorizer cuts
DIGITS = 12  # that count in a comparison: what sums of another order leave equal


def init() -> None:
    global number_of, idf, postings  # noqa: PLW0603  # a script's state is its module
    model = workloads.Faq()
    number_of, idf = model.vectorizer.vocabulary_, model.vectorizer.idf_
    postings = Postings.of(csr_array(model.matrix_t))


def run(rows: list[str]) -> list[dict[str, list[float]]]:
    terms, lengths = [], []
    for question in rows:
        words = WORD.findall(question.lower())
        found = [number_of[term] for term in (*words, *map(" ".join, pairwise(words))) if term in number_of]
        terms += found
        lengths.append(len(found))
    keys = np.array(terms, dtype=np.int64) + (np.arange(len(rows)) * len(idf)).repeat(lengths)
    keys.sort()
    starts = first_of_each(keys)
    row, column = np.divmod(keys[starts], len(idf))
    values = np.diff(starts, append=len(keys)) * idf[column]
    values /= np.sqrt(np.bincount(row, values * values, minlength=len(rows)))[row]
    scores = postings.product(Cells(len(rows), row, column), values)
    ids = (-scores).argpartition(workloads.TOP_FAQ, axis=1)[:, : workloads.TOP_FAQ]
    best = scores[np.arange(len(rows))[:, None], ids]
    order = np.lexsort((ids, -best.round(DIGITS)), axis=1)
    ids, best = np.take_along_axis(ids, order, axis=1), np.take_along_axis(best, order, axis=1)
    return [{"id": numbers, "score": scored} for numbers, scored in zip(ids.tolist(), best.tolist(), strict=True)]
