"""Which version answers: watches the store and converges to what its routing files name.

A version is verified, loaded and warmed up before it serves; the one it replaces goes after its last request, or stays
where the routing file still names it, so that going back is a matter of one look at the store. A version that cannot be
loaded never takes down the one that serves, and says why in the index.
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from scoring_service import store
from scoring_service.batching import Batcher
from scoring_service.contract import Challenger, PodVersion, Routing
from scoring_service.errors import DeviceLost, NoRoom, NotFound, NotReady, Overloaded, ServiceError, VersionUnusable
from scoring_service.loading import RUNTIMES, Version, load_version
from scoring_service.memory import Memory
from scoring_service.metrics import Metrics
from scoring_service.runtimes.base import Expectant
from scoring_service.settings import Settings

log = structlog.get_logger()

RETRY_AFTER = 10.0  # seconds until a version that failed to load is tried again without a change of its routing
LOAD_ORDER = ("champion", "challenger", "standby", "warm")  # who waits for it least patiently comes first

Key = tuple[str, str]  # model and version


@dataclass(frozen=True)
class Failure:
    reason: str
    at: float  # on the monotonic clock


@dataclass(frozen=True)
class Wanted:
    """What the store wants of one model here. versions: those of this pod's pool, in the order of loading."""

    routing: Routing
    versions: list[str]


@dataclass(frozen=True)
class Wish:
    """What the store wants of a pod, by model, and why some of it cannot be.

    in_doubt: models whose routing file cannot be read; what they have stays.
    """

    wanted: dict[str, Wanted]
    unusable: dict[Key, str]
    in_doubt: set[str]


