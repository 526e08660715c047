"""How long it takes until many entries are in service: from the button to the answer, and where the time goes.

    python -m bench.faq_publish [--entries 100000] [--tested 200] [--folder /somewhere/with/room]

The entries are generated as in bench/faq_scale.py; some have a phrasing that is kept for testing. They lie in SQLite; a
CPU pod serves. What workers do is done here, one thing after the other: snapshot, training in a process of its own, the
check, the promotion. It is published twice, the second time after a hundred entries have changed, so that the check
asks both. Meanwhile a question is asked every second, and none may fail.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from bench.faq_scale import entries_of

PORT = 18_431
CHANGED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--tested", type=int, default=200, help="of them with a test phrasing (default 200)")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-", dir=options.folder) as folder:
        measure(Path(folder), options.entries, options.tested)


def measure(folder: Path, entries: int, tested: int) -> None:
    (folder / "models").mkdir()
    os.environ.update(
        DJANGO_SETTINGS_MODULE="webapp.settings",
        SECRET_KEY="x" * 50,
        API_KEY_HMAC_SECRET="y" * 50,
        VAR_DIR=str(folder),
        MODEL_STORE=str(folder / "models"),
        DATABASE_URL=f"sqlite:///{folder}/db.sqlite3",
        SCORING_CPU_URL=f"http://127.0.0.1:{PORT}",
        LOG_LEVEL="ERROR",
    )
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], check=True)
    import django

    django.setup()
    from webapp.accounts.models import User
    from webapp.faq import changes
    from webapp.faq.models import Collection

    editor = User.objects.create_user("editor@example.com", "correct horse battery")
    collection = Collection.objects.create(slug="big", name="Big", model_name="faq-big", is_default=True)
    began = time.perf_counter()
    fill(collection, entries, tested)
    print(f"{entries:,} entries written in {time.perf_counter() - began:.0f} s", flush=True)
    with pod(), asking(collection) as asked:
        for title in ("first", "again"):
            published(title, collection, editor)
            change(collection)
            began = time.perf_counter()
            found = changes.changes_of(collection)
            seconds = time.perf_counter() - began
            print(f"       what is to be published ({found.count:,} entries) known in {seconds:.2f} s", flush=True)
    print(f"       {asked.count:,} questions asked meanwhile, {asked.failed:,} of them without an answer")


def fill(collection: Any, entries: int, tested: int) -> None:
    from webapp.faq import editing
    from webapp.faq.editing import Content

    made = entries_of(entries)
    written = 0
    while some := list(islice(made, 10_000)):
        wanted = {}
        for number, (question, phrasing, answer) in enumerate(some, start=written):
            is_tested = number * tested // entries != (number + 1) * tested // entries
            phrasings = {"test_phrasings" if is_tested else "phrasings": (" ".join(phrasing),)}
            content = Content(question=" ".join(question), answer=" ".join(answer), **phrasings)
            wanted[f"e{number}"] = (content, f"e{number}")
        editing._make(collection, wanted, "imported", None)
        written += len(some)


def change(collection: Any) -> None:
    from dataclasses import replace

    from webapp.faq import editing
    from webapp.faq.models import Entry

    some = Entry.objects.filter(
        pk__in=list(Entry.objects.filter(collection=collection).values_list("pk", flat=True)[:CHANGED])
    )
    editing.change_many(some, lambda content: replace(content, question=f"{content.question} anew"), by=None)


def published(title: str, collection: Any, editor: Any) -> None:
    """Publishes, and prints the seconds of each phase."""
    from webapp.faq import publishing, training
    from webapp.faq.models import Publication
    from webapp.registry import gate, rollouts

    began = time.perf_counter()
    publication = publishing.start(collection, by=editor)
    times = {"start": time.perf_counter() - began}
    marks: list[tuple[float, str]] = []
    with noting(publication.pk, marks):
        before = time.perf_counter()
        training.run(publication.pk, publication.token)
        times["training"] = time.perf_counter() - before
    publication.refresh_from_db()
    if publication.version is None:
        raise SystemExit(f"{publication.state}: {publication.problem}")
    before = time.perf_counter()
    check = publication.version.checks.first()
    gate.run(check.pk, check.token)
    times["check"] = time.perf_counter() - before
    before = time.perf_counter()
    while publication.state not in {"done", "failed", "asking"}:
        publishing.follow_all()
        publication = Publication.objects.select_related("rollout", "version").get(pk=publication.pk)
        if publication.rollout:
            rollouts.drive(publication.rollout.pk)
    times["promotion"] = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in times.items())
    print(f"{title:6} {publication.state} in {time.perf_counter() - began:.0f} s: {parts}; trainer {peak:,.0f} MB")
    for seconds, detail in marks:
        print(f"       {seconds:6.1f} s  {detail}", flush=True)
    if publication.problem:
        print(f"       {publication.problem}")
    size = sum(file["size"] for file in publication.version.manifest["files"].values())
    print(f"       version of {size / 2**20:,.0f} MB", flush=True)


@contextmanager
def noting(pk: int, marks: list[tuple[float, str]]) -> Iterator[None]:
    """Notes what the publication says it does, and when it began to."""
    from django.db import connections

    from webapp.faq.models import Publication

    over = threading.Event()
    began = time.perf_counter()

    def look() -> None:
        while not over.wait(0.5):
            detail = Publication.objects.values_list("detail", flat=True).get(pk=pk)
            if detail and (not marks or marks[-1][1] != detail):
                marks.append((time.perf_counter() - began, detail))
        connections.close_all()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Count:
    count = failed = 0


@contextmanager
def asking(collection: Any) -> Iterator[Count]:
    """Asks a question a second, once a version serves."""
    from django.db import connections

    from webapp.errors import ScoringError
    from webapp.faq.changes import champion_of
    from webapp.scoring.client import scoring_client

    counted, over = Count(), threading.Event()

    def ask() -> None:
        while not over.wait(1.0):
            if champion_of(collection) is None:
                continue
            counted.count += 1
            try:
                scoring_client().match_faq("does it work", model=collection.model_name, top_k=5, timeout=5.0)
            except ScoringError as error:
                counted.failed += 1
                print(f"       no answer: {error.detail}", flush=True)
        connections.close_all()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield counted
    finally:
        over.set()
        thread.join()


@contextmanager
def pod() -> Iterator[None]:
    env = {**os.environ, "SCORING_POOL": "cpu", "SCORING_PORT": str(PORT), "SCORING_NOT_READY_S": "0"}
    serve = [sys.executable, "-m", "scoring_service", "serve"]
    with subprocess.Popen(serve, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
