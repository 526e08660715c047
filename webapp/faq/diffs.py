"""What differs between two versions of an entry, for people to read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.utils.html import conditional_escape
from django.utils.safestring import SafeString, mark_safe

from webapp.faq.editing import Content

WORD = re.compile(r"\s+|\w+|[^\w\s]")
MOST_WORDS = 4_000  # of both texts; longer ones are compared line by line, which is quicker
LABELS = {
    "question": "Question",
    "answer": "Answer",
    "state": "State",
    "tags": "Tags",
    "phrasings": "Other ways to ask",
    "test_phrasings": "Kept for testing",
}


@dataclass(frozen=True)
class Difference:
    """A field that differs. html: the text, safe, with what went in <del> and what came in <ins>."""

    label: str
    html: SafeString


def differences(before: Content, after: Content) -> list[Difference]:
    """The fields that differ, in the order of the form."""
    return [
        Difference(label, diff_html(_text(getattr(before, name)), _text(getattr(after, name))))
        for name, label in LABELS.items()
        if getattr(before, name) != getattr(after, name)
    ]


def changed_fields(before: Content, after: Content) -> list[str]:
    """Their names alone, in words."""
    return [label.lower() for name, label in LABELS.items() if getattr(before, name) != getattr(after, name)]


def diff_html(before: str, after: str) -> SafeString:
    """Both texts as one, escaped, with what went in <del> and what came in <ins>."""
    old, new = WORD.findall(before), WORD.findall(after)
    if len(old) + len(new) > MOST_WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return mark_safe("".join(_pieces(old, new)))  # noqa: S308  # each piece is escaped


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "\n".join(value)


def _pieces(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = "".join(old[old_from:old_to]), "".join(new[new_from:new_to])
        if tag == "equal":
            yield conditional_escape(gone)
            continue
        if gone:
            yield f"<del>{conditional_escape(gone)}</del>"
        if come:
            yield f"<ins>{conditional_escape(come)}</ins>"
