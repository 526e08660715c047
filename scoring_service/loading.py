"""A version's way from the store into memory: verified, loaded, warmed up."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import structlog

from scoring_service import store
from scoring_service.batching import Batcher
from scoring_service.contract import Manifest
from scoring_service.errors import BadRow, DeviceLost, ServiceError, VersionUnusable
from scoring_service.memory import Memory
from scoring_service.runtimes.base import Loader, Row, Runtime

log = structlog.get_logger()

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
    load_seconds: float  # verifying, loading, warming up

    async def close(self) -> None:
        """Answers what is queued, then gives back what the version holds."""
        await self.batcher.close()
        try:
            await asyncio.get_running_loop().run_in_executor(self.executor, self.runtime.close)
        except Exception:
            log.exception("unloading failed", model=self.manifest.model, version=self.manifest.version)
        self.executor.shutdown(wait=False)


def load_version(
    directory: Path, runtimes: Mapping[str, str] = RUNTIMES, memory: Memory | None = None
) -> tuple[Manifest, Runtime]:
    """Verifies, loads and warms up a version's folder. Raises VersionUnusable with the reason, or DeviceLost."""
    manifest = store.read_manifest(directory)
    if manifest.runtime not in runtimes:
        raise VersionUnusable(f"this program has no runtime {manifest.runtime!r}")
    try:
        store.verify(directory, manifest)
        load: Loader = import_module(runtimes[manifest.runtime]).load
        with (memory or Memory()).loading(manifest):
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
