"""Which version answers: watches the store and converges to what its routing files name.

A version is verified, loaded and warmed up before it serves; the one it replaces goes after its last request. A version
that cannot be loaded never takes down the one that serves, and says why in the index.
"""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import structlog

from scoring_service import store
from scoring_service.batching import Batcher
from scoring_service.contract import IndexEntry, Manifest
from scoring_service.errors import BadRow, DeviceLost, NotFound, NotReady, ServiceError, VersionUnusable
from scoring_service.metrics import Metrics
from scoring_service.runtimes.base import Loader, Row, Runtime
from scoring_service.settings import Settings

log = structlog.get_logger()

RETRY_AFTER = 10.0  # seconds until a version that failed to load is tried again without a change of its routing

# Runtime names that a manifest may use, each with the module that loads it, imported when first needed: a CPU pod has
# no torch.
RUNTIMES: Mapping[str, str] = {
    "faq": "scoring_service.runtimes.faq",
    "torchvision": "scoring_service.runtimes.torchvision",
}


@dataclass(eq=False)
class Version:
    """A loaded version: its runtime behind its queue, and the one thread that both loads and scores."""

    manifest: Manifest
    runtime: Runtime
    batcher: Batcher
    executor: ThreadPoolExecutor

    async def close(self) -> None:
        """Answers what is queued, then gives back what the version holds."""
        await self.batcher.close()
        try:
            await asyncio.get_running_loop().run_in_executor(self.executor, self.runtime.close)
        except Exception:
            log.exception("unloading failed", model=self.manifest.model, version=self.manifest.version)
        self.executor.shutdown(wait=False)


@dataclass(frozen=True)
class Failure:
    reason: str
    at: float  # on the monotonic clock


@dataclass(frozen=True)
class Wish:
    """What the store wants of a pod: model to version, and why some of it cannot be, by model and version."""

    versions: dict[str, str]
    unusable: dict[tuple[str, str], str]


@dataclass
class Router:
    """What this pod serves now, and what it should."""

    settings: Settings
    metrics: Metrics
    runtimes: Mapping[str, str] = field(default_factory=lambda: RUNTIMES)
    serving: dict[str, Version] = field(default_factory=dict)  # by model
    loading: dict[str, str] = field(default_factory=dict)  # model to version
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)  # by model and version
    device_lost: bool = False  # for good: only a new process helps
    settled: bool = False  # once all that the first look at the store named has been loaded, or has failed
    store_problem: str = ""
    _loads: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    # What endpoints ask ---------------------------------------------------------------------------------------------

    def version_for(self, model: str, version: str | None = None) -> Version:
        """The version that answers for the model; with `version`, that one. Raises NotFound or NotReady."""
        serving = self.serving.get(model)
        if serving and version in {None, serving.manifest.version}:
            return serving
        loading = self.loading.get(model)
        if loading and version in {None, loading}:
            raise NotReady(f"{model} version {loading} is being loaded")
        for (name, failed), failure in self.failures.items():
            if name == model and version in {None, failed}:
                raise NotReady(f"{model} version {failed} cannot be loaded: {failure.reason}")
        if serving:
            raise NotFound(f"version {version} of {model} is not loaded here; {serving.manifest.version} is")
        if not self.settled:
            raise NotReady(self.not_ready_because())
        raise NotFound(f"there is no model {model!r} here; POST /v2/repository/index lists those there are")

    def default_model(self, kind: str) -> Version:
        """The first model of the kind that is not a sample, else the first sample. Raises NotFound or NotReady."""
        candidates = [each for each in self.serving.values() if each.manifest.kind == kind]
        if not candidates and not self.settled:
            raise NotReady(self.not_ready_because())
        if not candidates:
            raise NotFound(f"no model of kind {kind!r} is loaded here")
        return min(candidates, key=lambda each: (each.manifest.sample, each.manifest.model))

    def index(self) -> list[IndexEntry]:
        entries = [
            IndexEntry(name=model, version=version.manifest.version, state="READY")
            for model, version in self.serving.items()
        ]
        entries += [IndexEntry(name=model, version=version, state="LOADING") for model, version in self.loading.items()]
        entries += [
            IndexEntry(name=model, version=version, state="UNAVAILABLE", reason=failure.reason)
            for (model, version), failure in self.failures.items()
        ]
        return sorted(entries, key=lambda entry: (entry.name, entry.version))

    def not_ready_because(self) -> str:
        """Why this pod should get no requests; empty when it should."""
        if self.device_lost:
            return "the device does not answer"
        if not self.settled:
            being_loaded = ", ".join(f"{model} version {version}" for model, version in self.loading.items())
            return f"being loaded: {being_loaded}" if being_loaded else "the store is being read"
        if self.serving:
            return ""
        reasons = [f"{model} {version}: {failure.reason}" for (model, version), failure in self.failures.items()]
        return "; ".join(reasons) or self.store_problem or f"the store has no model for the pool {self.settings.pool}"

    # Converging -----------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Converges for ever; cancel it to stop."""
        while True:
            try:
                await self.converge()
            except OSError as error:  # a store that is away for a while takes nothing down
                reason = f"the store cannot be read: {error}"
                if reason != self.store_problem:
                    log.warning("store unreadable", reason=str(error))
                self.store_problem = reason
            except Exception:  # the pod goes on with what it serves, and goes on looking
                log.exception("looking at the store failed")
            self.settled = self.settled or not self.loading
            await asyncio.sleep(self.settings.store_poll)

    async def converge(self) -> None:
        """One look at the store: retires what is named no more, starts to load what is named and missing.

        What serves stays when in doubt. Raises OSError when the store cannot be read; then nothing changes.
        """
        serving = {model: version.manifest.version for model, version in self.serving.items()}
        wish = await asyncio.to_thread(read_wish, self.settings.store, self.settings.pool, serving)
        self.store_problem = ""
        self.failures = {
            (model, version): failure
            for (model, version), failure in self.failures.items()
            if wish.versions.get(model) == version or (model, version) in wish.unusable
        }
        for (model, version), reason in wish.unusable.items():
            self._failed(model, version, reason)
        in_doubt = {model for model, _ in wish.unusable}
        for model in self.serving.keys() - wish.versions.keys() - in_doubt:
            self._retire(self.serving.pop(model))
        for model, version in wish.versions.items():
            if self._is_due(model, version):
                self.loading[model] = version
                task = asyncio.create_task(self._serve(model, version))
                self._loads.add(task)
                task.add_done_callback(self._loads.discard)

    def _is_due(self, model: str, version: str) -> bool:
        """Whether to load it now: it does not serve, nothing of the model is being loaded, nor did it just fail."""
        serving, failure = self.serving.get(model), self.failures.get((model, version))
        return not (
            (serving and serving.manifest.version == version)
            or model in self.loading
            or (failure and time.monotonic() - failure.at < RETRY_AFTER)
        )

    async def _serve(self, model: str, version: str) -> None:
        """Puts the version into service in place of the one that serves; if it cannot be loaded, that one stays."""
        try:
            loaded = await self._load(model, version)
        except VersionUnusable as error:
            self._failed(model, version, str(error))
            return
        except DeviceLost as error:
            self._failed(model, version, str(error))
            self._lose_device()
            return
        finally:
            del self.loading[model]
            self.settled = self.settled or not self.loading
        self.failures.pop((model, version), None)
        before = self.serving.get(model)
        self.serving[model] = loaded
        self.metrics.loaded.labels(model, version).set(1)
        if before:
            self._retire(before)

    async def _load(self, model: str, version: str) -> Version:
        """Verifies, loads and warms up, all on the thread that will score. Raises VersionUnusable or DeviceLost."""
        began = time.monotonic()
        executor = ThreadPoolExecutor(1, thread_name_prefix=f"{model}-{version}")
        directory = self.settings.store / model / version
        try:
            manifest, runtime = await asyncio.get_running_loop().run_in_executor(
                executor, load_version, directory, self.runtimes
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
            metrics=self.metrics,
            labels=(model, version),
            on_device_lost=self._lose_device,
        )
        return Version(manifest, runtime, batcher, executor)

    def _lose_device(self) -> None:
        log.error("device lost")
        self.device_lost = True

    def _failed(self, model: str, version: str, reason: str) -> None:
        known = self.failures.get((model, version))
        if not known or known.reason != reason:
            log.error("version unusable", model=model, version=version, reason=reason)
        self.failures[(model, version)] = Failure(reason, time.monotonic())

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
        for version in self.serving.values():
            self._retire(version)
        self.serving = {}
        await asyncio.gather(*self._closing)


