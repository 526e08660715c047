"""The trainer's part of a publication: the snapshot, a training process, and the version handed to the registry.

The process is `python -m scoring_service train-faq`, which knows nothing of the site and gets none of its secrets. It
trains into a folder that no pod looks at; only what is complete becomes a version.
"""

import os
import re
import selectors
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog
from django.conf import settings
from django.db import close_old_connections
from django.db.models import F, QuerySet
from django.utils import timezone

from webapp.celery import stopping
from webapp.errors import AppError
from webapp.faq import changes, publishing
from webapp.faq.exporting import live_entries
from webapp.faq.models import Publication
from webapp.registry import evaluation_sets
from webapp.registry import services as registry
from webapp.registry.models import Event, ScoringModel
from webapp.scoring import store

log = structlog.get_logger(__name__)

State = Publication.State
BEAT = 2.0  # seconds between two words to the database
MOST_TESTED = 2_000  # questions that a version is measured with; of more, some spread evenly over all
KEPT_LINES = 20
MOST_DESCRIBED = 2_000  # characters of the collection's description that go into the manifest
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED", "OMP_NUM_THREADS")
# What the process says it does, and how far it is then.
MARKS = (
    (re.compile(r"entries with"), 0.05),
    (re.compile(r"learning to rank"), 0.68),
    (re.compile(r"building the index"), 0.75),
    (re.compile(r"measuring"), 0.90),
)
ROUND = re.compile(r"round (\d+) of (\d+)")  # between the first two
SAID = re.compile(r"^\s*[\d.]+ s  (.*)$")
LINE = re.compile(r", line (\d+): (.*)$")


class _NotOurs(Exception):
    """Another trainer has it, or an editor has stopped it."""


class _Leaving(Exception):
    """This worker is to end."""


class _Failed(Exception):
    """The training did not work; the text says why, for people."""


def run(publication_id: int, token: str | uuid.UUID) -> None:
    """Trains the publication's version. Returns at once when it is not, or no longer, the one with that token."""
    mine = uuid.uuid4()  # a message that is delivered twice finds the token used
    now = timezone.now()
    waiting = Publication.objects.filter(pk=publication_id, token=token, state__in=[State.WAITING, State.TRAINING])
    begun = {"token": mine, "state": State.TRAINING, "heartbeat_at": now, "snapshot_at": now, "progress": 0.0}
    if not waiting.update(**begun, attempts=F("attempts") + 1):
        return
    publication = Publication.objects.select_related("collection").get(pk=publication_id)
    training = _Training(publication, mine)
    try:
        training.take()
    except _NotOurs:
        log.info("training_left", publication=publication_id)
    except _Leaving:
        # Another one begins at once.
        silent = timezone.now() - timedelta(seconds=publishing.SILENT_AFTER + 1)
        training.ours().update(heartbeat_at=silent, attempts=F("attempts") - 1)
    except (_Failed, AppError) as error:
        _fail(training, error.detail if isinstance(error, AppError) else str(error))


def _fail(training: "_Training", problem: str) -> None:
    if training.ours().exists():
        training.publication.refresh_from_db()
        publishing.fail(training.publication, problem)


