"""Measures the FAQ matcher on public data, beside BM25 and a classifier of question pairs, in one table.

    python -m bench.faq_quality DATA [--set NAME …] [--method NAME …] [--json FILE]

DATA is a folder that holds `banking77/` (train.csv.gz, test.csv.gz, train_10/, train_5/) and `banking77-oos/` (train/,
test/, id-oos/test/, ood-oos/test/, each with label.gz and seq.in.gz) as published. A category is an entry: its readable
name is the question, its training texts are the phrasings; the few blank training texts are left out. The matcher is
trained, written to files, read back and asked through the runtime that serves. Nothing is chosen by the test parts.
"""

import argparse
import csv
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from scoring_service import store
from scoring_service.errors import BadRow
from scoring_service.faq import text
from scoring_service.faq.bm25 import Field, Fields
from scoring_service.faq.entries import Collection, Entry
from scoring_service.faq.evaluation import Outcome, metrics_of
from scoring_service.faq.registration import register
from scoring_service.faq.sparse import Cells
from scoring_service.faq.vocabulary import Vocabulary
from scoring_service.runtimes.base import Row
from scoring_service.runtimes.faq import load

BATCH = 32
TIMED = 640  # questions
PAIR_QUESTIONS = 10_000  # that the pair classifier learns from
PAIR_NEGATIVES = 5  # other entries a question is paired with
PAIR_TREES = 1_000
PAIR_COLUMNS = 600  # the most frequent words and word pairs of each side


@dataclass(frozen=True)
class Task:
    """questions: with the id of the right entry; None: no entry answers it."""

    name: str
    collection: Collection
    questions: list[tuple[str, str | None]]


@dataclass(frozen=True)
class Scored:
    """orders: entry ids, best first, for each question; probabilities: of the first."""

    orders: list[list[str]]
    probabilities: list[float]
    calibrated: bool
    seconds: float
    ms_alone: float | None = None
    ms_batched: float | None = None


def lines(folder: Path, name: str) -> list[str]:
    with gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def labelled(folder: Path) -> list[tuple[str, str]]:
    return list(zip(lines(folder, "seq.in"), lines(folder, "label"), strict=True))


