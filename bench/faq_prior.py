"""Learns the general weights of the FAQ re-ranker, scoring_service/faq/prior.json, from the sample FAQ.

    python -m bench.faq_prior webapp/faq/sample/*.jsonl

From the one FAQ it makes many, of two entries up to most of them, with no phrasings up to most of them, with answers
and without, so that the weights hold for collections of any size and age. A small or new collection starts from them.
"""

import argparse
import itertools
from pathlib import Path

import msgspec
import numpy as np

from scoring_service.faq import text
from scoring_service.faq.entries import Entry, read_collection
from scoring_service.faq.features import FEATURES, candidates_of
from scoring_service.faq.index import EntryWords, Index
from scoring_service.faq.reranker import Logistic, fit_logistic

TARGET = Path(__file__).parent.parent / "scoring_service" / "faq" / "prior.json"
SIZES = (2, 6, 20, 60, 1_000)
KNOWN_PHRASINGS = (0, 2, 8, 16)
QUESTIONS = 600  # a made collection: some repeated draws for the small sizes
UNANSWERABLE_WEIGHT = 0.15
STRENGTH = 2.0


def rows_of(entries: list[Entry], others: list[Entry], known: int, *, answers: bool) -> tuple[np.ndarray, ...]:
    """Features, hits and weights of the phrasings that the index was not given, and of the other entries' phrasings."""
    index = Index.build(
        [
            EntryWords(
                [text.words(entry.question), *map(text.words, entry.phrasings[:known])],
                text.words(entry.answer, keep_code=True) if answers else [],
            )
            for entry in entries
        ],
        seed=0,
    )
    asked = [(text.words(each), number) for number, entry in enumerate(entries) for each in entry.phrasings[known:]]
    unanswered = [(text.words(each), -1) for entry in others for each in entry.phrasings[known:]]
    both = [*asked, *unanswered]
    found = [candidates_of(index, [words for words, _ in both[at : at + 128]]) for at in range(0, len(both), 128)]
    features = np.concatenate([each.features for each in found])
    hits = np.concatenate([each.entries for each in found]) == np.array([number for _, number in both])[:, None]
    share = UNANSWERABLE_WEIGHT / (1 - UNANSWERABLE_WEIGHT) * len(asked) / max(len(unanswered), 1)
    weight = np.where(np.array([number for _, number in both]) < 0, share, 1.0)
    return features.reshape(-1, len(FEATURES)), hits.ravel(), np.repeat(weight, features.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn the general weights of the FAQ re-ranker.")
    parser.add_argument("entries", type=Path, nargs="+", help="JSON lines of the sample FAQ")
    entries = list(read_collection(parser.parse_args().entries).entries)
    random = np.random.default_rng(0)
    parts = []
    for size, known, answers in itertools.product(SIZES, KNOWN_PHRASINGS, (True, False)):
        unseen = max(len(entries[0].phrasings) - known, 1)
        for _ in range(max(1, QUESTIONS // (min(size, len(entries)) * unseen))):
            order = [entries[place] for place in random.permutation(len(entries))]
            size_here = min(size, len(entries) * 4 // 5)
            features, hits, weight = rows_of(
                order[:size_here], order[size_here : size_here + max(size_here // 4, 2)], known, answers=answers
            )
            parts.append((features, hits, weight * (QUESTIONS / max(size_here * unseen, QUESTIONS))))
    features, hits, weight = (np.concatenate(each) for each in zip(*parts, strict=True))
    centre, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6
    columns = np.column_stack([(features - centre) / scale, np.ones(len(features))])
    weights = fit_logistic(columns, hits, weight, np.zeros(columns.shape[1]), STRENGTH)
    logistic = Logistic(centre.round(4), scale.round(4), weights[:-1].round(4), round(float(weights[-1]), 4))
    TARGET.write_bytes(msgspec.json.format(msgspec.json.encode(logistic.to_json()), indent=1) + b"\n")
    print(f"{len(features)} candidates from {len(parts)} collections -> {TARGET}")


if __name__ == "__main__":
    main()
