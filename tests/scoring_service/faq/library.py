"""The FAQ of a public library, and how tests train, load and ask a matcher of it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scoring_service import store
from scoring_service.__main__ import main
from scoring_service.errors import BadRow
from scoring_service.loading import load_version
from scoring_service.runtimes.base import Row, Runtime

MODEL = "library"

ENTRIES: list[dict[str, Any]] = [
    {
        "id": "renew",
        "answer_id": "renew-answer",
        "question": "How do I renew a book?",
        "answer": "Open **My loans** on our site and press *Renew*. A reserved book cannot be renewed.",
        "phrasings": [
            "extend my loan",
            "can I keep a novel for two more weeks",
            "prolong the due date of what I borrowed",
            "renewing borrowed books online",
            "I need the book longer than planned",
        ],
        "test_phrasings": ["extend the loan of a book", "is it possible to renew online"],
    },
    {
        "id": "card",
        "answer_id": "card-answer",
        "question": "How do I get a library card?",
        "answer": "Bring your passport to the front desk. The card is free and ready at once.",
        "phrasings": [
            "sign up as a member",
            "what do I need for a new membership card",
            "become a reader at the library",
            "apply for a card for my daughter",
            "registration at the desk",
        ],
        "test_phrasings": ["how can I become a member"],
    },
    {
        "id": "lost",
        "answer_id": "lost-answer",
        "question": "What happens when I lose a book?",
        "answer": "You pay what a new copy costs, and a fee of two euros.",
        "phrasings": [
            "my dog ate the novel",
            "I cannot find a borrowed book any more",
            "pay for a damaged item",
            "lost book costs",
            "replacement of a missing copy",
        ],
    },
    {
        "id": "hours",
        "answer_id": "hours-answer",
        "question": "When is the library open?",
        "answer": "Monday to Saturday from nine to seven. We close on public holidays.",
        "phrasings": [
            "opening hours",
            "are you open on Sundays",
            "what time do you close on Saturday",
            "closed on Easter?",
            "how late can I come in the evening",
        ],
    },
    {
        "id": "print",
        "answer_id": "print-answer",
        "question": "Where can I print documents?",
        "answer": "The printer stands on the second floor. A page costs ten cents; pay with coins.",
        "phrasings": [
            "print from my phone",
            "price of a colour copy",
            "is there a photocopier",
            "scan and print pages",
            "printer does not take my file",
        ],
    },
    {
        "id": "wifi",
        "answer_id": "wifi-answer",
        "question": "How do I use the wireless network?",
        "answer": "Choose *Reading Room* and type the password that stands on the notice board.",
        "phrasings": [
            "wifi password",
            "connect my laptop to the internet",
            "wlan does not work",
            "internet access for guests",
            "slow network in the reading room",
        ],
    },
]
UNANSWERABLE = [{"unanswerable": "do you sell coffee"}, {"unanswerable": "who won the match yesterday"}]


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def train(folder: Path, lines: Iterable[Any], *options: str) -> Path:
    """Trains by the command line into `folder`; returns the version's folder."""
    entries = write_lines(folder / "entries.jsonl", lines)
    arguments = ["train-faq", "--entries", str(entries), "--store", str(folder / "store"), "--model", MODEL]
    assert main([*arguments, *options]) == 0
    versions = [path for path in (folder / "store" / MODEL).iterdir() if path.name.isdecimal()]
    return max(versions, key=lambda path: int(path.name))


def loaded(version: Path) -> Runtime:
    store.verify(version, store.read_manifest(version))
    _, runtime = load_version(version)
    return runtime


def matcher_of(folder: Path, lines: Iterable[Any]) -> Runtime:
    return loaded(train(folder, lines))


def ask(runtime: Runtime, question: str, *outputs: str, **parameters: Any) -> dict[str, list[Any]]:
    """The answer to one question. Raises BadRow when it is refused."""
    [result] = runtime.score([Row((question,), parameters, frozenset(outputs))])
    if isinstance(result, BadRow):
        raise result
    return result
