"""The gate: what a version must pass before it may serve, as one background task with live progress.

Files, manifest, loading in the pods beside the champion, signature, smoke inputs, evaluation beside the champion on the
same inputs. Nothing a person sees changes meanwhile: the version is named `warm` to the pods for as long as its state
is `checking`, so only the gate asks it.

A check belongs to the worker that holds its token. Each write asks for the token; who finds another one stops.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from webapp.celery import stopping
from webapp.errors import InvalidInput, ScoringError, StoreError
from webapp.registry import evaluation_sets, publishing, queries, reports, services
from webapp.registry.evaluation import Evaluation, Gone, Guess, Guesses, Side
from webapp.registry.evaluation_sets import Case, EvaluationSet
from webapp.registry.models import Check, Event, ScoringModel, Version
from webapp.registry.podwatch import OutOfPatience, PodWatch, Unfit
from webapp.registry.reports import Tolerance
from webapp.scoring import store
from webapp.scoring.answers import FaqAnswer, ImageAnswer
from webapp.scoring.client import scoring_client
from webapp.scoring.store import StoreUnavailable

T = TypeVar("T")
log = structlog.get_logger(__name__)

PATIENCE = 300.0  # seconds that the gate waits for pods, or for the store, before it gives up
SILENT_AFTER = 30.0  # seconds without a heartbeat after which another worker may take a check over
TIMEOUT = 20.0  # seconds for one request to a pod; shorter than SILENT_AFTER
PAUSE = 0.25  # seconds between two looks at what is waited for
WRITE_EVERY = 0.5  # seconds between two writes of the progress
DEPTH = {"faq": 100, "image": 5}  # answers of one input that are looked at
SHOWN_NAME = 200  # characters of an entry's question

# What a version of each kind must take in and give out.
NEEDED = {
    "faq": ({"question"}, {"faq_id", "answer_id", "probability", "terms"}),
    "image": ({"image"}, {"label", "label_id", "probability"}),
}


@dataclass(frozen=True)
class Step:
    """One part of the gate. weight: its share of the whole progress."""

    name: str
    title: str
    weight: float


STEPS = (
    Step("files", "Checksums", 0.1),
    Step("manifest", "Manifest", 0.02),
    Step("load", "Load and warm up", 0.2),
    Step("signature", "Signature", 0.03),
    Step("smoke", "Smoke inputs", 0.05),
    Step("evaluation", "Evaluation", 0.55),
    Step("verdict", "Comparison", 0.05),
)


def waiting_steps() -> list[dict[str, Any]]:
    """The steps of a check that has not begun, as `Check.steps` has them."""
    return [
        {
            "name": step.name,
            "title": step.title,
            "state": "waiting",
            "detail": "",
            "progress": 0.0,
            "started_at": None,
            "seconds": None,
        }
        for step in STEPS
    ]


class _NotOurs(Exception):
    """Another worker has the check, or somebody has cancelled it."""


class _Leaving(Exception):
    """This worker is to end."""


class _Skipped(Exception):
    """The step had nothing to do; says why."""


def run(check_id: int, token: str | uuid.UUID, *, patience: float = PATIENCE) -> None:
    """Takes the check to its end. Returns at once when it is not, or no longer, the one with that token.

    patience: seconds that it waits for pods or for the store before it gives up.
    """
    mine = uuid.uuid4()  # a message that is delivered twice finds the token used
    waiting = Check.objects.filter(pk=check_id, token=token, state=Check.State.RUNNING)
    if not waiting.update(token=mine, heartbeat_at=timezone.now()):
        return
    check = Check.objects.select_related("version__model").get(pk=check_id)
    with structlog.contextvars.bound_contextvars(model=check.version.model.name, version=check.version.name):
        gate = Gate(check, mine, patience=patience)
        try:
            gate.pass_through()
        except _NotOurs:
            log.info("check_left_to_another")
        except _Leaving:
            gate.hand_back()


@dataclass
class Gate:
    """One check on its way."""

    check: Check
    token: uuid.UUID
    patience: float
    steps: list[dict[str, Any]] = field(default_factory=waiting_steps)
    report: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)  # what goes into the version's row when it passes
    evaluation: Evaluation | None = None
    evaluated: Mapping[str, Any] = field(default_factory=dict)  # digest and answerable inputs of the evaluation set
    _written_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.version: Version = self.check.version
        self.model: ScoringModel = self.version.model
        self.pods = PodWatch(self.model, self.version.name, self._wait)
        self._current = self.steps[0]
        # Of a check just before, pods may still remember that they could not load it.
        just_now = timezone.now() - timedelta(minutes=1)
        self.pods.doubtful = self.version.checks.filter(finished_at__gt=just_now).exists()

    def pass_through(self) -> None:
        work: dict[str, Callable[[], str]] = {
            "files": self._files,
            "manifest": self._manifest,
            "load": self._load,
            "signature": self._signature,
            "smoke": self._smoke,
            "evaluation": self._evaluate,
            "verdict": self._compare,
        }
        try:
            for step in self.steps:
                self._take(step, work[step["name"]])
        except Unfit as error:
            self._finish(str(error))
        except (_NotOurs, _Leaving):
            raise
        except (OperationalError, InterfaceError):  # the check is begun anew when the database is back
            raise
        except Exception as error:
            log.exception("check_broke")
            self.report = {}  # may be what no database takes
            reason = f"The check itself broke ({type(error).__name__}). The worker's log says more; check it again."
            self._finish(reason)
        else:
            self._finish("")

    def hand_back(self) -> None:
        """Lets another worker take over at once."""
        silent = timezone.now() - timedelta(seconds=SILENT_AFTER + 1)
        self._running().update(heartbeat_at=silent)
        log.info("check_handed_back")

    # Steps ------------------------------------------------------------------------------------------------------------

    def _take(self, step: dict[str, Any], work: Callable[[], str]) -> None:
        """Does one step, again from its start as long as the store is away."""
        self._current = step
        began = time.monotonic()
        step.update(state="running", started_at=timezone.now().isoformat(timespec="seconds"))
        self._write()
        since: float | None = None
        try:
            while True:
                try:
                    step.update(state="passed", detail=work())
                    break
                except StoreUnavailable as error:
                    self.pods.doubtful = True
                    since = since or time.monotonic()
                    self._wait(error.detail, since)
        except _Skipped as skipped:
            step.update(state="skipped", detail=str(skipped))
        except Unfit as error:
            step.update(state="failed", detail=str(error))
            raise
        finally:
            step["seconds"] = round(time.monotonic() - began, 3)
        step["progress"] = 1.0
        self._write()

    def _files(self) -> str:
        with self._lasting():
            store.verify_files(self.model.name, self.version.name, on_progress=self._tell)
        files = self.version.manifest.get("files", {})
        return f"{_count(len(files), 'file')}, {sum(file['size'] for file in files.values()) / 1e6:.1f} MB."

    def _manifest(self) -> str:
        with self._lasting():
            manifest = store.read_manifest(self.model.name, self.version.name)
        if manifest["files"] != self.version.manifest.get("files", {}):
            raise Unfit("manifest.json is not the one that was registered: it names other files, or other SHA-256.")
        for name, own in (("kind", self.model.kind), ("pool", self.model.pool)):
            if manifest[name] != own:
                raise Unfit(f"manifest.json says {name} “{manifest[name]}”; {self.model.label} has “{own}”.")
        self.found["manifest"] = manifest
        detail = f"Runtime {manifest['runtime']}."
        if self.model.kind == ScoringModel.Kind.IMAGE and "labels.json" in manifest["files"]:
            with self._lasting():
                labels = _read_labels(store.read_version_file(self.model.name, self.version.name, "labels.json"))
            self.found["labels"] = labels
            detail += f" {_count(len(labels), 'label')}."
        return detail

    def _load(self) -> str:
        pods = self.pods.wait_until_loaded(lambda: publishing.publish(self.model))
        loaded = [pod.version(self.model.name, self.version.name) for pod in pods]
        seconds = [each.load_seconds for each in loaded if each and each.load_seconds is not None]
        slowest = f", in {max(seconds):.1f} s" if seconds else ""
        return f"Loaded and warm on {_count(len(pods), 'pod')}{slowest}."

    def _signature(self) -> str:
        pool, model, version = self.model.pool, self.model.name, self.version.name
        try:
            details = self.ask(lambda: scoring_client().describe(pool, model, version))
        except ScoringError as error:
            raise Unfit(f"The pod does not describe it: {error.detail}") from error
        signature = {"inputs": list(details.inputs), "outputs": list(details.outputs)}
        needed_inputs, needed_outputs = NEEDED.get(self.model.kind, (set(), set()))
        inputs, outputs = ({each["name"] for each in signature[side]} for side in ("inputs", "outputs"))
        if needed_inputs and inputs != needed_inputs:
            raise Unfit(
                f"Its inputs are {_list(inputs)}; a {self.model.get_kind_display()} has {_list(needed_inputs)}."
            )
        if missing := needed_outputs - outputs:
            raise Unfit(f"It lacks the outputs {_list(missing)} that a {self.model.get_kind_display()} must have.")
        self.found["signature"] = signature
        return f"{_list(each['name'] for each in signature['inputs'])} in, {_list(outputs)} out."

    def _smoke(self) -> str:
        inputs = self.found["manifest"]["smoke"]
        if not inputs:
            raise _Skipped("Its manifest names no smoke input.")
        for number, smoke in enumerate(inputs):
            self._tell(number / len(inputs))
            if smoke.get("request") is not None:
                self._try_request(smoke["request"])
            else:
                self._try_smoke(smoke.get("file") or smoke.get("text") or "", self._smoke_content(smoke))
        return f"{_count(len(inputs), 'input')} scored."

    def _smoke_content(self, smoke: Mapping[str, Any]) -> str | bytes:
        if smoke.get("file") is None:
            return str(smoke["text"])
        with self._lasting():
            return store.read_version_file(self.model.name, self.version.name, smoke["file"])

    def _try_request(self, name: str) -> None:
        """Raises Unfit when the version does not answer a file of it that holds a whole request."""
        with self._lasting():
            content = store.read_version_file(self.model.name, self.version.name, name)
        where = self.model.pool, self.model.name, self.version.name
        try:
            self.ask(lambda: scoring_client().score_request(*where, content, timeout=TIMEOUT))
        except ScoringError as error:
            raise Unfit(f"Its smoke request {name!r} failed: {error.detail}") from error

    def _try_smoke(self, name: str, content: str | bytes) -> None:
        """Raises Unfit when the version has no sound answer."""
        try:
            if self.model.kind not in NEEDED:  # nobody knows what its answers mean
                where = self.model.pool, self.model.name, self.version.name
                self.ask(lambda: scoring_client().score_one(*where, content, timeout=TIMEOUT))
                return
            guesses = _PodVoice(self, self.version).ask(Case(name, content, None))
        except ScoringError as error:
            raise Unfit(f"Its smoke input {name!r} failed: {error.detail}") from error
        if not guesses:
            raise Unfit(f"Its smoke input {name!r} has no answer.")
        if not all(0 <= guess.probability <= 1 for guess in guesses):
            raise Unfit(f"Its smoke input {name!r} has an answer whose probability is not a number from 0 to 1.")

    def _evaluate(self) -> str:
        self.model.refresh_from_db()
        if self.model.kind not in evaluation_sets.FILES:
            raise self._unmeasured("There are no evaluation sets for generic tensors.")
        if not self.model.evaluation_file:
            raise self._unmeasured("This model has no evaluation set.")
        path = store.model_file(self.model.name, self.model.evaluation_file)
        try:
            with evaluation_sets.opened(path, self.model.kind) as inputs:
                return self._ask_all(inputs)
        except InvalidInput as error:
            raise self._unmeasured(f"The evaluation set cannot be used. {error.detail}") from error
        except FileNotFoundError as error:
            if self.version.name in store.list_versions(self.model.name):  # the store is there, the file is not
                raise self._unmeasured("The evaluation set is gone from the store. Upload it again.") from error
            raise StoreUnavailable("The model store is not there.") from error
        except OSError as error:
            raise StoreUnavailable(f"The evaluation set cannot be read: {error.strerror or error}.") from error

    def _ask_all(self, inputs: EvaluationSet) -> str:
        champion, note = self._champion()
        evaluation = Evaluation(
            self.model.kind,
            Side(self.version.name, _PodVoice(self, self.version)),
            Side(champion.name, _PodVoice(self, champion)) if champion else None,
            note=note,
        )

        def tell(done: int) -> None:
            beside = f", beside version {evaluation.champion.version}" if evaluation.champion else ""
            self._current["detail"] = f"{done:,} of {inputs.count:,} inputs{beside}."
            self._tell(done / inputs.count)

        try:
            evaluation.run(inputs.cases, on_progress=tell)
        except Gone as error:
            raise Unfit(str(error)) from error
        if evaluation.champion is None:
            self._note_champion(None)
        self.evaluation, self.evaluated = evaluation, {"digest": inputs.digest(), "answerable": inputs.answerable}
        return str(self._current["detail"])

    def _champion(self) -> tuple[Version | None, str]:
        """The version to compare with, or None and why there is none. Empty where none serves yet."""
        champion = queries.champion_of(self.model)
        note = ""
        if champion and not self.pods.has(champion.name):
            note = f"Version {champion.name} serves but is ready on no pod, so nothing was compared."
            champion = None
        self._note_champion(champion)
        return champion, note

    def _note_champion(self, champion: Version | None) -> None:
        """Keeps which version this one is compared with."""
        self._running().update(champion=champion)

    def _unmeasured(self, why: str) -> _Skipped:
        self.report = reports.unmeasured(why)
        return _Skipped(why)

    def _compare(self) -> str:
        if self.evaluation:
            self.report = reports.report_of(
                self.evaluation, **self.evaluated, tolerance=Tolerance.of(self.model), names=self._names()
            )
        return str(self.report["verdict"]["summary"])

    def _names(self) -> dict[str, str]:
        """Ids of entries or labels to what people read, those of the version first; as far as the files say."""
        names = self._names_in(self.version, self.found.get("labels", []))
        champion = self.evaluation.champion if self.evaluation else None
        if champion and (version := self.model.versions.filter(name=champion.version).first()):
            names = {**names, **self._names_in(version, version.labels), **names}
        return names

    def _names_in(self, version: Version, labels: Iterable[Mapping[str, str]]) -> dict[str, str]:
        if self.model.kind == ScoringModel.Kind.IMAGE:
            return {label["label_id"]: label["label"] for label in labels}
        if "entries.json" not in version.manifest.get("files", {}):
            return {}
        try:
            entries = json.loads(store.read_version_file(self.model.name, version.name, "entries.json"))
            return {str(entry["id"]): str(entry["texts"][0])[:SHOWN_NAME] for entry in entries}
        except StoreUnavailable:
            raise
        except (StoreError, ValueError, TypeError, LookupError, RecursionError):  # gone, or of another runtime
            return {}

    # Asking and waiting -----------------------------------------------------------------------------------------------

    def ask(self, call: Callable[[], T]) -> T:
        """What the pods answer about the version; waits for them where they are away. Raises ScoringError, Unfit."""
        self.beat()
        return self.pods.ask(call, lost=lambda: None)

    def ask_about(self, version: Version, call: Callable[[], T]) -> T:
        """The same about any version. Raises Gone when the champion answers no more."""
        if version.pk == self.version.pk:
            return self.ask(call)

        def give_up_if_unloaded() -> None:
            if not Version.objects.filter(pk=version.pk).exclude(role=Version.Role.NONE).exists():
                raise Gone("It is loaded no more.")

        self.beat()
        try:
            return self.pods.ask(call, lost=give_up_if_unloaded)
        except OutOfPatience as error:
            raise Gone(str(error)) from error

    @contextmanager
    def _lasting(self) -> Iterator[None]:
        """What is wrong in the store becomes Unfit, unless the version's folder as a whole is away."""
        try:
            yield
        except StoreUnavailable:
            raise
        except StoreError as error:
            if self.version.name not in store.list_versions(self.model.name):
                raise StoreUnavailable(f"Version {self.version.name} is not in the store.") from error
            raise Unfit(error.detail) from error

    def _wait(self, why: str, since: float) -> None:
        if time.monotonic() - since > self.patience:
            raise OutOfPatience(f"Given up after {self.patience:g} s. {why}")
        self._current["detail"] = f"Waiting. {why}"
        self.beat()
        time.sleep(PAUSE)

    # Writing ----------------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Says that this worker is alive. Raises _Leaving when it is to end, _NotOurs when it has lost the check."""
        if stopping():
            raise _Leaving
        if time.monotonic() - self._written_at > WRITE_EVERY:
            self._write()

    def _tell(self, progress: float) -> None:
        self._current["progress"] = round(min(progress, 1.0), 3)
        self.beat()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        try:
            ours = self._running().update(
                steps=self.steps, progress=self._progress(), report=self.report, heartbeat_at=timezone.now()
            )
        except OperationalError as error:  # the database is away for a moment: the next write tells the same
            log.warning("progress_not_written", error=str(error))
            connection.close_if_unusable_or_obsolete()
            return
        if not ours:
            raise _NotOurs

    def _running(self) -> QuerySet[Check]:
        return Check.objects.filter(pk=self.check.pk, token=self.token, state=Check.State.RUNNING)

    def _progress(self) -> float:
        done = (step.weight * float(now["progress"]) for step, now in zip(STEPS, self.steps, strict=True))
        return round(sum(done), 4)

    def _finish(self, reason: str) -> None:
        """Ends the check: passed, or failed where there is a reason. Raises _NotOurs."""
        for step in self.steps:
            if step["state"] == "waiting":
                step["state"] = "skipped"
        self.report["reason"] = reason
        passed = not reason
        with transaction.atomic():
            model = services.locked(self.model)
            version = model.versions.get(pk=self.version.pk)
            state = Check.State.PASSED if passed else Check.State.FAILED
            if version.state != Version.State.CHECKING:  # it came into service some other way
                state = Check.State.CANCELLED
            now = timezone.now()
            progress = 1.0 if passed else self._progress()
            ours = self._running().update(
                state=state, steps=self.steps, progress=progress, report=self.report, heartbeat_at=now, finished_at=now
            )
            if not ours:
                raise _NotOurs
            if state != Check.State.CANCELLED:
                self._conclude(model, version, reason)
        log.info("check_ended", state=state.value, reason=reason)

    def _conclude(self, model: ScoringModel, version: Version, reason: str) -> None:
        """Writes the outcome into the version's row and the history."""
        measures = reports.kept_measures(self.report)
        if reason:
            version.state, version.reason = Version.State.FAILED, reason
        else:
            version.state, version.reason, version.ready_at = Version.State.READY, "", timezone.now()
            version.metrics = measures
            for name in ("manifest", "signature", "labels"):
                setattr(version, name, self.found.get(name, getattr(version, name)))
        version.save()
        champion = self.report.get("champion") or {}
        services.record_event(
            model,
            Event.Kind.CHECK_FAILED if reason else Event.Kind.CHECK_PASSED,
            by=None,
            version=version,
            from_state=Version.State.CHECKING,
            to_state=version.state,
            reason=reason,
            metrics=measures,
            details={
                "check": self.check.pk,
                "champion": champion.get("version"),
                "evaluation": self.evaluated.get("digest"),
                "worse": self.report.get("verdict", {}).get("worse", []),
            },
        )
        publishing.publish_on_commit(model)