def table_of(path: Path) -> list[tuple[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def collection_of(rows: list[tuple[str, str]], *, phrasings: bool = True) -> Collection:
    texts: dict[str, list[str]] = {}
    for each, category in rows:
        if text.is_question(each):
            texts.setdefault(category, []).append(each)
    return Collection(
        tuple(
            Entry(
                id=category,
                answer_id=category,
                question=category.replace("_", " "),
                phrasings=tuple(texts[category]) if phrasings else (),
            )
            for category in sorted(texts)
        )
    )


def tasks(data: Path) -> dict[str, Callable[[], Task]]:
    banking, oos = data / "banking77", data / "banking77-oos"

    def answered(name: str, rows: Callable[[], list[tuple[str, str]]], *, phrasings: bool = True) -> Task:
        return Task(name, collection_of(rows(), phrasings=phrasings), [*table_of(banking / "test.csv.gz")])

    def unanswered(name: str, *parts: str) -> Task:
        questions: list[tuple[str, str | None]] = [*labelled(oos / "test")]
        questions += [(each, None) for part in parts for each in lines(oos / part / "test", "seq.in")]
        return Task(name, collection_of(labelled(oos / "train")), questions)

    return {
        "full": lambda: answered("banking77", lambda: table_of(banking / "train.csv.gz")),
        "10-shot": lambda: answered("banking77, 10 a category", lambda: labelled(banking / "train_10")),
        "5-shot": lambda: answered("banking77, 5 a category", lambda: labelled(banking / "train_5")),
        "cold": lambda: answered("banking77, names only", lambda: table_of(banking / "train.csv.gz"), phrasings=False),
        "oos": lambda: unanswered("banking77-oos", "id-oos", "ood-oos"),
        "id-oos": lambda: unanswered("banking77-oos, other banking", "id-oos"),
        "ood-oos": lambda: unanswered("banking77-oos, other subjects", "ood-oos"),
    }


def matcher(task: Task) -> Scored:
    """Our matcher, by the way of a real deployment: trained, stored, loaded, asked as rows."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        manifest = register(
            task.collection,
            Path(folder),
            "bench",
            title="",
            description="",
            sample=False,
            seed=0,
            source=task.name,
            progress=lambda step: print(f"    {step}", file=sys.stderr),
        )
        seconds = time.process_time() - started
        directory = Path(folder) / "bench" / manifest.version
        store.verify(directory, manifest)
        runtime = load(directory, manifest)
        rows = [Row((question,), {"top_k": 0}) for question, _ in task.questions]
        results = [result for at in range(0, len(rows), BATCH) for result in runtime.score(rows[at : at + BATCH])]
        everything = [entry.id for entry in task.collection.entries]
        timed = [Row((question,), {"top_k": 10}) for question, _ in task.questions[:TIMED]]
        return Scored(
            # A question without words is refused: nothing is shown for it.
            [everything if isinstance(result, BadRow) else result["faq_id"] for result in results],
            [0.0 if isinstance(result, BadRow) else result["probability"][0] for result in results],
            calibrated=True,
            seconds=seconds,
            ms_alone=milliseconds(lambda row: runtime.score([row]), timed),
            ms_batched=milliseconds(runtime.score, [timed[at : at + BATCH] for at in range(0, len(timed), BATCH)])
            / BATCH,
        )


def milliseconds(ask: Callable[[Any], Any], asked: list[Any]) -> float:
    """Processor time of one call: the least of three rounds, as other work on the machine only adds to it."""
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for each in asked:
            ask(each)
        rounds.append((time.process_time() - started) / len(asked) * 1000)
    return min(rounds)


def bm25(task: Task) -> Scored:
    """BM25 of the entry's closest text, with the matcher's own cutting into words and its reading of misspelt ones."""
    started = time.process_time()
    entries = task.collection.entries
    texts = [text.words(each) for entry in entries for each in (entry.question, *entry.phrasings)]
    first = np.cumsum([0] + [1 + len(entry.phrasings) for entry in entries])[:-1]
    vocabulary = Vocabulary.of(texts)
    fields = Fields.of([[Field.of([vocabulary.terms(each) for each in texts], len(vocabulary.words))]])
    scores = []
    for at in range(0, len(task.questions), BATCH):
        asked = vocabulary.encode([text.words(question) for question, _ in task.questions[at : at + BATCH]])
        words = (asked.terms.row % 2 == 0).nonzero()[0]
        terms = Cells(asked.terms.rows // 2, asked.terms.row[words] // 2, asked.terms.column[words])
        reached, factors = fields.scores(terms, asked.unknown[::2])
        scores.append(np.maximum.reduceat(reached * factors[0], first, axis=1))
    return ranked(task, np.concatenate(scores), calibrated=False, seconds=time.process_time() - started)


def pair_classifier(task: Task) -> Scored | None:
    """As in the reference: TF-IDF of a question and of an entry side by side, boosted trees say whether they match.

    Each question is paired with its entry and with others drawn at random; the entry's text is its question. None
    where there are no phrasings to learn from.
    """
    started = time.process_time()
    random = np.random.default_rng(0)
    entries = task.collection.entries
    asked = [(each, number) for number, entry in enumerate(entries) for each in entry.phrasings]
    if not asked:
        return None
    asked = [asked[place] for place in random.permutation(len(asked))[:PAIR_QUESTIONS]]
    questions = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=PAIR_COLUMNS)
    originals = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=PAIR_COLUMNS)
    left = questions.fit_transform([each for each, _ in asked]).toarray().astype(np.float32)
    right = originals.fit_transform([entry.question for entry in entries]).toarray().astype(np.float32)
    owner = np.array([number for _, number in asked])
    others = (owner[:, None] + random.integers(1, len(entries), (len(asked), PAIR_NEGATIVES))) % len(entries)
    paired = np.column_stack([owner, others]).ravel()
    rows = np.hstack([np.repeat(left, PAIR_NEGATIVES + 1, axis=0), right[paired]])
    trees = HistGradientBoostingClassifier(max_iter=PAIR_TREES, early_stopping=False, random_state=0)
    with threadpool_limits(1):
        trees.fit(rows, paired == np.repeat(owner, PAIR_NEGATIVES + 1))
        scores = []
        for at in range(0, len(task.questions), BATCH):
            part = questions.transform([question for question, _ in task.questions[at : at + BATCH]]).toarray()
            pairs = np.hstack(
                [np.repeat(part.astype(np.float32), len(entries), axis=0), np.tile(right, (len(part), 1))]
            )
            scores.append(trees.predict_proba(pairs)[:, 1].reshape(len(part), len(entries)))
    return ranked(task, np.concatenate(scores), calibrated=True, seconds=time.process_time() - started)


def ranked(task: Task, scores: np.ndarray, *, calibrated: bool, seconds: float) -> Scored:
    ids = [entry.id for entry in task.collection.entries]
    orders = np.argsort(-scores, axis=1, kind="stable")
    return Scored(
        [[ids[place] for place in order] for order in orders], scores.max(axis=1).tolist(), calibrated, seconds
    )


METHODS: dict[str, Callable[[Task], Scored | None]] = {
    "matcher": matcher,
    "BM25": bm25,
    "pair classifier": pair_classifier,
}
COLUMNS = {
    "accuracy_at_1": "acc@1",
    "accuracy_at_3": "acc@3",
    "mrr": "MRR",
    "ece": "ECE",
    "no_answer_auroc": "AUROC",
    "ms_alone": "ms alone",
    "ms_batched": "ms in 32",
    "seconds": "train s",
}


def measured(task: Task, scored: Scored) -> dict[str, Any]:
    ranks = [
        0 if right is None else 1 + order.index(right)
        for order, (_, right) in zip(scored.orders, task.questions, strict=True)
    ]
    metrics = metrics_of(Outcome(np.array(ranks), np.array(scored.probabilities)))
    if not scored.calibrated:
        metrics["ece"] = None  # a score that is no probability
    return metrics | {"ms_alone": scored.ms_alone, "ms_batched": scored.ms_batched, "seconds": scored.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the FAQ matcher on public data.")
    parser.add_argument("data", type=Path, help="folder with banking77/ and banking77-oos/")
    parser.add_argument("--set", action="append", dest="sets", help="only this one; may be repeated")
    parser.add_argument("--method", action="append", dest="methods", choices=METHODS, help="only this one")
    parser.add_argument("--json", type=Path, help="write all measures to this file")
    args = parser.parse_args()
    available = tasks(args.data)
    report = []
    print(f"{'data':32}{'method':17}" + "".join(f"{name:>9}" for name in COLUMNS.values()), flush=True)
    for name in args.sets or available:
        task = available[name]()
        for method in args.methods or METHODS:
            scored = METHODS[method](task)
            if scored is None:
                continue
            measures = measured(task, scored)
            report.append({"data": task.name, "method": method, **measures})
            cells = [measures[column] for column in COLUMNS]
            row = "".join(f"{'–':>9}" if cell is None else f"{cell:>9.3f}" for cell in cells)
            print(f"{task.name:32}{method:17}{row}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
