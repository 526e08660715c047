"""Bringing a version's files into the store's staging: out of a zip file, or from a folder.

Whoever packs a zip file decides what stands in it, so nothing of it is believed: not its names, not its sizes. What
could run code when it is loaded is refused, whatever it is called: pickles, and what holds one.
"""

import ast
import bz2
import errno
import io
import lzma
import pickletools
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from django.conf import settings

from webapp.errors import InvalidInput, StoreError
from webapp.registry.models import ScoringModel
from webapp.registry.zips import Damaged, Unsupported, unzipping
from webapp.scoring import store

MAX_FILES = 10_000
MAX_NAME_BYTES = 1000  # of a path; file systems take about 4,000
MAX_PART_BYTES = 255  # of one name in it
MAX_DIRECTORY_BYTES = 4_000_000  # of a zip file's own list of what is in it
MAX_MANIFEST_BYTES = 16_000_000
# A file of zeros shrinks to a thousandth; models to a half. Small ones may shrink as they like.
MAX_RATIO = 200
RATIO_COUNTS_FROM = 50_000_000  # bytes unpacked
PIECE = 1 << 20
# What macOS adds to zip files by itself.
LITTER = ("__MACOSX", ".DS_Store")


def unpack(archive: Path, model: ScoringModel) -> Path:
    """The files of the zip in a new staged folder, manifest.json at its root. Raises InvalidInput on `artifact`.

    One folder around everything is taken off. The caller hands the result to services.register_folder, or discards it.
    """
    with _zip_errors(), _opened(archive) as packed:
        members = _members(packed)
        _refuse_bomb(sum(info.file_size for info in members.values()), archive.stat().st_size)
        with _staged(model) as staged:
            left = settings.MAX_ARTIFACT_BYTES
            for path, info in members.items():
                with packed.open(info) as source:
                    left -= _write(source, staged / path, left)
            return staged


def copy(folder: Path, model: ScoringModel) -> Path:
    """The same for a folder of this machine, which stays as it is."""
    with _staged(model) as staged:
        left = settings.MAX_ARTIFACT_BYTES
        files = [path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink()]
        if len(files) > MAX_FILES:
            raise _refusal(f"The folder holds {len(files):,} files; {MAX_FILES:,} is the most.")
        for path in files:
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file():
                raise _refusal(f"{name} is a link or no plain file. Put the file itself there.")
            with path.open("rb") as source:
                left -= _write(source, staged / name, left)
        return staged


@contextmanager
def _staged(model: ScoringModel) -> Iterator[Path]:
    """A staged folder that is gone when its filling fails, and whose files are all harmless when it does not."""
    staged = store.staging(model.name)
    try:
        yield staged
        manifest = staged / "manifest.json"
        if not manifest.is_file():
            raise _refusal("There is no manifest.json at the top. docs/operations.md says what stands in it.")
        if manifest.stat().st_size > MAX_MANIFEST_BYTES:
            raise _refusal(f"manifest.json is larger than {MAX_MANIFEST_BYTES // 1_000_000} MB.")
        examine(staged)
    except BaseException:
        store.discard(staged)
        raise


def _write(source: IO[bytes], target: Path, left: int) -> int:
    """Writes what the source really holds, at most `left` bytes; how many it was."""
    written = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while piece := source.read(PIECE):
                written += len(piece)
                if written > left:
                    raise _refusal(f"Unpacked, it has more than {_gigabytes(settings.MAX_ARTIFACT_BYTES)}.")
                file.write(piece)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreError("The model store has no room for it.") from error
        raise
    return written


# What a zip file says of itself ---------------------------------------------------------------------------------------