def read_wish(root: Path, pool: str, serving: Mapping[str, str]) -> Wish:
    """What the routing files of the store at `root` name for the pool.

    serving: model to version; these need no second look. Raises OSError when the store cannot be read.
    """
    wish = Wish({}, {})
    for model in store.list_models(root):
        version = ""
        try:
            version = store.read_routing(root, model).champion
            if serving.get(model) == version or store.read_manifest(root / model / version).pool == pool:
                wish.versions[model] = version
        except VersionUnusable as error:
            wish.unusable[model, version or "?"] = str(error)
    return wish


def load_version(directory: Path, runtimes: Mapping[str, str] = RUNTIMES) -> tuple[Manifest, Runtime]:
    """Verifies, loads and warms up a version's folder. Raises VersionUnusable with the reason, or DeviceLost."""
    manifest = store.read_manifest(directory)
    if manifest.runtime not in runtimes:
        raise VersionUnusable(f"this program has no runtime {manifest.runtime!r}")
    store.verify(directory, manifest)
    try:
        load: Loader = import_module(runtimes[manifest.runtime]).load
        runtime = load(directory, manifest)
        try:
            warm_up(directory, manifest, runtime)
        except BaseException:
            runtime.close()
            raise
    except (VersionUnusable, DeviceLost):
        raise
    except ImportError as error:
        raise VersionUnusable(f"the runtime {manifest.runtime!r} is not installed here: {error}") from error
    except (Exception, SystemExit) as error:  # a broken version may fail in any way, and must not take the pod with it
        log.warning("load failed", model=manifest.model, version=manifest.version, exc_info=True)
        raise VersionUnusable(f"{type(error).__name__}: {error}") from error
    return manifest, runtime


def warm_up(directory: Path, manifest: Manifest, runtime: Runtime) -> None:
    """Scores the manifest's smoke inputs. Raises VersionUnusable when one of them has no answer."""
    for smoke in manifest.smoke:
        row = Row((smoke.text if smoke.file is None else (directory / store.within(smoke.file)).read_bytes(),))
        try:
            [result] = runtime.score([row])
        except DeviceLost:
            raise
        except ServiceError as error:
            raise VersionUnusable(f"its smoke input {smoke.file or smoke.text!r} failed: {error}") from error
        if isinstance(result, BadRow):
            raise VersionUnusable(f"its smoke input {smoke.file or smoke.text!r} was refused: {result}")
