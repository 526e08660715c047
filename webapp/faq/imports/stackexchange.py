"""Entries from a data dump of a Stack Exchange site: its questions of one tag, with their best answers.

`Posts.xml` and `PostLinks.xml` pass by once, in pieces. What is kept of them waits in a database of its own on the
disk, so memory does not grow with the dump, which may have 20 GB and more. A question that was closed as a duplicate is
another way to ask the one that it repeats, and no entry.
"""

import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from webapp.errors import InvalidInput
from webapp.faq.editing import MOST_PHRASINGS
from webapp.faq.imports.markdown import from_html
from webapp.faq.imports.reading import Line
from webapp.registry.zips import Damaged
from webapp.tables.markup import Listener, heard

POSTS, LINKS = "Posts.xml", "PostLinks.xml"
DUPLICATE = "3"  # LinkTypeId
PIECE = 2**18  # bytes
CACHE = 64_000  # kilobytes of the database that are held in memory
LONGEST_CHAIN = 10  # duplicates of duplicates of …
MOST_DIGITS = 18  # of an id: what the database holds

SCHEMA = """
    CREATE TABLE link (number INTEGER PRIMARY KEY, post INTEGER, related INTEGER);
    CREATE TABLE title (id INTEGER PRIMARY KEY, title TEXT);
    CREATE TABLE question (
        id INTEGER PRIMARY KEY, title TEXT, tags TEXT, accepted INTEGER, answer_id INTEGER, score INTEGER, answer TEXT
    );
"""


def lines(
    folder: Path,
    *,
    tag: str,
    min_duplicates: int = 1,
    min_score: int = 0,
    held_out: int = 25,
    told: Callable[[str, int], None] = lambda _name, _rows: None,
) -> Iterator[Line]:
    """A line for each question that has the tag, an answer of that score or an accepted one, and so many duplicates.

    held_out: percent of the duplicates that are kept from training, to measure the model with; the same ones each
    time. told: called with the name of a file and how many rows of it have passed. Raises InvalidInput for a folder or
    file that is no dump.
    """
    for name in (POSTS, LINKS) if min_duplicates else (POSTS,):
        if not (folder / name).is_file():
            hint = " Without it no duplicates are known: pass --min-duplicates 0." if name == LINKS else ""
            raise InvalidInput(f"There is no {name} in {folder}. Unpack the dump there first.{hint}", field="folder")
    # No name: a database on the disk that is gone when it is closed.
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.execute(f"PRAGMA cache_size = -{CACHE}")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.executescript(SCHEMA)
        if (folder / LINKS).is_file():
            _take_links(database, folder / LINKS, told)
        _take_posts(
            database,
            folder / POSTS,
            tag=tag.casefold(),
            min_duplicates=min_duplicates,
            min_score=min_score,
            told=told,
        )
        yield from _questions(database, min_duplicates, held_out)


# What passes by -------------------------------------------------------------------------------------------------------


