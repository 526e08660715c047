"""The site's hands on the model store: what lies there, what serves, and putting in or taking out a version.

    <store>/<model>/<version>/manifest.json   what the version is; its folder is never changed once it has that name
    <store>/<model>/routing.json              which versions pods load; replaced in one step
    <store>/<model>/.lock                     held by whoever changes something of the model
    <store>/<model>/.staged-…, .deleted-…     on the way in and on the way out; files: .routing-…, .evaluation-…

Nothing here runs code from the store, and the store's root is never made here: a mount that is away must not be
mistaken for an empty store.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from django.conf import settings

from scoring_service import contract
from webapp.errors import StoreError

PIECE = 1 << 20  # bytes read at once
LOCKED_WITHIN = 10.0  # seconds; whoever holds the lock writes one small file
LEFT_OVER = 24 * 3600.0  # seconds after which what is on its way in or out belongs to nobody any more
# How reading a JSON file fails: ValueError when it is malformed or not UTF-8, RecursionError when nested without end.
MALFORMED = (ValueError, RecursionError)


class StoreUnavailable(StoreError):
    """The store, or a file that is there, cannot be read or written right now; later it may."""


@dataclass(frozen=True)
class Challenger:
    """The version that answers `percent` (1 to 50) of the requests that name none."""

    version: str
    percent: float


@dataclass(frozen=True)
class Routing:
    """Which versions of a model pods load: champion answers, challenger some of it, standby and warm are there for it.

    Empty: there is none.
    """

    champion: str = ""
    challenger: Challenger | None = None
    standby: str = ""
    warm: tuple[str, ...] = ()


# What lies there ------------------------------------------------------------------------------------------------------


def list_models() -> list[str]:
    """Names of the models that have a version or a routing file, sorted."""
    with _available("The model store cannot be read"):
        folders = [path for path in _root().iterdir() if contract.NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(path.name for path in folders if (path / "routing.json").is_file() or _versions_in(path))


def list_versions(model: str) -> list[str]:
    """Names of the model's versions, numbers in their order before other names; none for a model that is not there."""
    with _available(f"The model {model} cannot be read"):
        folder = _model_folder(model)
        return _versions_in(folder) if _is_there(folder) else []


def read_manifest(model: str, version: str) -> dict[str, Any]:
    """What the version says of itself, as contract.Manifest has it, in plain values."""
    folder = _version_folder(model, version)
    manifest = _manifest_in(folder, f"{model}/{version}")
    if (manifest.model, manifest.version) != (model, version):
        raise StoreError(f"{model}/{version}: its manifest is that of {manifest.model} version {manifest.version}.")
    return _plain(manifest)


def manifest_in(folder: Path) -> dict[str, Any]:
    """The manifest of a staged folder, whichever model, version and files it names; those are for `place` to say.

    Raises StoreError when there is none or it makes no sense.
    """
    with _available("The staged folder cannot be read"):
        try:
            fields = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=dict[str, Any])
        except FileNotFoundError as error:
            raise StoreError("There is no manifest.json.") from error
        except MALFORMED as error:
            raise StoreError(f"manifest.json: {error}.") from error
    return _plain(_manifest_of(fields, model="model", version="version"))


def read_version_file(model: str, version: str, name: str) -> bytes:
    """The content of one file of the version, such as "labels.json"."""
    with _available(f"{model}/{version}/{name} cannot be read"):
        try:
            return (_version_folder(model, version) / _within(name)).read_bytes()
        except FileNotFoundError as error:
            _require(_model_folder(model))
            raise StoreError(f"{model}/{version} has no file {name}.") from error


def model_file(model: str, name: str) -> Path:
    """Where a file that belongs to the model itself lies or would lie, such as its evaluation set."""
    if not contract.NAME.fullmatch(name):
        raise StoreError(f"{name!r} is not a name for a file of the store.")
    return _model_folder(model) / name