class _Bounded(io.FileIO):
    """A file of which zipfile can read no more at once than a list of MAX_FILES names takes.

    zipfile reads that list whole and makes an object of each entry before anybody can count them.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = MAX_DIRECTORY_BYTES + 1 if size is None or size < 0 else size
        data = super().read(min(wanted, MAX_DIRECTORY_BYTES + 1)) or b""
        if len(data) > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of files is too long; {MAX_FILES:,} files is the most")
        return data


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    with _Bounded(archive) as raw, zipfile.ZipFile(cast("IO[bytes]", raw)) as packed:
        yield packed


@contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        with unzipping():
            yield
    except Unsupported as error:
        raise _refusal(f"This zip file cannot be unpacked: {error}. Pack it with plain compression.") from error
    except Damaged as error:
        raise _refusal(f"It is not a zip file, or a damaged one: {error}.") from error


def _members(packed: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files that are wanted, by their path in the version's folder. Raises InvalidInput for a bad one."""
    if len(packed.infolist()) > MAX_FILES:
        raise _refusal(f"It holds {len(packed.infolist()):,} files; {MAX_FILES:,} is the most.")
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in packed.infolist():
        path = _path(info)
        if info.is_dir() or set(path.parts) & set(LITTER):
            continue
        found[_new(path, found)] = info
    tops = {path.parts[0] for path in found}
    if len(tops) == 1 and all(len(path.parts) > 1 for path in found):
        found = {PurePosixPath(*path.parts[1:]): info for path, info in found.items()}
    _refuse_collisions(found)
    return found


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    """Where the file lies in the zip. Raises InvalidInput when that is not plainly below the top."""
    name = info.orig_filename  # as written; `filename` ends at a NUL
    shown = ascii(name)[:200]
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\\" in name or {"", ".", ".."} & set(parts):
        raise _refusal(f"{shown} would lie outside of the version's folder. Pack plain relative paths.")
    if not name.isprintable():
        raise _refusal(f"{shown} holds characters that no file name should.")
    try:
        too_long = len(name.encode()) > MAX_NAME_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts)
    except UnicodeEncodeError as error:
        raise _refusal(f"{shown} is no readable name.") from error
    if too_long:
        raise _refusal(f"{shown} is too long a name.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _refusal(f"{shown} is a link or no plain file. Pack the file itself.")
    if info.flag_bits & 0x1:
        raise _refusal(f"{shown} is encrypted. Pack it without a password.")
    return PurePosixPath(name)


def _new(path: PurePosixPath, found: dict[PurePosixPath, zipfile.ZipInfo]) -> PurePosixPath:
    if path in found:
        raise _refusal(f"{str(path)!a} is in it twice.")
    return path


def _refuse_collisions(found: dict[PurePosixPath, zipfile.ZipInfo]) -> None:
    """Names that are one on some file systems must not mean two files, nor a file and a folder."""
    files: dict[str, PurePosixPath] = {}
    for path in found:
        if (other := files.setdefault(_folded(path), path)) != path:
            raise _refusal(f"{str(path)!a} and {str(other)!a} are the same name on some systems.")
    for path in found:
        for folder in list(path.parents)[:-1]:
            if _folded(folder) in files:
                raise _refusal(f"{str(folder)!a} is both a file and a folder.")


def _folded(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _refuse_bomb(unpacked: int, packed: int) -> None:
    """By what it says of itself; what it really holds is counted while it is written."""
    if unpacked > settings.MAX_ARTIFACT_BYTES:
        raise _refusal(
            f"Unpacked, it would have {_gigabytes(unpacked)}; {_gigabytes(settings.MAX_ARTIFACT_BYTES)} is the most."
        )
    if unpacked > RATIO_COUNTS_FROM and unpacked > MAX_RATIO * packed:
        raise _refusal(f"Unpacked, it would be over {MAX_RATIO} times as large. That is a zip bomb, or mostly zeros.")


# Pickles --------------------------------------------------------------------------------------------------------------

PICKLE_SUFFIXES = {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".npz"}
HEAD = 1 << 18  # bytes of a file that are looked at
# What a pickle needs to call anything.
CALLING = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
OPCODES = {ord(opcode.code) for opcode in pickletools.opcodes}
DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"\x78": zlib.decompressobj,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"\x5d\x00\x00": lzma.LZMADecompressor,
}


def examine(folder: Path) -> None:
    """Raises InvalidInput that names the first file which can run code when it is loaded, and what to use instead."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise _pickle_refusal(name, f"its name ends in {path.suffix}")
        with path.open("rb") as file:
            head = file.read(HEAD)
        if why := _pickle_in(head, whole=len(head) < HEAD) or _pickle_in_zip(path, head):
            raise _pickle_refusal(name, why)


def _pickle_in(head: bytes, *, whole: bool, packed: bool = False) -> str:
    """Why a file that begins so is taken for a pickle; empty when it is not."""
    if head.startswith(b"\x93NUMPY"):
        return "it holds Python objects" if _holds_objects(head) else ""
    if len(head) > 2 and head[0] == 0x80 and head[1] <= 5 and head[2] in OPCODES:
        return f"it begins as one of protocol {head[1]}"
    if _is_old_pickle(head, whole=whole):
        return "it can be read as one of protocol 0 or 1"
    for magic, decompressor in DECOMPRESSORS.items():
        if not packed and head.startswith(magic):
            try:
                inner = decompressor().decompress(head, HEAD)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
                continue
            return _pickle_in(inner, whole=False, packed=True) and "there is one in it, compressed"
    return ""


def _is_old_pickle(head: bytes, *, whole: bool) -> bool:
    """Whether the bytes are opcodes up to the end, or as far as we look, and call something.

    Protocols 0 and 1 begin with nothing of their own, and text may begin with a few letters that are opcodes.
    """
    calls, count = False, 0
    try:
        for opcode, argument, _position in pickletools.genops(head):
            count += 1
            if opcode.name in {"GLOBAL", "INST"} and not re.fullmatch(r"[\w.]+ [\w.]+", str(argument)):
                return False
            calls = calls or opcode.name in CALLING
    except (ValueError, UnicodeDecodeError) as error:
        broke_off = "exhausted" in str(error) or "not enough data" in str(error) or "no newline" in str(error)
        return calls and broke_off and not whole and count > 10
    return calls


def _holds_objects(head: bytes) -> bool:
    """Whether an .npy file's elements are pickled; a header that cannot be read is taken for the worst."""
    width = 2 if head[6:7] == b"\x01" else 4
    start = 8 + width
    length = int.from_bytes(head[8:start], "little")
    try:
        header = ast.literal_eval(head[start : start + length].decode("latin1").strip())
        return _has_object(header["descr"])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return True


def _has_object(described: Any) -> bool:
    """Whether a numpy type description, plain or of fields [(name, type, shape)], holds the type O."""
    if isinstance(described, list):
        return any(_has_object(field[1]) for field in described)
    if isinstance(described, tuple):
        return _has_object(described[0])
    return "O" in described


def _pickle_in_zip(path: Path, head: bytes) -> str:
    """Why a zip inside is refused: PyTorch's own format is one with a pickle, and .npz may hold objects."""
    if not head.startswith(b"PK\x03\x04") or not zipfile.is_zipfile(path):
        return ""
    try:
        with unzipping(), _opened(path) as inner:
            names = inner.namelist()
    except Damaged:
        return "it is a zip file whose list of files cannot be read"
    for name in names:
        if PurePosixPath(name).suffix.lower() in PICKLE_SUFFIXES:
            return f"it is a zip file with {name!a} in it"
        if name.endswith(".npy"):
            return "it is an .npz"
    return ""


def _pickle_refusal(name: str, why: str) -> InvalidInput:
    return _refusal(
        f"{name!a} is a pickle, or may hold one: {why}. Loading a pickle can run any code, so none is taken. Save "
        "arrays as .npy without objects, PyTorch weights as .safetensors, other models as ONNX or JSON."
    )


# Below ----------------------------------------------------------------------------------------------------------------


def _refusal(sentence: str) -> InvalidInput:
    return InvalidInput(sentence, field="artifact")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
