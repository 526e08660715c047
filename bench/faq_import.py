"""How long imports of FAQ entries take, and how much memory.

    python -m bench.faq_import [--posts 200000] [--entries 100000] [--folder /somewhere/with/room]

Makes a Stack Exchange dump of its own, of a tenth of the posts and of all of them, and imports one tag of each with
`manage.py import_stackexchange`: the peak memory must not grow with the dump. Then a CSV of so many entries with
`manage.py import_faq`, and once more, unchanged; and exports them in each format. Each step runs in a process of its
own, whose peak memory is told beside that of one which only loads the site. The database is SQLite.
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

WORDS = ("array", "object", "closure", "promise", "string", "event", "function", "module", "class", "loop", "date")
ANSWERS = 2  # of a question
TAGGED, DUPLICATE = 4, 5  # every fourth question has the tag, every fifth is a duplicate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", type=int, default=200_000, help="in the dump (default 200000)")
    parser.add_argument("--entries", type=int, default=100_000, help="of the CSV (default 100000)")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-", dir=options.folder) as folder:
        measure(Path(folder), options.posts, options.entries)


def measure(folder: Path, posts: int, entries: int) -> None:
    os.environ.update(
        SECRET_KEY="x" * 50,
        API_KEY_HMAC_SECRET="y" * 50,
        VAR_DIR=str(folder),
        DATABASE_URL=f"sqlite:///{folder}/db.sqlite3",
    )
    manage("migrate", "--verbosity", "0")
    manage(
        "shell",
        "-c",
        "from webapp.faq.models import Collection; "
        "[Collection.objects.create(slug=s, name=s, model_name=f'faq-{s}') for s in ('small', 'large', 'table')]",
    )
    print(f"{'step':34} {'MB read':>8} {'seconds':>8} {'peak MB':>8}  said")
    report("only loads the site", 0, "check")
    for slug, count in (("small", posts // 10), ("large", posts)):
        place = folder / slug
        make_dump(place, count)
        size = sum(path.stat().st_size for path in place.iterdir())
        arguments = (str(place), "--tag", "javascript", "--collection", slug)
        report(f"dump of {count:,} posts", size, "import_stackexchange", *arguments)
    table = folder / "entries.csv"
    make_table(table, entries)
    for name in (f"CSV of {entries:,} entries", "the same again"):
        report(name, table.stat().st_size, "import_faq", "table", str(table))
    for form in ("csv", "jsonl"):
        report(f"export as {form}", 0, "export_faq", "table", "--to", str(folder / f"out.{form}"))


def report(name: str, size: int, *command: str) -> None:
    began = time.monotonic()
    said, peak = manage(*command)
    seconds = time.monotonic() - began
    line = " ".join(said.split())[:90]
    print(f"{name:34} {size / 1e6:>8.1f} {seconds:>8.1f} {peak:>8.0f}  {line}", flush=True)


def manage(*command: str) -> tuple[str, float]:
    """What the command said, and the most memory that it had, in megabytes."""
    process = subprocess.Popen([sys.executable, "manage.py", *command], stdout=subprocess.PIPE)
    said = process.stdout.read().decode()
    _, status, use = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"manage.py {command[0]} has failed")
    return said, use.ru_maxrss / 1024


# What is read ---------------------------------------------------------------------------------------------------------


def make_dump(folder: Path, posts: int) -> None:
    """Questions, each followed by its answers; every fifth is a duplicate of one before it."""
    folder.mkdir()
    chance = random.Random(1)
    links = []
    with (folder / "Posts.xml").open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<posts>\n')
        number = asked = 0
        originals: list[int] = []
        while number + ANSWERS < posts:
            number += 1
            asked += 1
            tag = "javascript" if asked % TAGGED == 0 else "python"
            if asked % DUPLICATE == 0 and originals:
                links.append((number, chance.choice(originals)))
            elif tag == "javascript":
                originals.append(number)
            file.write(
                f'  <row Id="{number}" PostTypeId="1" AcceptedAnswerId="{number + 1}" Score="{asked % 50}" '
                f'Title={quoteattr(title(chance, number))} Tags="|{tag}|" Body={quoteattr(html(chance))} />\n'
            )
            for answer in range(ANSWERS):
                number += 1
                file.write(
                    f'  <row Id="{number}" PostTypeId="2" ParentId="{number - answer - 1}" Score="{answer}" '
                    f"Body={quoteattr(html(chance))} />\n"
                )
        file.write("</posts>\n")
    with (folder / "PostLinks.xml").open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<postlinks>\n')
        for place, (post, related) in enumerate(links, start=1):
            file.write(f'  <row Id="{place}" PostId="{post}" RelatedPostId="{related}" LinkTypeId="3" />\n')
        file.write("</postlinks>\n")


def make_table(path: Path, entries: int) -> None:
    chance = random.Random(2)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "question", "answer", "tags", "phrasings"])
        table.writerows(
            [f"e-{number}", title(chance, number), words(chance, 60), "a, b", words(chance, 8)]
            for number in range(entries)
        )


def title(chance: random.Random, number: int) -> str:
    return f"How do I use the {words(chance, 4)} of <{chance.choice(WORDS)}> number {number}?"


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


def html(chance: random.Random) -> str:
    """About as long as posts are."""
    return "".join(paragraphs(chance))


def paragraphs(chance: random.Random) -> Iterator[str]:
    for _ in range(chance.randint(1, 4)):
        yield f"<p>Use <code>{chance.choice(WORDS)}()</code>, {words(chance, 30)}.</p>\n"
    yield f'<pre class="lang-js"><code>let {chance.choice(WORDS)} = 1;\n{words(chance, 10)}\n</code></pre>\n'


if __name__ == "__main__":
    main()
