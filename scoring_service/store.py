"""The model store: versions on disk, each with a manifest, immutable once written, and verified before they are loaded.

    <store>/<model>/<version>/manifest.json   what the version is, with size and SHA-256 of each of its files
    <store>/<model>/routing.json              which of them pods load, and what for; replaced in one step
    <store>/<model>/evaluation.{jsonl,zip}    inputs with known answers, on which all its versions are measured

Nothing here runs code from the store.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from scoring_service.contract import NAME, File, Manifest, Routing
from scoring_service.errors import VersionUnusable

# How reading a JSON file fails: ValueError when it is malformed or not UTF-8, RecursionError when nested without end.
UNREADABLE = (OSError, ValueError, RecursionError)


def list_models(store: Path) -> list[str]:
    """Names of the models that have a routing file, sorted. Raises OSError when the store cannot be read."""
    # Not by glob: it takes a folder that may not be read for an empty one.
    folders = (path for path in store.iterdir() if NAME.fullmatch(path.name))
    return sorted(path.name for path in folders if (path / "routing.json").is_file())


def read_routing(store: Path, model: str) -> Routing:
    """What should serve the model. Raises VersionUnusable when the file cannot be read or makes no sense."""
    path = store / model / "routing.json"
    try:
        routing = msgspec.json.decode(path.read_bytes(), type=Routing)
    except UNREADABLE as error:
        raise VersionUnusable(f"{model}/routing.json: {error}") from error
    for name in routing.roles():
        if not NAME.fullmatch(name):
            raise VersionUnusable(f"{model}/routing.json: {name!r} is not the name of a version")
    return routing


def champion_of(store: Path, model: str) -> str:
    """The version that serves. Raises VersionUnusable when none does."""
    champion = read_routing(store, model).champion
    if not champion:
        raise VersionUnusable(f"no version of {model} serves yet; say which with --version")
    return champion


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a version's folder. Raises VersionUnusable when it is missing or makes no sense."""
    path = directory / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise VersionUnusable(f"there is no {path.name} in {directory.parent.name}/{directory.name}") from error
    except UNREADABLE as error:
        raise VersionUnusable(f"manifest.json: {error}") from error
    if (manifest.model, manifest.version) != (directory.parent.name, directory.name):
        raise VersionUnusable(f"manifest.json is that of {manifest.model} version {manifest.version}")
    return manifest


def verify(directory: Path, manifest: Manifest) -> None:
    """Raises VersionUnusable, naming the first file or library that is not as the manifest says."""
    verify_files(directory, manifest)
    for name, written_with in manifest.libraries.items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise VersionUnusable(f"it needs {name} {written_with}, which is not installed here") from error
        if installed.split(".")[0] != written_with.split(".")[0]:
            raise VersionUnusable(f"it was written with {name} {written_with}; {installed} is installed here")


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Raises VersionUnusable, naming the first file that is not as the manifest says."""
    for name, expected in manifest.files.items():
        try:
            verify_file(directory / within(name), name, expected)
        except OSError as error:
            raise VersionUnusable(f"{name} cannot be read: {error.strerror or error}") from error


def verify_file(path: Path, name: str, expected: File) -> None:
    """Raises VersionUnusable when the file is not the one that was registered, OSError when it cannot be read."""
    if not path.is_file():
        raise VersionUnusable(f"{name} is missing")
    size = path.stat().st_size
    if size != expected.size:
        raise VersionUnusable(f"{name} has {size} bytes, the manifest says {expected.size}")
    if sha256_of(path) != expected.sha256:
        raise VersionUnusable(f"{name} is not the file that was registered: its SHA-256 differs")


def within(name: str) -> PurePosixPath:
    """The relative path, or VersionUnusable when it would lead out of the version's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise VersionUnusable(f"{name!r} leads out of the version's folder")
    return path


def write_version(
    store: Path, model: str, build: Callable[[Path], dict[str, Any]], *, version: str | None = None
) -> Manifest:
    """Writes a new version and returns its manifest; the version appears in the store whole or not at all.

    build: puts the version's files into the empty folder it is given, and returns the manifest's other fields
        (`kind`, `runtime`, `pool`, `title`, … as in Manifest).
    version: its name; by default the next whole number.
    Raises ValueError for a bad name, FileExistsError when the version is there already.
    """
    for name in (model,) if version is None else (model, version):
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name: letters, digits, dot, dash and underscore only, at most 128")
    folder = store / model
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        fields = build(scratch)
        files = {
            path.relative_to(scratch).as_posix(): File(sha256_of(path), path.stat().st_size)
            for path in sorted(scratch.rglob("*"))
            if path.is_file()
        }
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        chosen = version or next_version(folder)
        manifest = msgspec.convert(
            {"created_at": created_at, **fields, "model": model, "version": chosen}, type=Manifest, strict=True
        )
        manifest = msgspec.structs.replace(manifest, files=files)
        write_manifest(scratch, manifest)
        for path in (scratch, *scratch.rglob("*")):  # pods may run as another user than the one who trains
            path.chmod(0o755 if path.is_dir() else 0o644)
        flush(scratch)
        while not took_name(scratch, folder / manifest.version):
            if version is not None:
                raise FileExistsError(f"{model} version {version} is there already; versions are never overwritten")
            # Another trainer was quicker with that number.
            manifest = msgspec.structs.replace(manifest, version=next_version(folder))
            write_manifest(scratch, manifest)
            flush_one(scratch / "manifest.json")
        flush_one(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    (directory / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))


def took_name(scratch: Path, target: Path) -> bool:
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


def set_champion(store: Path, model: str, version: str) -> None:
    """Names the version that serves, and no other. Pods follow within their polling interval."""
    if not (store / model / version / "manifest.json").is_file():
        raise FileNotFoundError(f"there is no version {version} of {model} in {store}")
    replace_file(store / model / "routing.json", msgspec.json.encode(Routing(champion=version)))


def set_first_champion(store: Path, model: str, version: str) -> bool:
    """Lets the version serve where none of the model is routed yet: whether a later one shall serve is not ours to say.

    Returns whether it serves.
    """
    if (store / model / "routing.json").exists():
        return False
    set_champion(store, model, version)
    return True


def keep_evaluation_set(store: Path, model: str, name: str, content: bytes) -> bool:
    """Puts what versions of the model are measured on into its folder; returns False when there is something already.

    All versions are to be measured on the same, so it is never replaced here.
    """
    target = store / model / name
    if target.exists():
        return False
    replace_file(target, content)
    return True


def replace_file(target: Path, content: bytes) -> None:
    """The file has the new content or the old one, whoever looks and whenever the power fails."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", dir=target.parent)
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.chmod(0o644)
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    flush_one(target.parent)


def next_version(folder: Path) -> str:
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(folder: Path) -> None:
    """Makes sure that the folder's files are on disk before its name says so."""
    for path in (*folder.rglob("*"), folder):
        flush_one(path)


def flush_one(path: Path) -> None:
    """Makes sure that the file's bytes, or the folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