def verify_files(model: str, version: str, on_progress: Callable[[float], None] | None = None) -> None:
    """Compares each file's size and SHA-256 with the manifest. Raises StoreError that names the first that differs.

    on_progress: told again and again which share of the bytes has been read, from 0 to 1.
    """
    folder = _version_folder(model, version)
    files = _manifest_in(folder, f"{model}/{version}").files
    in_all = max(1, sum(expected.size for expected in files.values()))
    read = 0
    for name, expected in files.items():
        path = folder / _within(name)
        with _available(f"{name} cannot be read"):
            if not path.is_file():
                _require(folder.parent)
                raise StoreError(f"{name} is missing.")
            size = path.stat().st_size
            if size != expected.size:
                raise StoreError(f"{name} has {size:,} bytes; its manifest says {expected.size:,}.")
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
                    read += len(piece)
                    if on_progress:
                        on_progress(min(1.0, read / in_all))
        if digest.hexdigest() != expected.sha256:
            raise StoreError(f"{name} is not the file that was registered: its SHA-256 differs.")
    if on_progress:
        on_progress(1.0)


# What serves ----------------------------------------------------------------------------------------------------------


def read_routing(model: str) -> Routing | None:
    """What pods are told about the model; None when there is no routing file. Raises StoreError for one that is
    damaged.
    """
    with _available(f"{model}/routing.json cannot be read"):
        try:
            raw = (_model_folder(model) / "routing.json").read_bytes()
        except FileNotFoundError:
            _require(_root())
            return None
    try:
        routing = msgspec.json.decode(raw, type=contract.Routing)
    except MALFORMED as error:
        raise StoreError(f"{model}/routing.json: {error}.") from error
    challenger = routing.challenger
    return Routing(
        champion=routing.champion,
        challenger=Challenger(challenger.version, challenger.percent) if challenger else None,
        standby=routing.standby,
        warm=tuple(routing.warm),
    )


def write_routing(model: str, routing: Routing) -> None:
    """Tells the pods; they follow within their polling interval. The file is replaced in one step.

    Whoever writes what it has just read elsewhere does both inside of `locked`. The model's folder must be there: in a
    store that is a mount without its volume there would be no version to load.
    """
    challenger = routing.challenger
    content = msgspec.json.encode(
        contract.Routing(
            champion=routing.champion,
            challenger=contract.Challenger(challenger.version, challenger.percent) if challenger else None,
            standby=routing.standby,
            warm=list(routing.warm),
        )
    )
    with _available(f"{model}/routing.json cannot be written"):
        folder = _model_folder(model)
        descriptor, name = tempfile.mkstemp(prefix=".routing-", dir=folder)
        scratch = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.chmod(0o644)  # pods may run as another user
            scratch.replace(folder / "routing.json")
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        _flush(folder)


