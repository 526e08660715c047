"""How long the files of large batches take to read and to write, and how much memory.

    python -m bench.batch_files [--rows 1000000] [--gigabytes 5] [--folder /somewhere/with/room]

Validates that many questions as CSV, JSON lines and XLSX, and a zip of pictures of that size; then makes results of
the CSV without any model, and exports them. Each step runs in a process of its own, whose peak memory is told beside
that of one which only loads the site: the difference must not grow with the file.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

PICTURE_BYTES = 100_000
KINDS = ("csv", "jsonl", "xlsx", "zip")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="questions (default 1000000)")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="of the zip (default 5)")
    parser.add_argument("--folder", help="where to work; needs twice the zip (default: the temporary folder)")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step(Path(options.folder), options.step)
        return
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-", dir=options.folder) as folder:
        measure(Path(folder), options.rows, options.gigabytes)


def measure(folder: Path, rows: int, gigabytes: float) -> None:
    os.environ.update(
        SECRET_KEY="x" * 50,
        API_KEY_HMAC_SECRET="y" * 50,
        VAR_DIR=str(folder),
        DATABASE_URL=f"sqlite:///{folder}/db.sqlite3",
    )
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], check=True)
    make_files(folder, rows, gigabytes)
    bare = told(folder, "bare")["megabytes"]
    print(f"{'step':20} {'rows':>10} {'seconds':>8} {'rows/s':>10} {'peak MB':>8} {'over bare':>9}")
    for name in [f"validate {kind}" for kind in KINDS] + ["score"] + [f"export {kind}" for kind in KINDS[:3]]:
        said = told(folder, name)
        print(
            f"{name:20} {said['rows']:>10,} {said['seconds']:>8.1f} {said['rows'] / said['seconds']:>10,.0f} "
            f"{said['megabytes']:>8.0f} {said['megabytes'] - bare:>9.0f}",
            flush=True,
        )


def told(folder: Path, name: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.batch_files", "--folder", str(folder), "--step", name]
    said: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1]
    )
    return said


# What is read ---------------------------------------------------------------------------------------------------------


def questions(rows: int) -> Iterator[tuple[str, str]]:
    words = ("array", "object", "closure", "promise", "string", "event", "function", "module")
    chance = random.Random(1)
    for number in range(rows):
        yield f"id-{number}", f"How do I copy the {chance.choice(words)} of a {chance.choice(words)}, number {number}?"


def make_files(folder: Path, rows: int, gigabytes: float) -> None:
    import xlsxwriter

    with (folder / "upload.csv").open("w") as file:
        file.write("custom_id,question\n")
        file.writelines(f'{row_id},"{question}"\n' for row_id, question in questions(rows))
    with (folder / "upload.jsonl").open("w") as file:
        file.writelines(
            json.dumps({"custom_id": row_id, "question": question}) + "\n" for row_id, question in questions(rows)
        )
    book = xlsxwriter.Workbook(str(folder / "upload.xlsx"), {"tmpdir": str(folder), "use_zip64": True})
    sheet = book.add_worksheet()
    for number, row in enumerate([("custom_id", "question"), *questions(min(rows, 1_000_000))]):
        sheet.write_row(number, 0, row)
    book.close()
    with zipfile.ZipFile(folder / "upload.zip", "w", zipfile.ZIP_STORED) as packed:
        for number in range(min(50_000, int(gigabytes * 1e9 / PICTURE_BYTES))):
            packed.writestr(f"folder/{number}.jpg", b"\xff\xd8\xff" + os.urandom(PICTURE_BYTES - 3))


# The steps, each in a process of its own ------------------------------------------------------------------------------


def step(folder: Path, name: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
    import django

    django.setup()
    from webapp.batch import exports, results  # noqa: F401  # the bare process, too, has loaded what it could need

    verb, _, kind = name.partition(" ")
    began = time.perf_counter()
    rows = {"bare": lambda *_: 0, "validate": validate, "score": score, "export": export}[verb](folder, kind)
    seconds = time.perf_counter() - began
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak_megabytes()}))


def peak_megabytes() -> float:
    """The most memory that this process has had. Not as getrusage tells it: there, what started it counts, too."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak
    return int(peak[1]) * 1024 / 1e6


def validate(folder: Path, kind: str) -> int:
    from webapp.accounts.models import User
    from webapp.batch import checking, detection, files, reading
    from webapp.batch.models import Chunk, Job

    path = folder / f"upload.{kind}"
    found = detection.detect(path, path.name)
    owner, _ = User.objects.get_or_create(email="bench@example.com")
    job = Job.objects.create(
        owner=owner,
        kind=found.kind,
        name=kind,
        format=found.format,
        reading=found.kept(),
        column=reading.column_of(found, ""),
        model="m",
    )
    files.adopt(job, files.StoredUpload(path, path.name, path.stat().st_size, ""))
    checked = checking.validate(job, lambda: None, most=10**7)
    Chunk.objects.bulk_create(
        [Chunk(job=job, number=part.number, first_row=part.first_row, rows=part.rows) for part in checked.parts],
        batch_size=1000,
    )
    return checked.total


def score(folder: Path, _kind: str) -> int:
    """Results as a model would have made them."""
    from webapp.batch import files
    from webapp.batch.models import Chunk, Job
    from webapp.batch.rows import Answer, ResultRow

    job = Job.objects.get(name="csv")
    answers = [
        Answer(f"js-{number}", f"Entry {number} of the FAQ", 0.9 / number, f"a-{number}") for number in range(1, 6)
    ]
    total = 0
    for chunk in job.chunks.order_by("number"):
        rows = [
            ResultRow(row.row, row.id, row.question, version="1", answers=answers)
            for row in files.read_rows(job, chunk.number)
        ]
        name = files.write_result(job, chunk.number, uuid.uuid4(), rows)
        Chunk.objects.filter(pk=chunk.pk).update(state="done", result=name, completed=len(rows))
        total += len(rows)
    return total


def export(_folder: Path, kind: str) -> int:
    from django.utils import timezone

    from webapp.batch import exports, results
    from webapp.batch.models import Job

    job = Job.objects.get(name="csv")
    write: dict[str, Callable[[], object]] = {
        "csv": lambda: sum(map(len, results.as_csv(job, "results"))),
        "jsonl": lambda: sum(map(len, results.jsonl(job, "results"))),
        "xlsx": lambda: exports.make(job, "results"),
    }
    job.state, job.ended_at = "completed", timezone.now()
    write[kind]()
    return results.count(job, "results")


if __name__ == "__main__":
    main()
