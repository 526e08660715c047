"""Entries from the three TSV files of the reference: original questions, their duplicates, and answers.

Without a header, as it publishes them, plain or packed with gzip: Id, AnswerId, Text0, CreationDate of questions and
duplicates; Id, Text0 of answers. A duplicate has the AnswerId of its original. Texts are HTML, the title before its
first tag.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from webapp.errors import InvalidInput
from webapp.faq.editing import LONGEST_QUESTION
from webapp.faq.imports.markdown import from_html, plain
from webapp.faq.imports.reading import Line
from webapp.tables.texts import NO_TEXT, csv_cells

MOST_CHARACTERS = 2_000_000_000  # of one file, unpacked
BROKEN = (OSError, EOFError, zlib.error)


def lines(questions: Path, duplicates: Path, answers: Path, *, held_out: int = 25) -> Iterator[Line]:
    """A line for each original question. held_out: percent of the duplicates that are kept from training.

    Raises InvalidInput for a file that cannot be read.
    """
    answer_texts = {row[0]: row[1] for _, row in _rows(answers, 2)}
    asked: dict[str, list[tuple[str, str]]] = {}
    for _, (number, answer_id, text, *_rest) in _rows(duplicates, 3):
        asked.setdefault(answer_id, []).append((number, _title(text)))
    for line, (number, answer_id, text, *_rest) in _rows(questions, 3):
        where = f"{questions.name}, line {line:,}"
        question = _title(text)
        if answer_id not in answer_texts:
            yield Line(where, {"id": number, "question": question}, f"{where}: there is no answer {answer_id!r}.")
            continue
        seen = {question.casefold(), ""}
        parts: dict[bool, list[str]] = {True: [], False: []}
        for other, phrasing in asked.get(answer_id, []):
            if phrasing.casefold() not in seen:
                seen.add(phrasing.casefold())
                parts[zlib.crc32(other.encode()) % 100 < held_out].append(phrasing)
        yield Line(
            where,
            {
                "id": number,
                "answer_id": answer_id,
                "question": question,
                "answer": from_html(answer_texts[answer_id]),
                "phrasings": parts[False],
                "test_phrasings": parts[True],
            },
        )


def _title(html: str) -> str:
    """What stands before the first tag; where that is nothing, all words."""
    return (plain(html.partition("<")[0]) or plain(html))[:LONGEST_QUESTION]


def _rows(path: Path, width: int) -> Iterator[tuple[int, list[str]]]:
    """The rows with the line each begins in. width: cells that each must have at least."""
    length = 0
    try:
        with path.open("rb") as file:
            opened = gzip.open if file.read(2) == b"\x1f\x8b" else open
        with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            for line, row in csv_cells(text, "\t"):
                if line == 1 and row[0].strip().casefold() == "id":
                    continue
                if len(row) < width:
                    raise InvalidInput(
                        f"{path.name}, line {line:,} has {len(row)} cells; at least {width} are needed. Is it the "
                        "right one of the three files?",
                        field="file",
                    )
                length += sum(map(len, row))
                if length > MOST_CHARACTERS:
                    raise InvalidInput(f"{path.name} has more than {MOST_CHARACTERS:,} characters.", field="file")
                yield line, [NO_TEXT.sub("\ufffd", cell) for cell in row]
    except BROKEN as error:
        raise InvalidInput(f"{path.name} cannot be read: {error}.", field="file") from error