class _Rows(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str]] = []

    def opens(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self.found.append(attributes)


def _rows(path: Path, told: Callable[[str, int], None]) -> Iterator[dict[str, str]]:
    rows = _Rows()
    count = 0
    try:
        with path.open("rb") as file:
            for _ in heard(rows, iter(lambda: file.read(PIECE), b""), path.name):
                yield from rows.found
                count += len(rows.found)
                rows.found.clear()
                told(path.name, count)
    except Damaged as error:
        said = f"{path.name} cannot be read: {error}. Download and unpack it again."
        raise InvalidInput(said, field="folder") from error


def _number(row: dict[str, str], name: str, path: Path) -> int:
    """The whole number in an attribute; 0 where there is none."""
    text = row.get(name, "").strip() or "0"
    if not re.fullmatch(rf"-?[0-9]{{1,{MOST_DIGITS}}}", text):
        raise InvalidInput(f"{path.name} has a row with the {name} {text[:30]!r}, which is no number.", field="folder")
    return int(text)


def _take_links(database: sqlite3.Connection, path: Path, told: Callable[[str, int], None]) -> None:
    found = (
        (_number(row, "PostId", path), _number(row, "RelatedPostId", path))
        for row in _rows(path, told)
        if row.get("LinkTypeId") == DUPLICATE
    )
    database.execute("BEGIN")
    database.executemany("INSERT INTO link (post, related) SELECT ?1, ?2 WHERE ?1 != ?2", found)
    database.execute("COMMIT")
    database.execute("CREATE INDEX by_post ON link (post, number)")
    database.execute("CREATE INDEX by_related ON link (related)")


def _take_posts(
    database: sqlite3.Connection,
    path: Path,
    *,
    tag: str,
    min_duplicates: int,
    min_score: int,
    told: Callable[[str, int], None],
) -> None:
    database.execute("BEGIN")
    for row in _rows(path, told):
        match row.get("PostTypeId"):
            case "1":  # a question
                _take_question(database, row, path, tag, min_duplicates)
            case "2":  # an answer
                _take_answer(database, row, path, min_score)
    database.execute("COMMIT")


def _take_question(
    database: sqlite3.Connection, row: dict[str, str], path: Path, tag: str, min_duplicates: int
) -> None:
    number, title = _number(row, "Id", path), row.get("Title", "")
    if database.execute("SELECT 1 FROM link WHERE post = ? LIMIT 1", [number]).fetchone():
        database.execute("INSERT OR REPLACE INTO title VALUES (?, ?)", [number, title])
    tags = re.findall(r"[^<>|]+", row.get("Tags", ""))
    if tag not in map(str.casefold, tags):
        return
    if min_duplicates and not database.execute("SELECT 1 FROM link WHERE related = ? LIMIT 1", [number]).fetchone():
        return
    accepted = _number(row, "AcceptedAnswerId", path)
    database.execute(
        "INSERT OR REPLACE INTO question VALUES (?, ?, ?, ?, NULL, NULL, NULL)",
        [number, title, "\n".join(tags), accepted],
    )


def _take_answer(database: sqlite3.Connection, row: dict[str, str], path: Path, min_score: int) -> None:
    """The accepted answer of a question, else the one with the highest score; answers stand behind their questions."""
    question, number = _number(row, "ParentId", path), _number(row, "Id", path)
    found = database.execute("SELECT accepted, answer_id, score FROM question WHERE id = ?", [question]).fetchone()
    if found is None:
        return
    accepted, before, best = found
    score = _number(row, "Score", path)
    if number == accepted or (score >= min_score and before != accepted and (best is None or score > best)):
        database.execute(
            "UPDATE question SET answer_id = ?, score = ?, answer = ? WHERE id = ?",
            [number, score, row.get("Body", ""), question],
        )


# What comes of it -----------------------------------------------------------------------------------------------------


def _questions(database: sqlite3.Connection, min_duplicates: int, held_out: int) -> Iterator[Line]:
    _find_roots(database)
    found = database.execute(
        """
        SELECT id, title, tags, answer_id, answer FROM question
        WHERE answer_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM root JOIN question AS other ON other.id = root.root
            WHERE root.post = question.id AND other.answer_id IS NOT NULL
        )
        AND (SELECT COUNT(*) FROM root JOIN title ON title.id = root.post WHERE root.root = question.id) >= ?
        ORDER BY id
        """,
        [min_duplicates],
    )
    for number, title, tags, answer_id, answer in found:
        asked = database.execute(
            "SELECT root.post, title.title FROM root JOIN title ON title.id = root.post WHERE root.root = ? "
            "ORDER BY root.post LIMIT ?",
            [number, MOST_PHRASINGS],
        ).fetchall()
        phrasings, test_phrasings = _parted(asked, title, held_out)
        values = {
            "id": str(number),
            "answer_id": str(answer_id),
            "question": title,
            "answer": from_html(answer),
            "tags": tags.split("\n"),
            "phrasings": phrasings,
            "test_phrasings": test_phrasings,
        }
        yield Line(f"Question {number}", values)


def _find_roots(database: sqlite3.Connection) -> None:
    """Which question each duplicate repeats in the end. A question that repeats itself by a detour is no duplicate."""
    database.executescript("""
        CREATE TABLE root (post INTEGER PRIMARY KEY, root INTEGER);
        INSERT OR IGNORE INTO root SELECT post, related FROM link ORDER BY number;
        DELETE FROM root WHERE post < root AND EXISTS (
            SELECT 1 FROM root AS back WHERE back.post = root.root AND back.root = root.post
        );
    """)
    for _ in range(LONGEST_CHAIN):
        moved = database.execute("""
            UPDATE root SET root = (SELECT next.root FROM root AS next WHERE next.post = root.root)
            WHERE EXISTS (SELECT 1 FROM root AS next WHERE next.post = root.root)
        """)
        if not moved.rowcount:
            break
    database.execute("DELETE FROM root WHERE post = root")
    database.execute("CREATE INDEX by_root ON root (root)")


def _parted(asked: list[tuple[int, str]], title: str, held_out: int) -> tuple[list[str], list[str]]:
    """The titles to train on and those to test with, each once, without the question's own."""
    seen = {title.strip().casefold()}
    trained: list[str] = []
    tested: list[str] = []
    for number, each in asked:
        text = each.strip()
        if not text or text.casefold() in seen:
            continue
        seen.add(text.casefold())
        (tested if zlib.crc32(str(number).encode()) % 100 < held_out else trained).append(text)
    return trained, tested
