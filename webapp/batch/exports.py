"""Results as downloads: streamed where they can be, and workbooks made by a worker when somebody asks for them.

A workbook beside the upload is ready; a marker beside it says that a worker is making it, and is touched while it does.
"""

import contextlib
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePath

import structlog
import xlsxwriter
from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from webapp import queues
from webapp.batch import files, results
from webapp.batch.models import Job
from webapp.batch.results import Cell, Which
from webapp.errors import Conflict, FilesError, InvalidInput, NotFound, Unavailable

log = structlog.get_logger(__name__)

FORMATS = {
    "jsonl": "application/jsonl",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
MAX_XLSX_ROWS = 1_048_575  # below the header; Excel opens no more
MAX_XLSX_CELL = 32_767  # characters
BEAT_EVERY = 5.0  # seconds
SILENT_AFTER = 60.0  # seconds; then whoever was making it has died, or never began
ASK_AGAIN_AFTER = 2.0  # seconds


def download(job: Job, which: Which, form: str) -> HttpResponseBase:
    """The file as an answer. form: one of FORMATS.

    Raises InvalidInput on `format`; Conflict while the job is at work, and while its workbook is being made; NotFound
    when its files have been deleted; FilesError, Unavailable.
    """
    if form not in FORMATS:
        raise InvalidInput(f"`format` must be one of {', '.join(FORMATS)}.", field="format")
    _require_results(job)
    headers = {"Content-Disposition": content_disposition_header(True, _name_of(job, which, form))}
    if form == "xlsx":
        path = xlsx(job, which)
        if path is None:
            raise Conflict("The workbook is being made. Ask again in a moment.", retry_after=ASK_AGAIN_AFTER)
        with files.disk_errors():
            # It would say a Content-Disposition of its own over one in `headers`.
            return FileResponse(
                path.open("rb"),
                as_attachment=True,
                filename=_name_of(job, which, form),
                content_type=FORMATS[form],
            )
    pieces = results.jsonl(job, which) if form == "jsonl" else results.as_csv(job, which)
    # The first at once: what is wrong with it is then said with its status.
    first = next(pieces, b"")
    return StreamingHttpResponse(chain([first], pieces), content_type=FORMATS[form], headers=headers)


def xlsx(job: Job, which: Which) -> Path | None:
    """The workbook of a job that has ended, or None while it is being made: the first who asks has it made.

    Raises Conflict while the job is at work, NotFound when its files have been deleted, InvalidInput on `format` for
    too many rows, FilesError, or Unavailable when no worker can be asked.
    """
    _require_results(job)
    path = _path_of(job, which)
    if path.is_file():
        return path
    rows = results.count(job, which)
    if rows > MAX_XLSX_ROWS:
        too_many = f"A workbook holds {MAX_XLSX_ROWS:,} rows, and these are {rows:,}. Take CSV or JSON lines."
        raise InvalidInput(too_many, field="format")
    if _begins(job, which) and not queues.send("batch.export", str(job.pk), which, expires=SILENT_AFTER):
        _marker_of(job, which).unlink(missing_ok=True)
        raise Unavailable(
            "No worker can be asked to make the workbook right now. Take CSV or JSON lines.", retry_after=10
        )
    return None


def make(job: Job, which: Which) -> None:
    """Makes the workbook, unless it is there. Raises FilesError, which leaves nothing behind."""
    path = _path_of(job, which)
    if path.is_file() or not job.has_ended or job.deleted_at:
        return
    began = time.monotonic()
    bench = path.with_name(f".{uuid.uuid4().hex}")  # should this be killed, files.tidy finds it
    try:
        with files.disk_errors(), _beating(_marker_of(job, which)):
            bench.mkdir(mode=0o700)
            _write(job, which, bench / path.name)
            (bench / path.name).rename(path)
    except xlsxwriter.exceptions.FileCreateError as error:
        raise FilesError("The workbook cannot be written: the disk for batches is full or away.") from error
    finally:
        shutil.rmtree(bench, ignore_errors=True)
        _marker_of(job, which).unlink(missing_ok=True)
    log.info("batch_workbook_made", batch=str(job.pk), which=which, seconds=round(time.monotonic() - began, 1))


def give_up(job: Job, which: Which) -> None:
    """Lets the next who asks begin anew."""
    _marker_of(job, which).unlink(missing_ok=True)


def _write(job: Job, which: Which, path: Path) -> None:
    book = xlsxwriter.Workbook(
        str(path),
        {
            "constant_memory": True,  # one row at a time
            "tmpdir": str(path.parent),
            "use_zip64": True,
            # Cells are what they are: a question that looks like a formula is a text.
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
        },
    )
    try:
        sheet = book.add_worksheet(which.capitalize())
        sheet.set_column(2, 2, 60)
        sheet.freeze_panes(1, 0)
        sheet.write_row(0, 0, results.header(job, which), book.add_format({"bold": True}))
        number = 1
        for table in results.tables(job, which):
            for row in table:
                _write_row(sheet, number, row)
                number += 1
    finally:
        book.close()


def _write_row(sheet: xlsxwriter.worksheet.Worksheet, number: int, row: list[Cell]) -> None:
    for column, cell in enumerate(row):
        if isinstance(cell, str):
            if cell:
                sheet.write_string(number, column, cell[:MAX_XLSX_CELL])
        else:
            sheet.write_number(number, column, cell)


# State ----------------------------------------------------------------------------------------------------------------


def _path_of(job: Job, which: Which) -> Path:
    return files.folder(job) / f"{which}.xlsx"


def _marker_of(job: Job, which: Which) -> Path:
    return files.folder(job) / f".{which}.xlsx.making"


def _begins(job: Job, which: Which) -> bool:
    """Whether nobody makes the workbook yet; whoever gets True sees to it. Raises FilesError."""
    marker = _marker_of(job, which)
    with files.disk_errors():
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):  # done this moment
                if time.time() - marker.stat().st_mtime < SILENT_AFTER:
                    return False
                marker.touch()
    return True


@contextmanager
def _beating(marker: Path) -> Iterator[None]:
    """Touches the marker all the while, also while one long step takes its time."""
    ended = threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):
                marker.touch(mode=0o600)
            if ended.wait(BEAT_EVERY):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _require_results(job: Job) -> None:
    if not job.has_ended:
        raise Conflict("This batch is still at work. Its results can be fetched when it has ended.", retry_after=5)
    if job.deleted_at:
        raise NotFound("The results of this batch were kept for a while, and have been deleted.")


def _name_of(job: Job, which: Which, form: str) -> str:
    """A name for the file that no system stumbles over."""
    stem = "".join(each for each in PurePath(job.name).stem if each.isprintable() and each not in '\\/:*?"<>|')
    return f"{stem.strip(' .')[:80] or 'batch'}-{which}.{form}"