@dataclass
class Router:
    """What this pod serves now, and what it should."""

    settings: Settings
    metrics: Metrics
    memory: Memory
    runtimes: Mapping[str, str] = field(default_factory=lambda: RUNTIMES)
    when_ready: Callable[[], None] | None = None  # called once, when there is something to answer with
    wanted: dict[str, Wanted] = field(default_factory=dict)  # by model, as the store last said
    loaded: dict[Key, Version] = field(default_factory=dict)
    loading: set[Key] = field(default_factory=set)
    failures: dict[Key, Failure] = field(default_factory=dict)
    answering: dict[str, str] = field(default_factory=dict)  # by model: who answers requests that name no version
    device_lost: bool = False  # for good: only a new process helps
    settled: bool = False  # once each model of the first look at the store answers, or cannot
    store_problem: str = ""
    _loads: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    # What endpoints ask ---------------------------------------------------------------------------------------------

    def version_for(self, model: str, version: str | None = None) -> Version:
        """The version of that name, whatever it is for; without a name the one that answers but for the challenger's
        share. Raises NotFound or NotReady.
        """
        found = self.loaded.get((model, version or self.answering.get(model, "")))
        if not found:
            raise self._why_not(model, version)
        return found

    def drawn_version(self, model: str, routing_key: str | None = None) -> Version:
        """The version for a request that names none: the challenger for its share of the keys, else `version_for`.

        routing_key: the same key gets the same version as long as the share is not lowered; without one it is chance.
        Raises NotFound or NotReady.
        """
        wanted = self.wanted.get(model)
        if wanted and (challenger := wanted.routing.challenger):
            found = self.loaded.get((model, challenger.version))
            if found and within_share(model, challenger, routing_key or uuid.uuid4().hex):
                return found
        return self.version_for(model)

    @property
    def is_crowded(self) -> bool:
        """Whether some version may refuse normal rows now."""
        return any(version.batcher.is_crowded for version in self.loaded.values())

    def refusing(self, model: str, version: str | None = None) -> tuple[Version, Overloaded] | None:
        """The version that normal rows would be given to, and its refusal; None where it does not refuse them now, or
        where the request itself decides which version it is.
        """
        wanted = self.wanted.get(model)
        if version is None and wanted and wanted.routing.challenger:
            return None
        found = self.loaded.get((model, version or self.answering.get(model, "")))
        refusal = found.batcher.refusal() if found else None
        return (found, refusal) if found and refusal else None

    def default_model(self, kind: str) -> str:
        """The first model of the kind that is not a sample, else the first sample. Raises NotFound or NotReady."""
        manifests = [self.loaded[key].manifest for key in self.answering.items()]
        candidates = [manifest for manifest in manifests if manifest.kind == kind]
        if not candidates and not self.settled:
            raise NotReady(self.not_ready_because())
        if not candidates:
            raise NotFound(f"no model of kind {kind!r} is loaded here")
        return min(candidates, key=lambda manifest: (manifest.sample, manifest.model)).model

    def versions(self) -> list[PodVersion]:
        """Each version that is loaded, wanted or failed, by model and name."""
        wanted = {(model, version) for model, wanted in self.wanted.items() for version in wanted.versions}
        keys = {*self.loaded, *self.loading, *self.failures, *wanted}
        return [self._described(*key) for key in sorted(keys)]

    @property
    def device(self) -> str:
        """What the loaded versions run on: "cpu", "cuda"; empty while none is loaded."""
        return ", ".join(sorted({version.runtime.parameters.get("device", "cpu") for version in self.loaded.values()}))

    def _described(self, model: str, version: str) -> PodVersion:
        loaded, failure = self.loaded.get((model, version)), self.failures.get((model, version))
        wanted = self.wanted.get(model)
        return PodVersion(
            model=model,
            version=version,
            state="READY" if loaded else "UNAVAILABLE" if failure else "LOADING",
            reason=failure.reason if failure and not loaded else "",
            role=wanted.routing.roles().get(version, "") if wanted else "",
            answering=self.answering.get(model) == version,
            load_seconds=round(loaded.load_seconds, 3) if loaded else None,
        )

    def not_ready_because(self) -> str:
        """Why this pod should get no requests; empty when it should."""
        if self.device_lost:
            return "the device does not answer"
        # A model that is being checked for the first time has no version that answers, but one to be asked by name.
        useful = self.answering or any(not self.wanted[model].routing.champion for model, _ in self.loaded)
        if self.settled and useful:
            return ""
        missing = [f"{each.model} version {each.version}" for each in self.versions() if each.state == "LOADING"]
        if missing:
            return f"being loaded: {', '.join(missing)}"
        if not self.settled:
            return self.store_problem or "the store is being read"
        reasons = [f"{model} {version}: {failure.reason}" for (model, version), failure in self.failures.items()]
        return "; ".join(reasons) or self.store_problem or f"the store has no model for the pool {self.settings.pool}"

    def _why_not(self, model: str, version: str | None) -> ServiceError:
        """Why no version, or not that one, answers for the model."""
        wanted = self.wanted.get(model)
        if wanted and version is None and not wanted.routing.champion:
            return NotReady(f"no version of {model} serves yet")
        asked = version or (wanted.routing.champion if wanted else None)
        for (name, failed), failure in self.failures.items():
            if name == model and asked in {None, failed}:
                return NotReady(f"{model} version {failed} cannot be loaded: {failure.reason}")
        if wanted and asked in wanted.versions:
            return NotReady(f"{model} version {asked} is being loaded")
        here = sorted(name for of_model, name in self.loaded if of_model == model)
        if here and version:
            return NotFound(f"version {version} of {model} is not loaded here; loaded: {', '.join(here)}")
        if not self.settled:
            return NotReady(self.not_ready_because())
        return NotFound(f"there is no model {model!r} here; POST /v2/repository/index lists those there are")

    # Converging -----------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Converges for ever; cancel it to stop."""
        while True:
            try:
                await self.converge()
            except OSError as error:  # a store that is away for a while takes nothing down
                self._note_store_problem(error)
            except Exception:  # the pod goes on with what it serves, and goes on looking
                log.exception("looking at the store failed")
            await asyncio.sleep(self.settings.store_poll)

    async def converge(self) -> None:
        """One look at the store: does at once what can be done with what is loaded, and starts to load what is missing.

        What serves stays when in doubt. Raises OSError when the store cannot be read; then nothing changes.
        """
        wish = await asyncio.to_thread(read_wish, self.settings.store, self.settings.pool, frozenset(self.loaded))
        self.store_problem = ""
        before = self.wanted
        self.wanted = {**{model: before[model] for model in wish.in_doubt & before.keys()}, **wish.wanted}
        self.failures = {
            key: failure for key, failure in self.failures.items() if self._is_wanted(*key) or key in wish.unusable
        }
        for (model, version), reason in wish.unusable.items():
            self._failed(model, version, reason)
        for model in {*before, *self.wanted}:
            self._arrange(model)
        self._load_what_is_due()
        self._settle()

    def _is_wanted(self, model: str, version: str) -> bool:
        return model in self.wanted and version in self.wanted[model].versions

    def _arrange(self, model: str) -> None:
        """Decides who of the loaded versions answers for the model, and lets those go that nobody wants any more."""
        wanted = self.wanted.get(model)
        answers = self._best_of(model, wanted.routing) if wanted else None
        if answers:
            if self.answering.get(model) != answers:
                log.info("version answers", model=model, version=answers)
            self.answering[model] = answers
        else:
            self.answering.pop(model, None)
        for key in [key for key in self.loaded if key[0] == model]:
            if not self._is_wanted(*key) and key[1] != answers:
                self._retire(self.loaded.pop(key))

    def _best_of(self, model: str, routing: Routing) -> str | None:
        """The champion; as long as it cannot, the version that answered before, else the one kept for going back."""
        if not routing.champion:
            return None
        candidates = (routing.champion, self.answering.get(model, ""), routing.standby)
        return next((version for version in candidates if (model, version) in self.loaded), None)

    def _load_what_is_due(self) -> None:
        """Starts to load, one version a model at a time: each more takes CPU from the one that is needed first.

        A load that nobody wants any more cannot be ended, but neither does it hold up the others.
        """
        busy = {model for model, version in self.loading if self._is_wanted(model, version)}
        for model, wanted in self.wanted.items():
            due = [version for version in wanted.versions if self._is_due(model, version)]
            if due and model not in busy:
                self.loading.add((model, due[0]))
                task = asyncio.create_task(self._bring_in(model, due[0]))
                self._loads.add(task)
                task.add_done_callback(self._loads.discard)

    def _is_due(self, model: str, version: str) -> bool:
        """Whether to load it now: it is not here, nor on its way, nor did it just fail."""
        key = (model, version)
        failure = self.failures.get(key)
        just_failed = failure and time.monotonic() - failure.at < RETRY_AFTER
        return not (key in self.loaded or key in self.loading or just_failed)

    async def _bring_in(self, model: str, version: str) -> None:
        """Loads the version for what it is named for; if it cannot be loaded, nothing changes."""
        key = (model, version)
        try:
            loaded = await self._load_when_there_is_room(model, version)
        except VersionUnusable as error:
            if store_error := await asyncio.to_thread(why_unreadable, self.settings.store):
                self._note_store_problem(store_error)  # says nothing about the version: tried again when it is back
                return
            self._failed(model, version, str(error))
        except DeviceLost as error:
            self._failed(model, version, str(error))
            self._lose_device()
        except Exception as error:  # whatever else it is: it is said, and not tried again at every look
            log.exception("loading failed", model=model, version=version)
            self._failed(model, version, f"{type(error).__name__}: {error}")
        else:
            self.failures.pop(key, None)
            self.loaded[key] = loaded
            self.metrics.loaded.labels(model, version).set(1)
        finally:
            self.loading.discard(key)
        self._arrange(model)
        self._load_what_is_due()
        self._settle()

    def _settle(self) -> None:
        """Notes when each model answers or cannot: from then on versions that are still to come keep nobody waiting."""
        self.settled = self.settled or not any(self._may_yet_answer(model) for model in self.wanted)
        if self.when_ready and not self.not_ready_because():
            self.when_ready()
            self.when_ready = None

    def _may_yet_answer(self, model: str) -> bool:
        """Whether no version answers so far, but one that is still to come would."""
        wanted = self.wanted[model]
        if model in self.answering or not wanted.routing.champion:
            return False
        candidates = {wanted.routing.champion, wanted.routing.standby} & {*wanted.versions}
        return any((model, version) not in self.failures for version in candidates)

    async def _load_when_there_is_room(self, model: str, version: str) -> Version:
        """As `_load`; where memory was short while other versions were on their way out, again when they have gone."""
        while True:
            leaving = {*self._closing}
            try:
                return await self._load(model, version)
            except NoRoom as error:
                leaving |= self._closing
                if not leaving or not self._is_wanted(model, version):
                    raise
                log.info("load waits for room", model=model, version=version, reason=str(error))
                await asyncio.wait(leaving)

    async def _load(self, model: str, version: str) -> Version:
        """Verifies, loads and warms up, all on the thread that will score. Raises VersionUnusable or DeviceLost."""
        began = time.monotonic()
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"{model}-{version}")
        directory = self.settings.store / model / version
        try:
            manifest, runtime = await asyncio.get_running_loop().run_in_executor(
                executor, load_version, directory, self.runtimes, self.memory
            )
        except BaseException:
            executor.shutdown(wait=False)
            raise
        seconds = time.monotonic() - began
        self.metrics.load_time.labels(model, version).set(seconds)
        log.info("version loaded", model=model, version=version, seconds=round(seconds, 2), **runtime.parameters)
        batcher = Batcher(
            runtime.score,
            executor,
            max_rows=self.settings.max_rows,
            queue_rows=self.settings.queue_rows,
            target=self.settings.target_p99,
            metrics=self.metrics,
            labels=(model, version),
            on_device_lost=self._lose_device,
            light=runtime.light,
            **({"expect": runtime.expect} if isinstance(runtime, Expectant) else {}),
        )
        return Version(manifest, runtime, batcher, executor, seconds)

    def _lose_device(self) -> None:
        log.error("device lost")
        self.device_lost = True

    def _failed(self, model: str, version: str, reason: str) -> None:
        known = self.failures.get((model, version))
        if not known or known.reason != reason:
            log.error("version unusable", model=model, version=version, reason=reason)
        self.failures[(model, version)] = Failure(reason, time.monotonic())

    def _note_store_problem(self, error: OSError) -> None:
        reason = f"the store cannot be read: {error}"
        if reason != self.store_problem:
            log.warning("store unreadable", reason=str(error))
        self.store_problem = reason

    def _retire(self, version: Version) -> None:
        """Lets the version go after its last request."""
        manifest = version.manifest
        self.metrics.loaded.labels(manifest.model, manifest.version).set(0)
        log.info("version retired", model=manifest.model, version=manifest.version)
        task = asyncio.create_task(version.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Answers what is queued, then unloads everything."""
        for task in self._loads:
            task.cancel()
        for version in self.loaded.values():
            self._retire(version)
        self.loaded, self.answering = {}, {}
        await asyncio.gather(*self._closing)


def within_share(model: str, challenger: Challenger, key: str) -> bool:
    """Whether the key is one of the challenger's share.

    A key's place on the scale is the same for all pods and all shares, so a larger share keeps those of a smaller one;
    it differs between challengers, so that it is not always the same people who try what is new.
    """
    digest = hashlib.sha256(f"{model}/{challenger.version}/{key}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64 < challenger.percent / 100


def read_wish(root: Path, pool: str, loaded: Collection[Key]) -> Wish:
    """What the routing files of the store at `root` name for the pool.

    loaded: versions that need no second look. Raises OSError when the store cannot be read.
    """
    # A model that lost its routing file is not taken for one that shall go: an empty champion would say so.
    models = {*store.list_models(root), *(model for model, _ in loaded if (root / model).is_dir())}
    if not models and loaded:
        # What a mount point looks like when its volume is away. One model after the other can be taken out.
        raise FileNotFoundError(f"{root} is empty")
    wish = Wish({}, {}, set())
    for model in sorted(models):
        try:
            routing = store.read_routing(root, model)
        except VersionUnusable as error:
            wish.unusable[model, "?"] = str(error)
            wish.in_doubt.add(model)
            continue
        roles = routing.roles()
        versions: list[str] = []
        unusable: dict[Key, str] = {}
        for version in sorted(roles, key=lambda version: LOAD_ORDER.index(roles[version])):
            try:
                if (model, version) in loaded or store.read_manifest(root / model / version).pool == pool:
                    versions.append(version)
            except VersionUnusable as error:
                unusable[model, version] = str(error)
        if versions or len(unusable) == len(roles):  # else it is one of the other pool
            wish.wanted[model] = Wanted(routing, versions)
            wish.unusable.update(unusable)
    return wish


def why_unreadable(root: Path) -> OSError | None:
    """What keeps the store from being read, if anything."""
    try:
        if store.list_models(root):
            return None
    except OSError as error:
        return error
    return FileNotFoundError(f"{root} is empty")
