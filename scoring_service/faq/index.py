"""The entries of a collection, laid out to be searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from scoring_service.faq.bm25 import Field
from scoring_service.faq.classifier import Classifier
from scoring_service.faq.latent import Latent
from scoring_service.faq.vocabulary import Floats, Ints, Vocabulary, Words

FIELDS = ("text", "entry", "answer", "entry_grams", "answer_grams", "all_grams")
CLASSIFIER_LIMIT = 10_000_000  # entries times texts; some two minutes of training

# An answer is longer than a question; the classifier sees it in overlapping windows of about a question's length.
_WINDOW, _STEP = 16, 12


@dataclass(frozen=True)
class EntryWords:
    """An entry as words: `texts` are its question and phrasings, `answer` may be empty."""

    texts: Sequence[Words]
    answer: Words


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of a collection, as arrays.

    fields: BM25 indexes by name: "text" (a document is one text), "entry", "answer" (a document is one entry), each
    over words, and "entry_grams", "answer_grams", "all_grams" over character runs.
    first_text: number of each entry's first text; the texts of an entry follow each other.
    text_words, text_grams: TF-IDF vectors of the texts.
    classifier: None where a collection is too small or too large for one class an entry.
    latent: None where it is too small to have topics.
    """

    vocabulary: Vocabulary
    fields: dict[str, Field]
    first_text: Ints
    text_words: csr_array
    text_grams: csr_array
    classifier: Classifier | None
    latent: Latent | None

    @classmethod
    def build(cls, entries: Sequence[EntryWords], *, seed: int) -> "Index":
        texts = [each for entry in entries for each in entry.texts]
        counts = np.array([len(entry.texts) for entry in entries])
        windows = [(number, window) for number, entry in enumerate(entries) for window in _windows(entry.answer)]
        pieces = [window for _, window in windows]
        vocabulary = Vocabulary.of([*texts, *pieces])
        text_words, text_grams = vocabulary.word_vectors(texts), vocabulary.gram_vectors(texts)
        vectors = csr_array(
            vstack(
                [
                    hstack([text_words, text_grams]),
                    hstack([vocabulary.word_vectors(pieces), vocabulary.gram_vectors(pieces)]),
                ]
            )
        )
        owners = np.repeat(np.arange(len(entries)), counts)
        owners = np.concatenate([owners, np.array([number for number, _ in windows], dtype=np.int64)])
        classifier = None
        if len(entries) >= 2 and len(entries) * len(owners) <= CLASSIFIER_LIMIT:
            classifier = Classifier.train(vectors, owners, len(entries), seed=seed)
        latent = Latent.train(vectors, owners, len(entries), seed=seed)
        first = (np.cumsum(counts) - counts).astype(np.int32)
        return cls(vocabulary, _fields(vocabulary, entries), first, text_words, text_grams, classifier, latent)

    @property
    def entry_count(self) -> int:
        return len(self.first_text)

    @cached_property
    def text_counts(self) -> Ints:
        """How many texts each entry has; at least one."""
        return np.diff(np.append(self.first_text, self.text_words.shape[0])).astype(np.int32)

    @cached_property
    def text_single_words(self) -> csr_array:
        """The idf of the words of each text, pairs left out: (texts, words)."""
        words = self.text_words
        idf = self.vocabulary.single_word_idf[words.indices]
        return csr_array((idf, words.indices, words.indptr), shape=words.shape)

    @cached_property
    def text_weight(self) -> Floats:
        """Summed idf of the different words of each text: above 0 (texts,)."""
        return np.asarray(self.text_single_words.sum(axis=1), dtype=np.float32)


def _fields(vocabulary: Vocabulary, entries: Sequence[EntryWords]) -> dict[str, Field]:
    texts = [_joined(entry.texts) for entry in entries]
    answers = [entry.answer for entry in entries]
    by_words: dict[str, Sequence[Words]] = {
        "text": [each for entry in entries for each in entry.texts],
        "entry": texts,
        "answer": answers,
    }
    whole = [[*text, *answer] for text, answer in zip(texts, answers, strict=True)]
    by_runs: dict[str, Sequence[Words]] = {"entry_grams": texts, "answer_grams": answers, "all_grams": whole}
    fields = {}
    for name, documents in by_words.items():
        fields[name] = Field.of([vocabulary.terms(each) for each in documents], len(vocabulary.words))
    for name, documents in by_runs.items():
        fields[name] = Field.of([vocabulary.runs(each) for each in documents], len(vocabulary.grams))
    return fields


def _joined(texts: Sequence[Words]) -> list[str]:
    return list(chain.from_iterable(texts))


def _windows(words: Words) -> list[Words]:
    return [
        words[start : start + _WINDOW]
        for start in range(0, max(len(words) - _WINDOW + _STEP, min(len(words), 1)), _STEP)
    ]