@dataclass(frozen=True)
class _PodVoice:
    """A version of the model, asked through the site's client as callers ask it."""

    gate: Gate
    version: Version

    def ask(self, case: Case) -> Guesses:
        client = scoring_client()
        if isinstance(case.content, str):
            question = case.content
            return self._asked(lambda: _entries(client.match_faq(question, **self._how)))
        picture = case.content
        return self._asked(lambda: _labels(client.classify_image(picture, **self._how)))

    def ask_many(self, cases: Sequence[Case]) -> Sequence[Guesses]:
        client = scoring_client()
        questions = [case.content for case in cases if isinstance(case.content, str)]
        if questions:
            return self._asked(lambda: [_entries(answer) for answer in client.match_many(questions, **self._how)])
        pictures = [case.content for case in cases if isinstance(case.content, bytes)]
        return self._asked(lambda: [_labels(answer) for answer in client.classify_many(pictures, **self._how)])

    @property
    def _how(self) -> dict[str, Any]:
        model = self.gate.model
        return {
            "model": model.name,
            "version": self.version.name,
            "pool": model.pool,
            "top_k": DEPTH[model.kind],
            "timeout": TIMEOUT,
        }

    def _asked(self, call: Callable[[], T]) -> T:
        return self.gate.ask_about(self.version, call)


def _entries(answer: FaqAnswer) -> list[Guess]:
    return [Guess(score.faq_id, score.probability) for score in answer.scores]


def _labels(answer: ImageAnswer) -> list[Guess]:
    return [Guess(each.label_id, each.probability, each.label) for each in answer.predictions]


def _read_labels(content: bytes) -> list[dict[str, str]]:
    """What labels.json holds: [{"label_id": …, "label": …}, …]. Raises Unfit."""
    try:
        labels = [{"label_id": str(each["label_id"]), "label": str(each["label"])} for each in json.loads(content)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unfit(
            'labels.json must be a list such as [{"label_id": "n02111889", "label": "Samoyed"}, …], in the order of '
            "the outputs."
        ) from error
    if any(evaluation_sets.NO_TEXT.search(text) for label in labels for text in label.values()):
        raise Unfit("labels.json holds a NUL character, or half of a surrogate pair.")
    ids = [each["label_id"] for each in labels]
    if not ids or len(set(ids)) != len(ids):
        raise Unfit("labels.json must name at least one label, and each label_id once.")
    return labels


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
