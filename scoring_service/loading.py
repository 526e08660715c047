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
from scoring_service.contract import ContractError, Manifest, Smoke, decode_request
from scoring_service.errors import BadRow, DeviceLost, ServiceError, VersionUnusable
from scoring_service.memory import Memory
from scoring_service.rows import rows_of, wanted_outputs
from scoring_service.runtimes.base import IMPORTING, Loader, Row, Runtime, Signature

log = structlog.get_logger()

# Runtime names that a manifest may use, each with the module that loads it, imported when first needed: a CPU pod has
# no torch.
RUNTIMES: Mapping[str, str] = {
    "faq": "scoring_service.runtimes.faq",
    "torchvision": "scoring_service.runtimes.torchvision",
    "onnx": "scoring_service.runtimes.onnx",
    "skops": "scoring_service.runtimes.skops",
    "torch": "scoring_service.runtimes.torch",
    "keras": "scoring_service.runtimes.keras",
}
# What runs code of its own: only for pods that were told so.
SCRIPTS: Mapping[str, str] = {"script": "scoring_service.runtimes.script"}


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
    return manifest, loaded(directory, manifest, runtimes, memory, written=True)


def loaded(
    directory: Path,
    manifest: Manifest,
    runtimes: Mapping[str, str] = RUNTIMES,
    memory: Memory | None = None,
    *,
    written: bool,
) -> Runtime:
    """The runtime of a folder with that manifest. written: whether its files must be those that the manifest names.

    Raises VersionUnusable with the reason, or DeviceLost.
    """
    if manifest.runtime in SCRIPTS and manifest.runtime not in runtimes:
        raise VersionUnusable(
            "it is a scoring script, which runs code of its own: this pod takes them only with ALLOW_SCORING_SCRIPTS=1"
        )
    if manifest.runtime not in runtimes:
        raise VersionUnusable(f"this program has no runtime {manifest.runtime!r}")
    try:
        if written:
            store.verify(directory, manifest)
        with IMPORTING:
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
    return runtime


def warm_up(directory: Path, manifest: Manifest, runtime: Runtime) -> None:
    """Scores the manifest's smoke inputs. Raises VersionUnusable when one of them has no answer."""
    for smoke in manifest.smoke:
        name = smoke.request or smoke.file or smoke.text
        try:
            results = runtime.score(smoke_rows(directory, smoke, runtime.signature))
        except DeviceLost:
            raise
        except (ServiceError, ContractError) as error:
            raise VersionUnusable(f"its smoke input {name!r} failed: {error}") from error
        for result in results:
            if isinstance(result, BadRow):
                raise VersionUnusable(f"its smoke input {name!r} was refused: {result}")


def smoke_rows(directory: Path, smoke: Smoke, signature: Signature) -> list[Row]:
    """The rows of a smoke input. Raises OSError, and BadRequest or ContractError for a request that makes no sense."""
    if smoke.request is None:
        return [Row((smoke.text if smoke.file is None else (directory / store.within(smoke.file)).read_bytes(),))]
    asked = decode_request((directory / store.within(smoke.request)).read_bytes())
    outputs = wanted_outputs(asked, signature)
    return [row for row in rows_of(asked, signature, outputs, row_errors=False) if isinstance(row, Row)]
