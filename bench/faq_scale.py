"""How the FAQ matcher grows: time a question, memory and time to build, for collections of any size.

    python -m bench.faq_scale [SIZE …] [--pruned-from ENTRIES] [--out FILE]

The entries are generated: made-up words, few of them frequent and most rare as in a language, a question of 5 to
12 words, another phrasing that keeps two words in three, and an answer of 10 to 20. A question asked is a phrasing with
a third of its words changed. Each size is built and asked in a process of its own. The index is built, stored, and read
back as a pod reads it; the re-ranker is the general one, for what is measured does not depend on its weights. Below
--pruned-from entries (20,000 if not given, as in training) a question is compared with all of them.

Times are processor time of one thread, for questions one by one, and a row in batches of 32. Memory is what the process
that answers holds (resident), and what of it is its own: the rest are files, which processes share; and the most that
the process that builds held.
"""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scoring_service.faq.corpus import Corpus
from scoring_service.faq.files import StoredEntry, write
from scoring_service.faq.index import EntryWords, Index
from scoring_service.faq.large import LargeIndex
from scoring_service.faq.matcher import Matcher
from scoring_service.faq.reranker import Reranker
from scoring_service.faq.training import PRUNED_FROM, general_logistic
from scoring_service.runtimes.base import Row
from scoring_service.runtimes.faq import FaqRuntime

SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUESTIONS = 320
BATCH = 32
COLUMNS = {
    "entries": "entries",
    "ms_p50": "ms p50",
    "ms_p99": "ms p99",
    "ms_batched": "ms in 32",
    "first": "first",
    "found": "top-10",
    "build_s": "build s",
    "load_s": "load s",
    "files_mb": "files MB",
    "resident_mb": "resident MB",
    "private_mb": "own MB",
    "peak_mb": "peak MB",
}


class Language:
    """Made-up words by Zipf's law: a thousand and, for larger collections, as many as a language would show."""

    def __init__(self, entries: int, seed: int) -> None:
        self.random = random.Random(seed)
        vowels = ("a", "e", "i", "o", "u", "an", "er", "in")
        syllables = [first + then for first in "bcdfghjklmnprstvwz" for then in vowels]
        count = int(1_000 + 40 * entries**0.5)
        words: dict[str, None] = {}
        while len(words) < count:
            words["".join(self.random.choices(syllables, k=self.random.choice((1, 2, 2, 3, 3, 4))))] = None
        self.words = list(words)
        self.weights = np.cumsum([1 / (rank + 2.7) for rank in range(count)]).tolist()

    def sentence(self, least: int, most: int) -> list[str]:
        return self.random.choices(self.words, cum_weights=self.weights, k=self.random.randint(least, most))

    def reworded(self, words: list[str]) -> list[str]:
        """The words with a third of them dropped or replaced; never none."""
        chosen: list[str] = []
        for word, other in zip(words, self.sentence(len(words), len(words)), strict=True):
            chance = self.random.random()
            chosen += [word] * (chance < 2 / 3) + [other] * (chance > 5 / 6)
        return chosen or words


def entries_of(count: int) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Question, phrasing and answer of each, as words; the same ones each time."""
    language = Language(count, seed=count)
    for _ in range(count):
        question = language.sentence(5, 12)
        yield question, language.reworded(question), language.sentence(10, 20)


def build(count: int, folder: str, pruned_from: int, results: Any) -> None:
    made = entries_of(count)
    index: Index | LargeIndex
    if count >= pruned_from:
        index = LargeIndex.build(
            Corpus.of(([question, phrasing], answer) for question, phrasing, answer in made), seed=0
        )
    else:
        index = Index.build([EntryWords([question, phrasing], answer) for question, phrasing, answer in made], seed=0)
    stored = (
        StoredEntry(str(number), str(number), [" ".join(question), " ".join(phrasing)], " ".join(answer))
        for number, (question, phrasing, answer) in enumerate(entries_of(count))
    )
    write(Path(folder), stored, index, Reranker(general_logistic(), None))
    results.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def ask(count: int, folder: str, results: Any) -> None:
    language = Language(count, seed=count)
    wanted = {int(place * count / QUESTIONS) for place in range(QUESTIONS)}
    chosen = [(number, words) for number, (words, _, _) in enumerate(entries_of(count)) if number in wanted]
    asked = [(str(number), Row((" ".join(language.reworded(words)),), {"top_k": 10})) for number, words in chosen]
    started = time.perf_counter()
    runtime = FaqRuntime(Matcher.load(Path(folder)), threshold=0.5)
    rows = [row for _, row in asked]
    runtime.score(rows[:1])  # what is made for the first question
    loaded = time.perf_counter() - started
    times, first, found = [], 0, 0
    for identity, row in asked:
        before = time.thread_time()
        [result] = runtime.score([row])
        times.append((time.thread_time() - before) * 1_000)
        first += identity == result["faq_id"][0]
        found += identity in result["faq_id"]
    before = time.thread_time()
    for at in range(0, len(rows), BATCH):
        runtime.score(rows[at : at + BATCH])
    batched = (time.thread_time() - before) / len(rows) * 1_000
    held = memory()
    results.put(
        {
            "ms_p50": float(np.percentile(times, 50)),
            "ms_p99": float(np.percentile(times, 99)),
            "ms_batched": batched,
            "first": first / len(asked),
            "found": found / len(asked),
            "load_s": loaded,
            "resident_mb": held["Rss"],
            "private_mb": held["Anonymous"],
        }
    )


def memory() -> dict[str, float]:
    """What this process holds, in MB, by kind."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return {name.rstrip(":"): int(size) / 1024 for name, size, *_ in map(str.split, lines)}


def measured(count: int, pruned_from: int) -> dict[str, Any]:
    """All figures of one size. Raises RuntimeError when a process ended badly, such as for want of memory."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        results = spawn.SimpleQueue()
        started = time.perf_counter()
        in_process(spawn.Process(target=build, args=(count, folder, pruned_from, results)))
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        peak = results.get()
        in_process(spawn.Process(target=ask, args=(count, folder, results)))
        return {"entries": count, "build_s": seconds, "files_mb": size, "peak_mb": peak, **results.get()}


def in_process(process: Any) -> None:
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the process ended with {process.exitcode}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the FAQ matcher for collections of growing size.")
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, help="numbers of entries")
    parser.add_argument(
        "--pruned-from",
        type=int,
        default=PRUNED_FROM,
        help="entries from which on only some are compared (%(default)s)",
    )
    parser.add_argument("--out", type=Path, help="write the figures to this file, as JSON")
    args = parser.parse_args()
    print("".join(f"{name:>12}" for name in COLUMNS.values()), flush=True)
    report = []
    for size in args.sizes:
        try:
            figures = measured(size, args.pruned_from)
        except RuntimeError as error:
            print(f"{size:>12,}  {error}", file=sys.stderr)
            continue
        report.append(figures)
        print("".join(f"{figures[name]:>12,.{0 if figures[name] >= 1_000 else 2}f}" for name in COLUMNS), flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
