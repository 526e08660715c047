"""A trained matcher as a version in the model store, with what was measured of it."""

import hashlib
import time
import tracemalloc
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from scoring_service import store
from scoring_service.contract import EvaluationQuestion, Manifest, TrainingData
from scoring_service.faq import text, training
from scoring_service.faq.entries import Collection, lines_of
from scoring_service.faq.evaluation import Asked, Outcome, metrics_of
from scoring_service.faq.files import StoredEntry
from scoring_service.faq.matcher import Matcher
from scoring_service.faq.training import Progress

BATCH = 32
_TIMED_QUESTIONS = 200
_SMOKE_QUESTIONS = 3
SNAPSHOT = "training.jsonl"  # what a version was trained on, as train-faq takes it
EVALUATION = "evaluation.jsonl"
ASKED = "asked.jsonl"  # questions that the matcher did not know, and what it made of them: to choose a threshold by
_MOST_ASKED = 2_000  # test phrasings among them; of more, some spread evenly over all


def register(
    collection: Collection,
    folder: Path,
    model: str,
    *,
    title: str,
    description: str,
    sample: bool,
    seed: int,
    source: str,
    progress: Progress,
    pruned_from: int = training.PRUNED_FROM,
) -> Manifest:
    """Trains a matcher, measures it and writes it into the store `folder` as the next version of the model.

    source: where the collection comes from, for people. pruned_from: entries, from which on a question is compared
    with some of them only.
    """
    trained = training.train(collection, seed=seed, pruned_from=pruned_from, progress=progress)
    entries = [
        StoredEntry(entry.id, entry.answer_id, [entry.question, *entry.phrasings], entry.answer)
        for entry in collection.entries
    ]
    phrasings = sum(len(entry.phrasings) for entry in collection.entries)
    matcher = Matcher(entries, trained.index, trained.reranker)
    progress("measuring")
    metrics = _measured(matcher, collection, trained.outcome)
    asked = [*trained.asked, *_tested(matcher, collection)]

    def build(scratch: Path) -> dict[str, Any]:
        matcher.save(scratch)
        memory = memory_for(scratch)
        snapshot = lines_of(collection)
        (scratch / SNAPSHOT).write_bytes(snapshot)
        (scratch / ASKED).write_bytes(msgspec.json.Encoder().encode_lines(asked))
        return {
            "kind": "faq",
            "runtime": "faq",
            "pool": "cpu",
            "title": title,
            "description": description,
            "sample": sample,
            "libraries": {name: metadata.version(name) for name in ("numpy", "scipy")},
            "memory": memory,
            "data": TrainingData(
                f"{len(entries):,} entries with {phrasings:,} other phrasings, from {source}",
                hashlib.sha256(snapshot).hexdigest(),
                rows=len(entries) + len(collection.unanswerable),
                file=SNAPSHOT,
            ),
            "parameters": {"threshold": trained.threshold, "entries": len(entries), "seed": seed},
            "metrics": metrics,
            "smoke": [{"text": entry.question} for entry in collection.entries[:_SMOKE_QUESTIONS]],
        }

    return store.write_version(folder, model, build)


def evaluation_set(collection: Collection) -> bytes | None:
    """What the collection has to measure matchers by, as JSON lines; None when nothing in it was held out."""
    questions = test_questions(collection)
    if all(identity is None for _, identity in questions):
        return None
    return msgspec.json.Encoder().encode_lines([EvaluationQuestion(*each) for each in questions])


def memory_for(folder: Path) -> int:
    """Bytes that loading the matcher's files takes: what becomes Python's, and what is mapped."""
    mapped = sum(path.stat().st_size for path in (*folder.glob("*.npy"), *folder.glob("entries.jsonl")))
    tracemalloc.start()
    try:
        Matcher.load(folder)
        return mapped + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_questions(collection: Collection) -> list[tuple[str, str | None]]:
    """The held-out phrasings with the ids of their entries, then the unanswerable questions with None."""
    asked: list[tuple[str, str | None]] = [
        (each, entry.id) for entry in collection.entries for each in entry.test_phrasings
    ]
    return asked + [(each, None) for each in collection.unanswerable]


def outcome_of(matcher: Matcher, questions: Sequence[tuple[str, str | None]]) -> Outcome:
    """What the matcher makes of questions given with the id of the right entry, or None where there is none."""
    ranks, probabilities = [], []
    numbers = {entry.id: number for number, entry in enumerate(matcher.entries)}
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        found = matcher.match([text.words(question) for question, _ in batch], [0] * len(batch))
        for (_, identity), matches in zip(batch, found, strict=True):
            place = None if identity is None else np.flatnonzero(matches.entries == numbers[identity])
            ranks.append(0 if place is None else int(place[0]) + 1)
            probabilities.append(float(matches.probabilities[0]))
    return Outcome(np.array(ranks, dtype=np.int64), np.array(probabilities))


def _tested(matcher: Matcher, collection: Collection) -> list[Asked]:
    """The test phrasings, one by one."""
    questions = [(each, entry.id) for entry in collection.entries for each in entry.test_phrasings]
    step = max(1.0, len(questions) / _MOST_ASKED)
    chosen = [questions[int(place * step)] for place in range(min(len(questions), _MOST_ASKED))]
    asked = []
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        found = matcher.match([text.words(question) for question, _ in batch], [1] * len(batch))
        asked += [
            Asked(
                question=question,
                expected=identity,
                first=matcher.entries[int(matches.entries[0])].id,
                probability=round(float(matches.probabilities[0]), 4),
            )
            for (question, identity), matches in zip(batch, found, strict=True)
        ]
    return asked


def milliseconds(matcher: Matcher, questions: Sequence[str], batch: int) -> float:
    """Processor time a question, from its text to its ten best entries, in batches of the given size."""
    matcher.match([text.words(questions[0])], [10])  # what is computed once is not a question's time
    started = time.process_time()
    for start in range(0, len(questions), batch):
        words = [text.words(each) for each in questions[start : start + batch]]
        matcher.match(words, [10] * len(words))
    return (time.process_time() - started) / len(questions) * 1000


def _measured(matcher: Matcher, collection: Collection, held_out: Outcome | None) -> dict[str, Any]:
    """By the test phrasings where there are any, else by what was held out in training, else by nothing."""
    asked = test_questions(collection)
    if any(identity is not None for _, identity in asked):
        source, outcome = "test_phrasings", outcome_of(matcher, asked)
    elif held_out is not None:
        source, outcome = "held_out_phrasings", held_out
    else:
        source, outcome = None, Outcome(np.zeros(0, dtype=np.int64), np.zeros(0))
    timed = [each for entry in collection.entries for each in (entry.question, *entry.test_phrasings)][
        :_TIMED_QUESTIONS
    ]
    return {
        "measured_on": source,
        **metrics_of(outcome),
        "ms_per_question": milliseconds(matcher, timed, 1),
        "ms_per_question_in_batches_of_32": milliseconds(matcher, timed, BATCH),
    }
