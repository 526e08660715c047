"""Which words made a match: what to mark in the question and in the entry."""

import functools
from collections.abc import Sequence

from scoring_service.faq import text
from scoring_service.faq.searching import AnyIndex
from scoring_service.faq.spelling import LEAST_LENGTH, short_runs

_COMMON = 0.25  # a word that this share of the entries has explains nothing
_LEAST_ENTRIES = 8  # below, shares say little
_ALIKE = 0.5  # Dice coefficient of the character runs of two words that count as one ("closre", "closure")


def matching_terms(index: AnyIndex, question: str, entry_texts: Sequence[str]) -> dict[str, list[str]]:
    """The words that the question and the entry's texts share, or that are spelt alike.

    Returns {"question": […], "entry": […]}: the words as typed, each once, in the order of their text.
    """
    asked = _words_of(question)
    held: dict[str, frozenset[str]] = {}
    for each in entry_texts:
        held.update(_known_words_of(each))
    pairs = _pairs(
        {form for forms in asked.values() for form in forms}, {form for each in held.values() for form in each}
    )
    telling = {pair for pair in pairs if not _is_common(index, pair[0])} or pairs
    return {
        "question": [typed for typed, forms in asked.items() if forms & {ours for ours, _ in telling}],
        "entry": [typed for typed, forms in held.items() if forms & {theirs for _, theirs in telling}],
    }


def _words_of(written: str) -> dict[str, frozenset[str]]:
    """The words as typed, with the folded words that each stands for."""
    typed = text.words_as_typed(text.without_markup(written, keep_code=True))
    return {word: frozenset(text.words(word)) for word in typed}


@functools.lru_cache(maxsize=16_384)
def _known_words_of(written: str) -> dict[str, frozenset[str]]:
    """For the texts of entries: the same ones are shown again and again."""
    return _words_of(written)


def _pairs(asked: set[str], held: set[str]) -> set[tuple[str, str]]:
    """Which word of the question meets which of the entry: the same one, or else the ones most alike."""
    pairs = {(word, word) for word in asked & held}
    runs = {word: short_runs(word) for word in held if len(word) >= LEAST_LENGTH}
    for word in asked - held:
        if len(word) < LEAST_LENGTH or not runs:
            continue
        own = short_runs(word)
        alike, best = max((2 * len(own & theirs) / (len(own) + len(theirs)), other) for other, theirs in runs.items())
        if alike >= _ALIKE:
            pairs.add((word, best))
    return pairs


def _is_common(index: AnyIndex, word: str) -> bool:
    return index.entry_count >= _LEAST_ENTRIES and index.holding(word) > _COMMON * index.entry_count
