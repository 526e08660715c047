"""The entries of a collection, laid out to be searched."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from scipy.sparse import csr_array, hstack, vstack

from scoring_service.faq.bm25 import Field, Fields
from scoring_service.faq.classifier import Classifier
from scoring_service.faq.latent import Latent
from scoring_service.faq.sparse import Floats, Ints
from scoring_service.faq.vocabulary import Vocabulary, Words

TEXT, ENTRY, ANSWER, WHOLE = range(4)  # kinds of documents: a text; all texts, the answer, all there is of an entry
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

    fields: BM25 over words (TEXT, ENTRY, ANSWER) and over character runs (ENTRY, ANSWER, WHOLE).
    first_text: number of each entry's first text; the texts of an entry follow each other.
    text_words, text_grams: TF-IDF vectors of the texts.
    classifier: None where a collection is too small or too large for one class an entry.
    latent: None where it is too small to have topics.
    """

    vocabulary: Vocabulary
    fields: Fields
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
    def text_weight(self) -> Floats:
        """Summed idf of the different words of each text: above 0 (texts,)."""
        words = self.text_words
        owner = np.arange(words.shape[0]).repeat(np.diff(words.indptr))
        idf = self.vocabulary.single_word_idf[words.indices]
        return np.bincount(owner, idf, minlength=words.shape[0]).astype(np.float32)

    def holding(self, word: str) -> int:
        """How many entries have the word in their texts."""
        number = self.vocabulary.words.get(word)
        return 0 if number is None else self.fields.holding(ENTRY, number)


def _fields(vocabulary: Vocabulary, entries: Sequence[EntryWords]) -> Fields:
    single = [each for entry in entries for each in entry.texts]
    texts = [_joined(entry.texts) for entry in entries]
    answers = [entry.answer for entry in entries]
    whole = [[*text, *answer] for text, answer in zip(texts, answers, strict=True)]
    words, grams = len(vocabulary.words), len(vocabulary.grams)
    by_words = [Field.of(list(map(vocabulary.terms, each)), words) for each in (single, texts, answers)]
    by_runs = [Field.of(list(map(vocabulary.runs, each)), grams) for each in (texts, answers, whole)]
    return Fields.of([[*by_words, None], [None, *by_runs]], sparse=1)


def _joined(texts: Sequence[Words]) -> list[str]:
    return list(chain.from_iterable(texts))


def _windows(words: Words) -> list[Words]:
    return [
        words[start : start + _WINDOW]
        for start in range(0, max(len(words) - _WINDOW + _STEP, min(len(words), 1)), _STEP)
    ]
