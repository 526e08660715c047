"""What speaks for each of the best candidates of a question: similarities, leads, overlap, known words.

Every similarity is scale-free, so that what is learnt on a collection of one size holds for another. How many
phrasings an entry has is never counted: in training it would give away which entry a held-out phrasing was taken from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from scoring_service.faq.index import Index
from scoring_service.faq.vocabulary import Encoded, Floats, Words

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
# What a candidate is found by, and how much its rank there counts.
_RETRIEVERS = {"margin": 2.0, "all_grams": 1.0, "entry_words": 1.0, "closest_words": 1.0}
_RANK_OFFSET = 10.0
_RANKED = 50  # places of each retriever that count
_PINNED = 10.0  # above every fused score
_SHARPNESS = 3.0  # of the softmax over margins

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best entries of n questions.

    entries: entry numbers (n, k), k = min(20, entries); closest: number of the text of each that is nearest to the
    question (n, k); features: (n, k, len(FEATURES)), all finite; fused: a score of every entry (n, entries), by which
    those outside the candidates are ordered.
    """

    entries: Numbers
    closest: Numbers
    features: Floats
    fused: Floats


def candidates_of(
    index: Index, questions: Sequence[Words], pinned: Mapping[int, Sequence[int]] = MappingProxyType({})
) -> Candidates:
    """The candidates for n > 0 questions given as words (see `text.words`), at least one word each.

    pinned: entries that are candidates whatever they score, by the place of their question.
    """
    encoded = index.vocabulary.encode(questions)
    by_text, scores = _scores(index, encoded)
    fused = _fused(scores)
    for row, numbers in pinned.items():
        fused[row, list(numbers)] += _PINNED
    entries = np.argsort(-fused, axis=1, kind="stable")[:, :CANDIDATES]
    rows = np.arange(len(questions))[:, None]
    leads, best = _leads(scores)
    share = np.exp(_SHARPNESS * (scores[0] - best[0]))
    share /= share.sum(axis=1, keepdims=True)

    closest = _closest_texts(by_text, index, entries)
    gram_cosine = _products(encoded.grams, index.text_grams, closest)
    word_cosine = _products(encoded.words, index.text_words, closest)
    shared = _products(_present(encoded.words), index.text_single_words, closest)
    gram_lead, _ = _leads(gram_cosine[None])
    weight = encoded.weight[:, None]
    columns = [
        *scores[:, rows, entries],
        *leads[:, rows, entries],
        share[rows, entries],
        best[SCORERS.index("margin")],
        best[SCORERS.index("all_grams")],
        word_cosine,
        gram_cosine,
        gram_lead[0],
        shared / weight,
        shared / index.text_weight[closest],
        encoded.known_weight[:, None] / weight,
        np.log1p(encoded.length)[:, None],
    ]
    features = np.stack(np.broadcast_arrays(*columns), axis=2).astype(np.float32)
    return Candidates(entries, closest, features, fused)


def _scores(index: Index, questions: Encoded) -> tuple[Floats, Floats]:
    """BM25 of every text (n, texts), and each scorer's opinion of every entry (scorers, n, entries)."""
    fields = index.fields
    by_text = fields["text"].scores(questions.terms, questions.unknown_terms)
    vectors = csr_array(hstack([questions.words, questions.grams]))
    nothing = np.zeros((len(by_text), index.entry_count), np.float32)
    margins = index.classifier.margins(vectors) if index.classifier else nothing
    topics = index.latent.scores(vectors) if index.latent else nothing
    by_entry = [fields[name].scores(questions.terms, questions.unknown_terms) for name in ("entry", "answer")]
    by_runs = [
        fields[name].scores(questions.runs, questions.unknown_runs)
        for name in ("entry_grams", "answer_grams", "all_grams")
    ]
    closest = np.maximum.reduceat(by_text, index.first_text, axis=1)
    return by_text, np.stack([margins, closest, by_entry[0], by_runs[0], by_entry[1], by_runs[1], by_runs[2], topics])


def _fused(scores: Floats) -> Floats:
    """One score of every entry from its ranks: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).

    Where a scorer's best fifty end, its score itself puts the rest in order, below every ranked entry.
    """
    retrievers = [(scores[SCORERS.index(name)], weight) for name, weight in _RETRIEVERS.items()]
    fused: Floats = np.tanh([score for score, _ in retrievers]).sum(axis=0) * np.float32(1e-3)
    ranked = min(_RANKED, fused.shape[1])
    rows = np.arange(len(fused))[:, None]
    for score, weight in retrievers:
        best = np.argpartition(-score, ranked - 1, axis=1)[:, :ranked]
        best = np.take_along_axis(best, np.argsort(-score[rows, best], axis=1, kind="stable"), axis=1)
        fused[rows, best] += (weight / (_RANK_OFFSET + np.arange(ranked))).astype(np.float32)
    return fused


def _leads(scores: Floats) -> tuple[Floats, Floats]:
    """For scores (…, n, entries): by how much each entry leads the best other one, and the best score (…, n, 1)."""
    if scores.shape[-1] == 1:
        return scores, scores
    top = np.partition(scores, (-2, -1), axis=-1)
    best, second = top[..., -1:], top[..., -2:-1]
    leads: Floats = scores - np.where(scores == best, second, best)
    return leads, best


def _closest_texts(by_text: Floats, index: Index, entries: Numbers) -> Numbers:
    """The text with the highest score of each of the entries (n, k); the first one of equals."""
    lengths = index.text_counts[entries].ravel()
    places = _ranges(index.first_text[entries].ravel(), lengths)
    pairs = np.repeat(np.arange(entries.size), lengths)
    values = by_text[pairs // entries.shape[1], places]
    starts = np.cumsum(lengths) - lengths
    is_best = values == np.maximum.reduceat(values, starts)[pairs]
    _, first = np.unique(pairs[is_best], return_index=True)
    closest: Numbers = places[is_best][first].reshape(entries.shape)
    return closest


def _products(questions: csr_array, texts: csr_array, chosen: Numbers) -> Floats:
    """Dot product of each question with each of the texts chosen for it: (n, k)."""
    products = np.empty(chosen.shape, dtype=np.float32)
    dense = np.zeros(questions.shape[1], dtype=np.float32)
    for row, numbers in enumerate(chosen):
        own = slice(questions.indptr[row], questions.indptr[row + 1])
        dense[questions.indices[own]] = questions.data[own]
        starts = texts.indptr[numbers]
        lengths = texts.indptr[numbers + 1] - starts
        places = _ranges(starts, lengths)
        summed = np.concatenate(([0], np.cumsum(texts.data[places] * dense[texts.indices[places]], dtype=np.float64)))
        ends = np.cumsum(lengths)
        products[row] = summed[ends] - summed[ends - lengths]
        dense[questions.indices[own]] = 0
    return products


def _ranges(starts: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]) -> Numbers:
    """The numbers start … start + length - 1 of every pair, one after the other."""
    offsets = np.cumsum(lengths, dtype=np.int64) - lengths
    return np.arange(int(lengths.sum())) + np.repeat(starts - offsets, lengths)


def _present(vectors: csr_array) -> csr_array:
    return csr_array((np.ones_like(vectors.data), vectors.indices, vectors.indptr), shape=vectors.shape)