@contextmanager
def locked(model: str) -> Iterator[None]:
    """Keeps all other processes that ask for the model's lock waiting; it goes with the process at the latest.

    Raises StoreUnavailable when another one has kept it for too long, or the model's folder is not there.
    """
    with _available(f"The model {model} cannot be locked"):
        descriptor = os.open(_model_folder(model) / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with _available(f"The model {model} cannot be locked"):
            until = time.monotonic() + LOCKED_WITHIN
            while not _took(descriptor):
                if time.monotonic() > until:
                    raise StoreUnavailable(f"Another process has been changing {model} for {LOCKED_WITHIN:g} s.")
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


# In and out -----------------------------------------------------------------------------------------------------------


def staging(model: str) -> Path:
    """A new empty folder to put the files of a version into; `place` or `discard` takes it away."""
    with _available(f"Nothing can be stored for {model}"):
        return Path(tempfile.mkdtemp(prefix=".staged-", dir=_made(model)))


def discard(staged: Path) -> None:
    shutil.rmtree(staged, ignore_errors=True)


def place(model: str, staged: Path, fields: Mapping[str, Any], *, after: int = 0) -> dict[str, Any]:
    """Gives a staged folder its place as the model's next version, and returns its manifest.

    fields: those of contract.Manifest but for model, version and files, which are written as they are found.
    after: numbers up to this one are taken, though their artifact may be gone.
    Raises StoreError when the fields make no sense; the folder then stays where it is.
    """
    with _available(f"The model {model} cannot take in a version"):
        folder = _made(model)
        files = {
            path.relative_to(staged).as_posix(): contract.File(_sha256(path), path.stat().st_size)
            for path in sorted(staged.rglob("*"))
            if path.is_file() and path != staged / "manifest.json"
        }
        for path in (staged, *staged.rglob("*")):  # pods may run as another user
            path.chmod(0o755 if path.is_dir() else 0o644)
        _flush(staged, *staged.rglob("*"))
        while True:
            numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
            version = str(max([after, *numbers]) + 1)
            manifest = msgspec.structs.replace(_manifest_of(fields, model=model, version=version), files=files)
            written = staged / "manifest.json"
            written.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            written.chmod(0o644)
            _flush(written)
            if _renamed(staged, folder / version):
                _flush(folder)
                return _plain(manifest)


def delete_artifact(model: str, version: str) -> None:
    """Takes the version's files out of the store, at once for pods and then for good. One that is gone is no error.

    An empty folder stays, so that no trainer gives its number to another version.
    """
    with _available(f"{model}/{version} cannot be deleted"):
        folder = _version_folder(model, version)
        if not _is_there(folder):
            return
        grave = Path(tempfile.mkdtemp(prefix=".deleted-", dir=folder.parent))
        folder.rename(grave / version)
        folder.mkdir()
        _flush(folder.parent)
        shutil.rmtree(grave)


def tidy() -> None:
    """Deletes what a process that died left on its way into the store or out of it."""
    with _available("The model store cannot be read"):
        _require(_root())
        before = time.time() - LEFT_OVER
        for pattern in (".staged-*", ".deleted-*", ".routing-*", ".evaluation-*"):
            for path in _root().glob(f"*/{pattern}"):
                if path.stat().st_mtime >= before:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


# Below ----------------------------------------------------------------------------------------------------------------


@contextmanager
def _available(otherwise: str) -> Iterator[None]:
    """An error of the file system becomes a StoreUnavailable that begins with the sentence."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{otherwise}: {error.strerror or error}.", retry_after=5) from error


def _root() -> Path:
    return Path(settings.MODEL_STORE)


def _require(folder: Path) -> None:
    """Raises OSError when the folder is away, perhaps with the whole store: what it lacks then means nothing."""
    next(folder.iterdir(), None)


def _model_folder(model: str) -> Path:
    if not contract.NAME.fullmatch(model):
        raise StoreError(f"{model!r} is not the name of a model.")
    return _root() / model


def _version_folder(model: str, version: str) -> Path:
    if not contract.NAME.fullmatch(version):
        raise StoreError(f"{version!r} is not the name of a version.")
    return _model_folder(model) / version


def _made(model: str) -> Path:
    """The model's folder, made if need be. Raises OSError when the store itself is away."""
    folder = _model_folder(model)
    folder.mkdir(exist_ok=True)
    return folder


def _is_there(folder: Path) -> bool:
    """Raises OSError when the store itself is away."""
    if folder.is_dir():
        return True
    _require(_root())
    return False


def _versions_in(folder: Path) -> list[str]:
    found = [path.name for path in folder.iterdir() if contract.NAME.fullmatch(path.name)]
    versions = [name for name in found if (folder / name / "manifest.json").is_file()]
    return sorted(versions, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))


def _manifest_in(folder: Path, called: str) -> contract.Manifest:
    with _available(f"{called}/manifest.json cannot be read"):
        try:
            return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=contract.Manifest)
        except FileNotFoundError as error:
            _require(folder.parent)
            raise StoreError(f"{called} has no manifest.json.") from error
        except MALFORMED as error:
            raise StoreError(f"{called}/manifest.json: {error}.") from error


def _manifest_of(fields: Mapping[str, Any], *, model: str, version: str) -> contract.Manifest:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    complete = {"created_at": now, **fields, "model": model, "version": version, "files": {}}
    try:
        return msgspec.convert(complete, type=contract.Manifest)
    except MALFORMED as error:
        raise StoreError(f"manifest.json: {error}.") from error


def _plain(manifest: contract.Manifest) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(manifest)
    if _has_nul(plain):
        raise StoreError("manifest.json: there is a NUL character in it, which no database keeps.")
    return plain


def _has_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    if isinstance(value, list):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\0" in value


def _within(name: str) -> PurePosixPath:
    """The relative path, or StoreError when it would lead out of the version's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise StoreError(f"{name!r} leads out of the version's folder.")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _renamed(scratch: Path, target: Path) -> bool:
    """Whether the folder has that name now; False, and nothing changed, when something else has it."""
    if target.exists():  # not left to the renaming alone, which would replace an empty folder
        return False
    try:
        scratch.rename(target)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
            return False
        raise
    return True


def _took(descriptor: int) -> bool:
    """Whether the lock is ours now. Raises OSError where the file system cannot tell."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:  # held; the latter is how CIFS says so
            return False
        raise
    return True


def _flush(*paths: Path) -> None:
    """Makes sure that the files' bytes and the folders' names are on disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
