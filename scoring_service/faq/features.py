"""What speaks for each of the best candidates of a question: similarities, leads, overlap, known words.

Every similarity is scale-free, so that what is learnt on a collection of one size holds for another. How many
phrasings an entry has is never counted: in training it would give away which entry a held-out phrasing was taken from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from scoring_service.faq.index import ANSWER, ENTRY, TEXT, WHOLE, Index
from scoring_service.faq.sparse import Doubles, Floats, Numbers, binned, ranges
from scoring_service.faq.vocabulary import Encoded, Words

CANDIDATES = 20

SCORERS = (
    "margin",
    "closest_words",
    "entry_words",
    "entry_grams",
    "answer_words",
    "answer_grams",
    "all_grams",
    "topics",
)
FEATURES = (
    *SCORERS,
    *(f"{name}_lead" for name in SCORERS),  # over the best other entry
    "margin_share",  # softmax of the margins
    "best_margin",
    "best_all_grams",
    "word_cosine",  # with the closest text of the entry
    "gram_cosine",
    "gram_cosine_lead",
    "question_covered",  # idf-weighted share of the question's words in that text
    "text_covered",  # and the other way round
    "known_share",  # idf-weighted share of the question's words that the collection knows
    "length",  # ln(1 + words)
)
_MARGIN = SCORERS.index("margin")
_BY_ENTRY = ((0, ENTRY), (1, ENTRY), (0, ANSWER), (1, ANSWER), (1, WHOLE))  # words or runs, of what
# What a candidate is found by, and how much its rank there counts. A collection without a classifier has no margins.
RETRIEVERS = {"margin": 2.0, "all_grams": 1.0, "entry_words": 1.0, "closest_words": 1.0}
_RANK_OFFSET = 10.0
_RANKED = 50  # places of each retriever that count
PINNED = 10.0  # above every fused score
_TAIL = 1e-3  # of the scores themselves: they order what has equal ranks
_SHARPNESS = 3.0  # of the softmax over margins


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best entries of n questions.

    entries: entry numbers (n, k), k = min(20, entries), best first; closest: number of the text of each that is nearest
    to the question (n, k); features: (n, k, len(FEATURES)), all finite; ranks: what the ranks of every entry count for,
    (n, entries); found: by what its rank was given, (retrievers, n, entries).
    """

    entries: Numbers
    closest: Numbers
    features: Floats
    ranks: Doubles
    found: Floats

    def fused(self, row: int) -> Doubles:
        """A score of every entry for one of the questions, by which those outside the candidates are ordered."""
        return fused_of(self.ranks[row], self.found[:, row])


