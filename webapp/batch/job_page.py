"""What the page of a batch shows: how far it is, and under its tabs what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.utils.functional import cached_property

from webapp.batch import files, queries, retries
from webapp.batch.exports import MAX_XLSX_ROWS
from webapp.batch.models import Job
from webapp.batch.queries import Progress
from webapp.batch.results import Which
from webapp.batch.rows import ResultRow
from webapp.charts import Bins
from webapp.errors import FilesError

TABS = {"results": "Results", "failed": "Failed rows", "overview": "Overview", "api": "Use by API"}
FORMS = {"csv": "CSV", "jsonl": "JSON lines", "xlsx": "Excel"}
ROWS_A_PAGE = {Job.Kind.FAQ.value: 20, Job.Kind.IMAGE.value: 24}
MOVING = 2  # seconds between two looks while it is at work

STATES = {
    Job.State.VALIDATING: "Reading the file and counting its rows",
    Job.State.IN_PROGRESS: "Scoring",
    Job.State.FINALIZING: "All rows are scored; completing",
    Job.State.CANCELLING: "Cancelling: what is being scored is finished first",
    Job.State.COMPLETED: "Completed",
    Job.State.FAILED: "Failed",
    Job.State.EXPIRED: "Ended before it was done",
    Job.State.CANCELLED: "Cancelled",
}


@dataclass(frozen=True)
class Tab:
    """One tab. count: of rows that it holds, None where it holds no rows."""

    slug: str
    title: str
    count: int | None = None


@dataclass(frozen=True)
class Shown:
    """A result as the page shows it. has_thumbnail: of pictures only."""

    result: ResultRow
    has_thumbnail: bool = False

    @property
    def number(self) -> int:
        """From 1, as people count."""
        return self.result.row + 1


class JobPage:
    """The page of a job that has been started. Raises nothing when its files are gone: see `trouble`."""

    def __init__(self, job: Job, tab: str = "", after: str = "") -> None:
        """tab: which one is open, the first for an unknown one. after: the row number below which the list begins."""
        self.job = job
        self.tab = tab if tab in TABS else next(iter(TABS))
        self.after = int(after) if after.isdecimal() and len(after) < 10 else 0
        self.trouble = ""
        self.rows, self.next_after = self._read_rows()

    @cached_property
    def progress(self) -> Progress:
        return queries.progress_of(self.job)

    @property
    def every(self) -> int:
        """Seconds until the page looks again; 0 when nothing moves any more."""
        return MOVING if self.job.is_open else 0

    @property
    def state(self) -> str:
        return STATES[Job.State(self.job.state)]

    @property
    def share(self) -> float | None:
        """How much is done, 0 to 1; None while nobody knows."""
        return None if self.job.state == Job.State.VALIDATING else self.progress.share

    @property
    def says(self) -> str:
        """For a screen reader: told again only when it differs, so in steps of ten percent."""
        if self.job.state != Job.State.IN_PROGRESS or not self.job.total:
            return self.state
        return f"{int(self.progress.share * 10) * 10} % done"

    @property
    def seconds_at_work(self) -> float | None:
        """From its start to its end; None while it is at work."""
        if not self.job.started_at or not self.job.ended_at:
            return None
        return (self.job.ended_at - self.job.started_at).total_seconds()

    @property
    def average(self) -> float | None:
        """Rows a second over all of it; None where there is nothing to tell."""
        if not self.job.in_progress_at or not self.job.ended_at or not self.job.done:
            return None
        return self.job.done / max(1.0, (self.job.ended_at - self.job.in_progress_at).total_seconds())

    @property
    def left_out(self) -> int:
        """Rows that were never scored: of a job that ended before it was done."""
        return self.job.total - self.job.done if self.job.has_ended else 0

    @cached_property
    def can_retry(self) -> bool:
        """Whether a row without an answer might get one: those refused when the file was read would be again."""
        if not self.job.has_ended or self.job.deleted_at or self.job.completed == self.job.total:
            return False
        try:
            return retries.is_worth_it(self.job)
        except FilesError:
            return False

    @property
    def downloads(self) -> list[tuple[str, Which, list[tuple[str, str]]]]:
        """What can be fetched: its title, what it holds, and its forms by their names."""
        if not self.job.has_ended or self.job.deleted_at:
            return []
        wanted: list[tuple[str, Which, int]] = [
            ("Results", "results", self.job.done),
            ("Failed rows", "errors", self.job.failed),
        ]
        return [
            (title, which, [(form, name) for form, name in FORMS.items() if form != "xlsx" or rows <= MAX_XLSX_ROWS])
            for title, which, rows in wanted
            if rows
        ]

    @property
    def filename(self) -> str:
        """What the file may be called in an example."""
        suffix = f".{self.job.format}"
        kind = "questions" if self.job.kind == Job.Kind.FAQ else "pictures"
        return self.job.name if self.job.name.lower().endswith(suffix) else kind + suffix

    @property
    def options(self) -> dict[str, str]:
        """How the API is asked for the same."""
        wanted = {
            "collection": self.job.collection,
            "model": "" if self.job.collection else self.job.model,
            "version": self.job.version,
            "column": self.job.column,
            "top_k": str(self.job.top_k),
        }
        return {name: value for name, value in wanted.items() if value}

    @property
    def tabs(self) -> list[Tab]:
        counts = {"results": self.job.done, "failed": self.job.failed}
        return [Tab(slug, title, counts.get(slug)) for slug, title in TABS.items()]

    @cached_property
    def confidences(self) -> list[Bins]:
        """Of the best answers, in twentieths."""
        counts = queries.histogram_of(self.job)
        width = 1 / len(counts)
        bins = [(number * width, (number + 1) * width, count) for number, count in enumerate(counts)]
        return [Bins("Rows", bins)] if any(counts) else []

    @cached_property
    def versions(self) -> list[tuple[str, int]]:
        """The versions that answered, and how many rows each."""
        return list(queries.versions_of(self.job).items())

    def _read_rows(self) -> tuple[list[Shown], int | None]:
        """The rows of the open tab, and after which one the next page begins."""
        if self.tab not in {"results", "failed"} or self.job.deleted_at:
            return [], None
        size = ROWS_A_PAGE[self.job.kind]
        try:
            found = list(islice(self._results(only_failed=self.tab == "failed"), size + 1))
        except FilesError as error:
            self.trouble = error.detail
            return [], None
        shown = [Shown(row, self._has_thumbnail(row)) for row in found[:size]]
        return shown, shown[-1].number if len(found) > size else None

    def _results(self, *, only_failed: bool) -> Iterator[ResultRow]:
        """From where the list begins; read chunk by chunk, as far as somebody asks."""
        chunks = queries.chunks_from(self.job, self.after, with_errors=only_failed).only("job", "result")
        for row in files.results_of(self.job, chunks.iterator(chunk_size=20)):
            if row.row >= self.after and (row.error or not only_failed):
                yield row

    def _has_thumbnail(self, row: ResultRow) -> bool:
        return self.job.kind == Job.Kind.IMAGE and files.thumbnail(self.job, row.row).is_file()
