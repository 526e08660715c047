"""Asks a version and the champion the inputs of an evaluation set, in turns, and keeps what reports.py needs.

Nothing here knows of pods or of the database: a `Voice` is asked, and what it says is noted.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Protocol

from webapp.errors import ScoringError
from webapp.registry.evaluation_sets import Case
from webapp.registry.metrics import Rank

SINGLES = 500  # inputs asked one by one, as callers do; their latency is measured
SINGLES_WITHIN = 60.0  # seconds after which the rest goes in batches all the same
BATCH = 8  # more at once, and the requests of callers would wait behind them
BATCH_BYTES = 16 * 2**20
LONGEST_PAUSE = 0.05  # seconds
WARM_UP = 3  # inputs asked before anything is measured
HOPELESS = 10  # inputs in a row without an answer, after which a version is asked no more
EXAMPLES = 50
SHOWN_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Guess:
    """One answer of a version: an entry or a label, with its probability."""

    id: str
    probability: float
    label: str = ""


Guesses = Sequence[Guess]  # most probable first


class Gone(Exception):
    """The version answers no more; says why."""


class Voice(Protocol):
    """A version that can be asked. Raises ScoringError for an input that it cannot answer, Gone when it never will."""

    def ask(self, case: Case) -> Guesses: ...

    def ask_many(self, cases: Sequence[Case]) -> Sequence[Guesses]: ...


@dataclass
class Side:
    """One version, and what it made of the inputs so far."""

    version: str
    voice: Voice
    ranks: list[Rank] = field(default_factory=list)  # of the inputs that have an expected answer
    # Of each input that was answered: the first answer's probability, whether one was expected, whether it is that one.
    firsts: list[tuple[float, bool, bool]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    failures: list[tuple[Case, str]] = field(default_factory=list)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)  # the expected answer, the first answer
    labels: dict[str, str] = field(default_factory=dict)  # as it calls what it answered first
    _without_answer: int = 0  # inputs in a row

    def warm_up(self, case: Case) -> None:
        try:
            self.voice.ask(case)
        except ScoringError:
            return  # the input comes again, and then it counts

    def answer(self, case: Case, *, timed: bool = True) -> Guesses:
        """Its answers to one input, none where it has none; noted either way. Raises Gone."""
        began = time.perf_counter()
        try:
            guesses = self.voice.ask(case)
        except ScoringError as error:
            return self._note_failure(case, error.detail)
        if timed:
            self.milliseconds.append((time.perf_counter() - began) * 1000)
        return self._note(case, guesses)

    def answer_all(self, cases: Sequence[Case]) -> list[Guesses]:
        """The same of several inputs at once; one by one where they were refused as a whole."""
        try:
            answers = self.voice.ask_many(cases)
        except ScoringError:
            return [self.answer(case, timed=False) for case in cases]
        return [self._note(case, guesses) for case, guesses in zip(cases, answers, strict=True)]

    def _note(self, case: Case, guesses: Guesses) -> Guesses:
        if not guesses:
            return self._note_failure(case, "The answer was empty.")
        if not all(0 <= guess.probability <= 1 for guess in guesses):
            return self._note_failure(case, "A probability in its answer is not a number from 0 to 1.")
        self._without_answer = 0
        first = guesses[0]
        if case.expected is not None:
            places = (place for place, guess in enumerate(guesses, start=1) if guess.id == case.expected)
            self.ranks.append(next(places, None))
            self.confused[case.expected, first.id] += 1
        self.firsts.append((first.probability, case.expected is not None, first.id == case.expected))
        self.labels[first.id] = first.label
        return guesses

    def _note_failure(self, case: Case, reason: str) -> Guesses:
        self.failures.append((case, reason))
        if case.expected is not None:
            self.ranks.append(None)
        self._without_answer += 1
        if self._without_answer == HOPELESS:
            raise Gone(f"It had no answer to {HOPELESS} inputs in a row. The last time: {reason}")
        return ()


@dataclass
class Disagreements:
    """The inputs to which the two put different answers first, of those that have an expected answer."""

    counts: Counter[str] = field(default_factory=Counter)  # by kind: lost, won, different
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def note(self, case: Case, candidate: Guesses, champion: Guesses) -> None:
        ours, theirs = (guesses[0].id if guesses else None for guesses in (candidate, champion))
        if case.expected is None or ours == theirs:
            return
        kind = "lost" if theirs == case.expected else "won" if ours == case.expected else "different"
        self.counts[kind] += 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < EXAMPLES:
            kept.append(
                {
                    "kind": kind,
                    "input": case.name,
                    "expected": {"id": case.expected, "label": ""},
                    "candidate": [asdict(guess) for guess in candidate[:SHOWN_ANSWERS]],
                    "champion": [asdict(guess) for guess in champion[:SHOWN_ANSWERS]],
                }
            )


@dataclass
class Evaluation:
    """Both sides on the same inputs, in turns: whatever else the pods do meanwhile slows both alike.

    champion: None where there is none, or none any more; `note` then says why.
    """

    kind: str
    candidate: Side
    champion: Side | None
    note: str = ""
    disagreements: Disagreements = field(default_factory=Disagreements)
    done: int = 0

    def run(self, cases: Callable[[], Iterator[Case]], *, on_progress: Callable[[int], None]) -> None:
        """Asks everything. cases: gives the inputs, each time from the first on. on_progress: told how many are done.

        Raises Gone when the candidate answers no more.
        """
        for case in islice(cases(), WARM_UP):
            self._both(partial(_warm_up, case))
        coming = cases()
        until = time.monotonic() + SINGLES_WITHIN
        for case in islice(coming, SINGLES):
            self._compare([case], self._both(partial(_answer, case)))
            on_progress(self.done)
            if time.monotonic() > until:
                break
        for batch in _batches(coming):
            self._compare(batch, self._both(partial(_answer_all, batch)))
            on_progress(self.done)

    def _both(self, ask: Callable[[Side], list[Guesses]]) -> list[list[Guesses]]:
        """What the candidate says, then what the champion says; asked now in this order, now in the other.

        Leaves the pods to their callers for as long as it has kept them busy.
        """
        began = time.monotonic()
        said: dict[str, list[Guesses]] = {}
        sides = [side for side in (self.candidate, self.champion) if side]
        for side in reversed(sides) if self.done % 2 else sides:
            try:
                said[side.version] = ask(side)
            except Gone as error:
                if side is self.candidate:
                    raise
                self.champion, self.disagreements = None, Disagreements()
                self.note = f"Version {side.version} could not be compared with: {error}"
        time.sleep(min(time.monotonic() - began, LONGEST_PAUSE))
        return [said[side.version] for side in (self.candidate, self.champion) if side]

    def _compare(self, cases: Sequence[Case], said: list[list[Guesses]]) -> None:
        self.done += len(cases)
        if len(said) == 2:
            for case, candidate, champion in zip(cases, *said, strict=True):
                self.disagreements.note(case, candidate, champion)


def _warm_up(case: Case, side: Side) -> list[Guesses]:
    side.warm_up(case)
    return []


def _answer(case: Case, side: Side) -> list[Guesses]:
    return [side.answer(case)]


def _answer_all(cases: Sequence[Case], side: Side) -> list[Guesses]:
    return side.answer_all(cases)


def _batches(cases: Iterator[Case]) -> Iterator[list[Case]]:
    """The inputs in batches, small enough in number and in bytes for one request."""
    batch: list[Case] = []
    size = 0
    for case in cases:
        batch.append(case)
        size += len(case.content)
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