def candidates_of(
    index: Index, questions: Sequence[Words], pinned: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> Candidates:
    """The candidates for n > 0 questions given as words (see `text.words`), at least one word each.

    pinned: entries that are candidates whatever they score, by the place of their question.
    """
    encoded = index.vocabulary.encode(questions)
    by_text, scores = _scores(index, encoded)
    retrievers = {name: weight for name, weight in RETRIEVERS.items() if name != "margin" or index.classifier}
    found = scores[[SCORERS.index(name) for name in retrievers]]
    ranks = ranks_of(found, np.array(list(retrievers.values())))
    for row, numbers in pinned.items():
        ranks[row, list(numbers)] += PINNED
    entries = best_of(ranks, found)
    closest = _closest_texts(by_text, index, entries)
    return Candidates(entries, closest, _features(index, encoded, scores, entries, closest), ranks, found)


def _scores(index: Index, questions: Encoded) -> tuple[Floats, Floats]:
    """BM25 of every text (n, texts), and each scorer's opinion of every entry (scorers, n, entries)."""
    size, texts, entries = len(questions.length), index.fields.sizes[TEXT], index.entry_count
    reached, factors = index.fields.scores(questions.terms, questions.unknown)
    by_text = (reached[::2, :texts] * factors[TEXT, ::2]).astype(np.float32)
    scores = np.empty((len(SCORERS), size, entries), dtype=np.float32)
    scores[0] = index.classifier.margins(questions.known, questions.values) if index.classifier else 0
    np.maximum.reduceat(by_text, index.first_text, axis=1, out=scores[1])
    by_entry = reached[:, texts:].reshape(size, 2, 3, entries)
    for scorer, (kind, document) in enumerate(_BY_ENTRY, start=2):
        np.multiply(
            by_entry[:, kind, document - 1], factors[document, kind::2], out=scores[scorer], casting="same_kind"
        )
    scores[7] = index.latent.scores(questions.known, questions.values) if index.latent else 0
    return by_text, scores


def fused_of(ranks: Doubles, found: Floats) -> Doubles:
    """One score from what the ranks count for (…) and what they were given by (retrievers, …)."""
    fused: Doubles = ranks + _TAIL * np.tanh(found).sum(axis=0)
    return fused


def ranks_of(found: Floats, weights: Doubles) -> Doubles:
    """What each entry's ranks count for: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).

    found: scores (retrievers, n, entries); weights: of the retrievers. Returns (n, entries).
    """
    size, entries = found.shape[1:]
    ranked = min(_RANKED, entries)
    descending = -found.reshape(-1, entries)
    lists = np.arange(len(descending))[:, None]
    best = descending.argpartition(ranked - 1, axis=1)[:, :ranked]
    best = best[lists, descending[lists, best].argsort(axis=1, kind="stable")]
    best += lists % size * entries
    gains = (weights[:, None] / (_RANK_OFFSET + np.arange(ranked))).repeat(size, axis=0)
    return binned(best.ravel(), gains.ravel(), size * entries).reshape(size, entries)


def best_of(ranks: Doubles, found: Floats) -> Numbers:
    """The candidates by their ranks, equal ones by what they were found by, then by their number: (n, k)."""
    size, entries = ranks.shape
    rows = np.arange(size)[:, None]
    if entries > 2 * CANDIDATES:  # more of equal rank at the border than this leaves room for do not occur
        pool = (-ranks).argpartition(2 * CANDIDATES, axis=1)[:, : 2 * CANDIDATES]
        pool.sort(axis=1)
    else:
        pool = np.arange(entries)[None].repeat(size, axis=0)
    fused = fused_of(ranks[rows, pool], found[:, rows, pool])
    best: Numbers = pool[rows, (-fused).argsort(axis=1, kind="stable")[:, :CANDIDATES]]
    return best


def _features(index: Index, questions: Encoded, scores: Floats, entries: Numbers, closest: Numbers) -> Floats:
    word_cosine, gram_cosine, shared = _compared(index, questions, closest)
    weight = questions.weight[:, None]
    compared = Compared(
        word_cosine,
        gram_cosine,
        shared / weight,
        shared / index.text_weight[closest],
        questions.known_weight[:, None] / weight,
        np.log1p(questions.length)[:, None],
    )
    return features_of(scores, entries, compared)


@dataclass(frozen=True, eq=False)
class Compared:
    """n questions beside the closest texts of their candidates: (n, k) each, or (n, 1); see FEATURES."""

    word_cosine: Floats
    gram_cosine: Floats
    question_covered: Floats | Doubles
    text_covered: Floats | Doubles
    known_share: Doubles
    length: Doubles


def features_of(scores: Floats, entries: Numbers, compared: Compared) -> Floats:
    """The features of candidates: (n, k, len(FEATURES)).

    scores: each scorer's opinion of all that were found, (scorers, n, found); entries: places of the candidates there.
    """
    rows = np.arange(len(entries))[:, None]
    own = scores[:, rows, entries]
    leads, best = _leads(own, scores)
    margins = scores[_MARGIN]
    sharpened = np.exp(_SHARPNESS * (margins - best[_MARGIN]))
    rest = (
        sharpened[rows, entries] / sharpened.sum(axis=1, keepdims=True),
        best[_MARGIN],
        best[SCORERS.index("all_grams")],
        compared.word_cosine,
        compared.gram_cosine,
        _leads(compared.gram_cosine, compared.gram_cosine)[0],
        compared.question_covered,
        compared.text_covered,
        compared.known_share,
        compared.length,
    )
    size = len(SCORERS)
    features = np.empty((*entries.shape, len(FEATURES)), dtype=np.float32)
    features[:, :, :size] = own.transpose(1, 2, 0)
    features[:, :, size : 2 * size] = leads.transpose(1, 2, 0)
    for place, column in enumerate(rest, start=2 * size):
        features[:, :, place] = column
    return features


def _leads(own: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """For some of the scores (…, n, entries): by how much each leads the best other one; and the best (…, n, 1)."""
    flat = scores.reshape(-1, scores.shape[-1])
    first = flat.argmax(axis=1) + np.arange(len(flat)) * flat.shape[1]
    best = flat.take(first)
    flat.put(first, -np.inf)  # for as long as it takes to find the second
    second = flat.max(axis=1)
    flat.put(first, best)
    if scores.shape[-1] == 1:
        second[:] = 0
    shape = (*scores.shape[:-1], 1)
    best, second = best.reshape(shape), second.reshape(shape)
    return own - np.where(own == best, second, best), best


def _closest_texts(by_text: Floats, index: Index, entries: Numbers) -> Numbers:
    """The text with the highest score of each of the entries (n, k); the first one of equals."""
    lengths = index.text_counts[entries].ravel()
    places = ranges(index.first_text[entries].ravel(), lengths)
    pairs = np.arange(entries.size).repeat(lengths)
    values = by_text.ravel()[places + (pairs // entries.shape[1]) * by_text.shape[1]]
    is_best = (values == np.maximum.reduceat(values, lengths.cumsum() - lengths)[pairs]).nonzero()[0]
    closest: Numbers = places[is_best[pairs[is_best].searchsorted(np.arange(entries.size))]]
    return closest.reshape(entries.shape)


def _compared(index: Index, questions: Encoded, chosen: Numbers) -> tuple[Floats, Floats, Floats]:
    """Each question and each of the texts chosen for it (n, k), compared by what both hold.

    Returns cosine of the words, cosine of the character runs, and summed idf of the shared single words, (n, k) each.
    """
    asked, first_gram = questions.known, index.text_words.shape[1]
    # The terms of all questions, numbered anew, so that they fit into a dense matrix; 0 is any other term.
    number_of = np.zeros(first_gram + index.text_grams.shape[1], dtype=np.int32)
    number_of[asked.column] = np.arange(1, len(asked.column) + 1)
    dense = np.zeros((asked.rows, len(asked.column) + 1), dtype=np.float32)
    dense[asked.row, number_of[asked.column]] = questions.values
    row = (np.arange(chosen.size) // chosen.shape[1]) * dense.shape[1]
    cosines = []
    for matrix, numbers in ((index.text_words, number_of[:first_gram]), (index.text_grams, number_of[first_gram:])):
        starts = matrix.indptr[chosen.ravel()]
        lengths = matrix.indptr[chosen.ravel() + 1] - starts
        places = ranges(starts, lengths)
        columns = matrix.indices[places]
        firsts = lengths.cumsum() - lengths  # no text is without words and runs
        both = dense.ravel()[numbers[columns] + row.repeat(lengths)]
        if matrix is index.text_words:
            idf = index.vocabulary.single_word_idf[columns] * (both > 0)
            shared: Floats = np.add.reduceat(idf, firsts).reshape(chosen.shape)
        cosines.append(np.add.reduceat(both * matrix.data[places], firsts).reshape(chosen.shape))
    return cosines[0], cosines[1], shared
