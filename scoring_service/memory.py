"""How much memory this process uses and may use, and loading within it: what is too large fails, and nothing else."""

import ctypes
import errno
import re
import resource
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scoring_service.contract import Manifest
from scoring_service.errors import NoRoom, OutOfDeviceMemory

_CGROUP = Path("/sys/fs/cgroup")
_STATUS = Path("/proc/self/status")
_SHARES = Path("/proc/self/smaps_rollup")
_NVIDIA = Path("/dev/nvidiactl")
_NO_LIMIT = 2**60  # bytes; version 1 of control groups says so with a number about as large as it can say
# Where there is no class of its own for it: torch and safetensors on the CPU, a thread without room for its stack.
_TOLD_BY = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "start new thread")


def give_back() -> None:
    """Returns to the system what was freed: the C library keeps some of it, which counts as used for as long."""
    with suppress(AttributeError):  # a C library that has nothing of the kind
        ctypes.CDLL(None).malloc_trim(0)


def container_limit(cgroup: Path = _CGROUP) -> int | None:
    """Bytes that the control group, version 2 or 1, allows; None when there is no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            said = (cgroup / name).read_text().strip()
        except OSError:
            continue
        return int(said) if said.isdecimal() and int(said) < _NO_LIMIT else None
    return None


class Memory:
    """What a process of the pod may use."""

    def __init__(self, limit: int | None = None, processes: int = 1) -> None:
        """limit: of the pod, in bytes; None: as much as there is. processes: that share it."""
        self.limit = None if limit is None else limit // processes
        self._shared = processes > 1
        self._lock = threading.Lock()
        self._loads = 0
        self._before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def used(self) -> int:
        """Bytes of memory this process has now, of what it shares with others its part; 0 where nobody tells."""
        file, name = (_SHARES, "Pss") if self._shared else (_STATUS, "VmRSS")
        return _told(file, name) or 0

    @property
    def free(self) -> int:
        return max(0, (self.limit or 0) - self.used())

    @contextmanager
    def loading(self, manifest: Manifest) -> Iterator[None]:
        """Around the loading of a version. Raises NoRoom when there is no room for it, or turns out not to be.

        Other threads may load at the same time: together they stay within the limit.
        """
        needed = max(manifest.memory, sum(file.size for file in manifest.files.values()))
        give_back()
        free = self.free
        if self.limit is not None and needed > free:
            raise NoRoom(f"it needs about {_mb(needed)} of memory; {self._how_much_is_free(free)}")
        with self._lock:
            self._loads += 1
            self._limit_growth(free)
        try:
            yield
        except Exception as error:
            if not _is_lack_of_memory(error):
                raise
            told = "there is not enough memory to load it"
            if self.limit is not None:
                told = f"it needs more memory than there is; {self._how_much_is_free(free)}"
            traceback.clear_frames(error.__traceback__)  # they hold what was loaded so far, and others need it now
            give_back()
            raise NoRoom(told) from None
        finally:
            with self._lock:
                self._loads -= 1
                if not self._loads:
                    resource.setrlimit(resource.RLIMIT_DATA, self._before)

    def _limit_growth(self, free: int) -> None:
        """Lets the process grow by so much and no more: an allocation beyond that fails at once, in Python as in C.

        Else the kernel would end the whole pod, with all that it serves. What counts is memory asked for, of which a
        part is never used: so what was there before is left out of it. Not tried beside CUDA, hence not used there.
        """
        data = _told(_STATUS, "VmData")
        if self._loads == 1:
            self._before = resource.getrlimit(resource.RLIMIT_DATA)
        soft, hard = self._before
        if self.limit is None or data is None or _NVIDIA.exists():
            return
        ceilings = [limit for limit in (data + free, soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_DATA, (min(ceilings), hard))

    def _how_much_is_free(self, free: int) -> str:
        return f"{_mb(free)} of the {_mb(self.limit or 0)} that this pod may use are free"


def _is_lack_of_memory(error: BaseException | None) -> bool:
    """Whether that is what it comes from, however it was passed on."""
    while error:
        if (
            isinstance(error, MemoryError | OutOfDeviceMemory)
            or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
            or any(words in str(error).lower() for words in _TOLD_BY)
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _told(file: Path, name: str) -> int | None:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", file.read_text(), re.MULTILINE)
    except OSError:  # a system without /proc
        return None
    return int(found[1]) * 1024 if found else None


def _mb(size: int) -> str:
    return f"{round(size / 2**20):,} MB"
