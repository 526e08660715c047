"""Fields of an entry as columns of a table: their names, and lists in one cell.

A list stands in its cell as people write it: phrasings one a line, tags with commas between. One that would be read
otherwise stands there as a JSON array. So each text comes back as it went.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from webapp.tables.texts import JSON, NOT_JSON

FIELDS = ("id", "answer_id", "question", "answer", "tags", "phrasings", "test_phrasings", "state")
LISTS = {"tags": ",", "phrasings": "\n", "test_phrasings": "\n"}  # with what stands between their texts
LABELS = {
    "id": "Id",
    "answer_id": "Id of the answer",
    "question": "Question",
    "answer": "Answer",
    "tags": "Tags",
    "phrasings": "Other ways to ask",
    "test_phrasings": "Kept for testing",
    "state": "State (live or draft)",
}
# The names by which a column is known, the surest first.
NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "external_id", "faq_id", "question_id", "key", "nr", "no"),
    "answer_id": ("answer_id", "answerid"),
    "question": ("question", "questions", "title", "original question", "q", "frage", "pregunta", "domanda"),
    "answer": (
        "answer",
        "answers",
        "response",
        "reply",
        "solution",
        "a",
        "antwort",
        "réponse",
        "respuesta",
        "risposta",
    ),
    "tags": ("tags", "tag", "category", "categories", "topic", "topics", "labels", "kategorie", "schlagworte"),
    "phrasings": ("phrasings", "other ways to ask", "alternatives", "variants", "utterances", "synonyms", "duplicates"),
    "test_phrasings": ("test_phrasings", "kept for testing", "test phrasings"),
    "state": ("state", "status"),
}
ALL_NAMES = frozenset(name for names in NAMES.values() for name in names)


def guessed(columns: Sequence[str], *, named: bool) -> dict[str, str]:
    """Which column seems to hold which field. named: the columns have names of their own; else the first two are taken
    for question and answer.
    """
    if not named:
        return dict(zip(("question", "answer"), columns, strict=False))
    known = {name.strip().casefold(): name for name in reversed(columns)}
    return {
        field: found
        for field, names in NAMES.items()
        if (found := next((known[name] for name in names if name in known), None))
    }


def as_cell(texts: Iterable[str], between: str) -> str:
    """The list as one cell, which `from_cell` gives back."""
    listed = list(texts)
    cell = (between if between == "\n" else f"{between} ").join(listed)
    return cell if from_cell(cell, between) == listed else _as_json(listed)


def from_cell(cell: str, between: str) -> list[str]:
    """The texts that stand in the cell, without blanks at their ends."""
    if cell.lstrip().startswith("["):
        try:
            found: Any = JSON.decode(cell)
        except NOT_JSON:
            found = None
        if isinstance(found, list) and all(isinstance(text, str) for text in found):
            return found
    lines = cell.replace("\r\n", "\n").replace("\r", "\n")
    return [text for each in lines.split(between) if (text := each.strip())]


def _as_json(texts: list[str]) -> str:
    return msgspec.json.encode(texts).decode()
