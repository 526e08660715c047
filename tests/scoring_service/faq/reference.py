"""The matcher's answer the plain way: scikit-learn's vectorizer, scipy's products, one question at a time, everything
computed for every entry. It reads a version's files and shares with the matcher the cutting into words, the reading of
misspelt ones and the re-ranker's weights."""

import math
from itertools import chain
from pathlib import Path

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from scoring_service.faq import text
from scoring_service.faq.features import SCORERS
from scoring_service.faq.files import read
from scoring_service.faq.spelling import Spelling
from scoring_service.faq.vocabulary import search_terms, word_grams

RETRIEVERS = {"margin": 2.0, "all_grams": 1.0, "entry_words": 1.0, "closest_words": 1.0}


class Reference:
    def __init__(self, version: Path) -> None:
        self.entries, index, self.reranker = read(version)
        self.index = index
        self.words, self.grams = list(index.vocabulary.words), list(index.vocabulary.grams)
        self.spelling = Spelling(word for word in self.words if " " not in word)
        self.by_words = self.vectorizer(self.words, index.vocabulary.word_idf)
        self.by_grams = self.vectorizer(self.grams, index.vocabulary.gram_idf)
        self.impacts = index.fields.impacts.matrix.astype(np.float64)

    @staticmethod
    def vectorizer(terms, idf):
        found = TfidfVectorizer(analyzer=lambda terms: terms, vocabulary=terms, sublinear_tf=True, dtype=np.float64)
        found.idf_ = idf.astype(np.float64)
        return found

    def __call__(self, question: str) -> list[tuple[str, float]]:
        """The ten best entries with their probabilities."""
        words = text.words(question)
        unknown = {word for word in words if word not in self.index.vocabulary.words}
        read_words = [self.spelling.nearest(word) if word in unknown else word for word in words]
        word_vector = self.by_words.transform([word_grams(read_words)])
        gram_vector = self.by_grams.transform([list(chain.from_iterable(map(text.character_grams, words)))])
        vectors = word_vector, gram_vector
        features, entries = self.features(words, unknown, self.scores(words, read_words, unknown, vectors), vectors)
        probability = np.minimum(self.reranker.probabilities(features[None])[0], 0.98)
        for place, number in enumerate(entries):
            if " ".join(words) in {" ".join(text.words(each)) for each in self.entries[number].texts}:
                probability[place] = 0.99 + 0.01 * probability[place]
        order = np.argsort(-probability, kind="stable")[:10]
        return [(self.entries[entries[place]].id, float(probability[place])) for place in order]

    def scores(self, words, read_words, unknown, vectors):
        """Each scorer's opinion of every entry (scorers, entries), and BM25 of every text."""
        index, entries = self.index, len(self.entries)
        unknown_runs = {gram for word in unknown for gram in text.character_grams(word) if len(gram) >= 3}
        looked_up = (
            (set(search_terms(read_words)) & set(self.words), 0, self.words, len(unknown)),
            (
                {gram for word in words for gram in text.character_grams(word) if len(gram) >= 3} & set(self.grams),
                len(self.words),
                self.grams,
                len(unknown_runs - set(self.grams)),
            ),
        )
        starts = np.cumsum([0, *index.fields.sizes])
        by_kind = []
        for kind, (terms, first, known, missing) in enumerate(looked_up):
            numbers = sorted(first + known.index(term) for term in terms)
            asked = scipy.sparse.csr_array(
                (np.ones(len(numbers)), ([0] * len(numbers), numbers)), shape=(1, self.impacts.shape[0])
            )
            reached = (asked @ self.impacts).toarray()[0]
            weights = index.fields.weights[:, numbers].astype(np.float64).sum(axis=1)
            possible = np.maximum(weights + missing * index.fields.unknown[:, kind], 1e-6)
            by_kind.append([reached[starts[at] : starts[at + 1]] / possible[at] for at in range(4)])
        (by_text, entry_words, answer_words, _), (_, entry_grams, answer_grams, all_grams) = by_kind
        vector = scipy.sparse.hstack(vectors, format="csr")
        margin, topics = np.zeros(entries), np.zeros(entries)
        if index.classifier:
            weights = index.classifier.weights.matrix.astype(np.float64)
            margin = (vector @ weights).toarray()[0] + index.classifier.bias
        if index.latent:
            components = index.latent.topics.astype(np.float64)[index.latent.row_of]
            place = (vector @ components)[0]
            topics = index.latent.centres @ (place / max(np.linalg.norm(place), 1e-9))
        closest = np.maximum.reduceat(by_text, index.first_text)
        scores = [margin, closest, entry_words, entry_grams, answer_words, answer_grams, all_grams, topics]
        return np.array(scores).astype(np.float32).astype(np.float64), by_text

    def features(self, words, unknown, scored, vectors):
        """Features of the twenty best entries (k, columns), and which these are."""
        index, entries = self.index, len(self.entries)
        (scores, by_text), (word_vector, gram_vector) = scored, vectors
        retrievers = {name: each for name, each in RETRIEVERS.items() if name != "margin" or index.classifier}
        fused = 1e-3 * np.tanh([scores[SCORERS.index(name)] for name in retrievers]).sum(axis=0)
        for name, weight in retrievers.items():
            score = scores[SCORERS.index(name)]
            ranked = min(50, entries)
            best = np.argpartition(-score.astype(np.float32), ranked - 1)[:ranked]
            best = best[np.argsort(-score[best], kind="stable")]
            fused[best] += weight / (10 + np.arange(ranked))
        asked = " ".join(words)
        fused += [10 * any(" ".join(text.words(each)) == asked for each in entry.texts) for entry in self.entries]
        chosen = np.argsort(-fused, kind="stable")[:20]
        texts = [int(index.first_text[number]) for number in chosen]
        texts = [
            first + int(np.argmax(by_text[first : first + len(self.entries[number].texts)].astype(np.float32)))
            for first, number in zip(texts, chosen, strict=True)
        ]
        idf = {word: float(index.vocabulary.word_idf[number]) for word, number in index.vocabulary.words.items()}
        known_weight = sum(idf.get(word, 0) for word in set(words))
        weight = known_weight + len(unknown) * (math.log(1 + index.vocabulary.text_count) + 1)
        word_cosine = (index.text_words[texts] @ word_vector.T).toarray()[:, 0]
        gram_cosine = (index.text_grams[texts] @ gram_vector.T).toarray()[:, 0]
        held = set(word_vector.indices)
        shared, text_weight = [], []
        for number in texts:
            single = [at for at in index.text_words[[number]].indices if " " not in self.words[at]]
            shared.append(sum(idf[self.words[at]] for at in single if at in held))
            text_weight.append(sum(idf[self.words[at]] for at in single))
        share = np.exp(3 * (scores[0] - scores[0].max()))
        columns = [
            *scores[:, chosen],
            *(self.lead(score)[chosen] for score in scores),
            (share / share.sum())[chosen],
            scores[0].max(),
            scores[SCORERS.index("all_grams")].max(),
            word_cosine,
            gram_cosine,
            self.lead(gram_cosine),
            np.array(shared) / weight,
            np.array(shared) / text_weight,
            known_weight / weight,
            math.log1p(len(words)),
        ]
        return np.stack(np.broadcast_arrays(*columns), axis=1), chosen

    @staticmethod
    def lead(scores):
        """By how much each leads the best other one."""
        if len(scores) == 1:
            return scores
        return scores - [max(np.delete(scores, place)) for place in range(len(scores))]