class _Training:
    """One training on its way, of the trainer that holds the token."""

    def __init__(self, publication: Publication, token: uuid.UUID) -> None:
        self.publication, self.token = publication, token
        self.collection = publication.collection
        self.model = ScoringModel.objects.get(name=self.collection.model_name)
        self._told_at = float("-inf")

    def ours(self) -> QuerySet[Publication]:
        return Publication.objects.filter(pk=self.publication.pk, token=self.token, state=State.TRAINING)

    def take(self) -> None:
        scratch = store.staging(self.model.name)
        try:
            entries = self._snapshot(scratch / "entries.jsonl")
            self._train(entries, scratch)
            self._hand_over(scratch / self.model.name)
        finally:
            store.discard(scratch)

    def tell(self, *, progress: float | None = None, detail: str = "") -> None:
        """Says that it is at it, every few seconds. Raises _Leaving, _NotOurs."""
        if stopping():
            raise _Leaving
        fields: dict[str, object] = {"heartbeat_at": timezone.now()}
        if progress is not None:
            fields |= {"progress": progress, "detail": detail[:300]}
        elif time.monotonic() - self._told_at < BEAT:
            return
        self._told_at = time.monotonic()
        if not self.ours().update(**fields):
            raise _NotOurs

    def _snapshot(self, path: Path) -> Path:
        """The live entries as they are now, and the questions that none of them answers."""
        self.tell(progress=0.0, detail="Reads the entries.")
        count = 0
        with path.open("wb") as file:
            for line in live_entries(self.collection):
                file.write(line)
                count += 1
                self.tell()
            for question in changes.unanswerable_of(self.collection):
                file.write(msgspec.json.encode({"unanswerable": question}) + b"\n")
        if not count:
            raise _Failed("There was no live entry left to publish.")
        self.ours().update(entries=count)
        return path

    def _train(self, entries: Path, scratch: Path) -> None:
        command = [sys.executable, "-m", "scoring_service", "train-faq", "--entries", str(entries)]
        command += ["--store", str(scratch), "--model", self.model.name]
        command += [f"--title={self.model.label}"]
        command += [f"--description={(self.collection.description or self.collection.name)[:MOST_DESCRIBED]}"]
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        said: list[str] = []
        with subprocess.Popen(
            command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            try:
                for line in _lines_of(process, self.tell):
                    said = [*said, line][-KEPT_LINES:]
                    self._note(line)
            except BaseException:
                process.kill()
                raise
        close_old_connections()
        if process.returncode:
            log.warning("training_failed", status=process.returncode, said=said)
            raise _Failed(_why(said, entries, process.returncode))

    def _note(self, line: str) -> None:
        if (found := SAID.match(line)) and (share := _share_of(found[1])) is not None:
            self.tell(progress=share, detail=f"{found[1][:1].upper()}{found[1][1:]}.")

    def _hand_over(self, trained: Path) -> None:
        """Makes what was trained the model's next version, and starts its check."""
        self.tell(progress=0.95, detail="Handed to the registry, to be checked.")
        actor = publishing.actor_of(self.publication)
        questions = trained / "evaluation.jsonl"
        if questions.exists() and _may_replace_set(self.model):
            _thin_out(questions)
            evaluation_sets.replace(self.model, questions, by=None)
        version = registry.register_folder(
            self.model,
            trained / "1",
            by=actor,
            notes=f"Published from the collection {self.collection.name}.",
        )
        moved = self.ours().update(state=State.CHECKING, version=version, progress=1.0, detail="")
        if not moved:  # stopped in this very moment: the version stays unused
            raise _NotOurs


def _lines_of(process: subprocess.Popen[bytes], beat: Callable[[], None]) -> Iterator[str]:
    """What the process says, line by line; `beat` is called again and again meanwhile."""
    assert process.stderr
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            beat()
            if not selector.select(timeout=0.5):
                continue
            piece = os.read(process.stderr.fileno(), 65_536)
            if not piece:
                break
            *whole, pending = (pending + piece).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
    if pending:
        yield pending.decode(errors="replace")


def _share_of(words: str) -> float | None:
    """How far the training is when it says so, 0 to 1; None for what says nothing of it."""
    if found := ROUND.search(words):
        return 0.06 + 0.6 * (int(found[1]) - 1) / int(found[2])
    return next((share for mark, share in MARKS if mark.search(words)), None)


def _why(said: Sequence[str], entries: Path, status: int) -> str:
    """Why the training failed, naming the entry where the process names a line."""
    last = said[-1] if said else ""
    if found := LINE.search(last):
        with entries.open("rb") as file:
            line = next((each for number, each in enumerate(file, 1) if number == int(found[1])), b"{}")
        entry = msgspec.json.decode(line)
        return f"The entry {entry.get('id')!r} (“{entry.get('question', '')[:120]}”) cannot be trained on: {found[2]}"
    if status < 0:
        return f"The training was ended by signal {-status}; the trainer may lack memory."
    if "No module named" in last:
        return "This worker cannot train: it lacks the scoring service. The queue `training` is for trainers."
    return f"The training failed: {last.removeprefix('train-faq: ') or f'exit status {status}'}"


def _may_replace_set(model: ScoringModel) -> bool:
    """Whether its evaluation set is made of the collection's own test phrasings, and not one that somebody uploaded."""
    last = model.events.filter(kind=Event.Kind.EVALUATION_SET).first()
    return last is None or not last.actor


def _thin_out(questions: Path) -> None:
    """Keeps at most MOST_TESTED lines, spread evenly over all of them."""
    lines = questions.read_bytes().splitlines(keepends=True)
    if len(lines) > MOST_TESTED:
        step = len(lines) / MOST_TESTED
        questions.write_bytes(b"".join(lines[int(number * step)] for number in range(MOST_TESTED)))
