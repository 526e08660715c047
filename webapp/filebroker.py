"""A message broker that is a folder, for where there is no Redis: each message is a file that is renamed on its way.

    <folder>/<queue>/<when>-<tag>-<deaths>.json   waits
    <folder>/taken/<reader>/<queue>/…             is being worked on; the reader holds the lock taken/<reader>.lock
    <folder>/given-up/<queue>/…                   makes no sense, or has been with too many readers that died; the
                                                  last of them stay for a week

A rename happens whole or not at all: nobody reads a message that is half written, no two readers get the same one, and
what a process had taken that was killed goes back into its queue, by the lock that ended with it. kombu's own transport
for files promises none of this.
"""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

import msgspec
import structlog
from kombu.exceptions import ChannelError
from kombu.transport import virtual

log = structlog.get_logger(__name__)

MOST_DEATHS = 3  # of readers that had the message
MOST_GIVEN_UP = 20  # messages of one queue that are kept
GIVEN_UP_KEPT = 7 * 86400.0  # seconds
LOOK_AGAIN = 0.1  # seconds between two looks for messages
LOOK_FOR_DEAD = 5.0  # seconds between two looks for readers that died
TIDY_EVERY = 3600.0  # seconds
UNFINISHED = 3600.0  # seconds after which a file that was being written belongs to nobody any more
WAKE_UP = 0.5  # seconds; a worker that is told to end notices between two waits


class QoS(virtual.QoS):
    """What has been delivered and not yet acknowledged."""

    channel: "Channel"
    # kombu's own, which its types do not know.
    _delivered: Any
    _flush: Any
    _quick_ack: Any

    def ack(self, delivery_tag: str) -> None:
        self.channel.forget(delivery_tag)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        (self.channel.give_back if requeue else self.channel.forget)(delivery_tag)
        self._quick_ack(delivery_tag)

    def restore_unacked(self) -> Any:
        self._flush()
        for delivery_tag in list(self._delivered):
            self.channel.give_back(delivery_tag)
        self._delivered.clear()
        return []


class Channel(virtual.Channel):
    """Puts messages into queues and takes them out. As a reader it is used by one thread; any may acknowledge."""

    QoS = QoS
    body_encoding = "utf-8"  # what is JSON need not become base64

    def __init__(self, connection: Any, **options: Any) -> None:
        super().__init__(connection, **options)
        self._folder = Path(connection.client.transport_options["folder"])
        self._reader: Reader | None = None
        self._taken: dict[str, Path] = {}  # tag of a message to its file
        self._next_look = self._next_tidying = 0.0  # on the monotonic clock
        self._problem = ""

    # What kombu calls ------------------------------------------------------------------------------------------------

    def _put(self, queue: str, message: dict[str, Any], **_options: Any) -> None:
        name = f"{time.time_ns():020}-{message['properties']['delivery_tag']}-0.json"
        try:
            folder = made(self._folder / queue)
            scratch = folder / f".{name}"
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(message))
            scratch.rename(folder / name)
        except OSError as error:
            raise ChannelError(f"The message cannot be written: {error}") from error

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """The oldest message that waits. Raises Empty; also while the folder cannot be read, which is logged once."""
        try:
            message = self._take(queue)
        except OSError as error:
            if str(error) != self._problem:
                log.warning("broker_unreadable", error=str(error))
            self._problem = str(error)
            raise Empty from error
        self._problem = ""
        if message is None:
            raise Empty
        return message

    def _size(self, queue: str) -> int:
        return len(waiting(self._folder / queue))

    def _purge(self, queue: str) -> int:
        files = waiting(self._folder / queue)
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def close(self) -> None:
        super().close()  # gives back what is not acknowledged
        if self._reader:
            self._reader.end()
            self._reader = None

    # Taking and giving back -------------------------------------------------------------------------------------------

    def forget(self, delivery_tag: str) -> None:
        """Deletes the message: it has been dealt with."""
        if path := self._taken.pop(delivery_tag, None):
            path.unlink(missing_ok=True)

    def give_back(self, delivery_tag: str) -> None:
        """Puts the message back to where it was in its queue."""
        if path := self._taken.pop(delivery_tag, None):
            with suppress(FileNotFoundError):
                path.rename(made(self._folder / path.parent.name) / path.name)

    def _take(self, queue: str) -> dict[str, Any] | None:
        if self._reader is None or not self._reader.folder.is_dir():  # somebody may have cleared the whole folder
            self._reader = Reader(made(self._folder / "taken"))
        if time.monotonic() >= self._next_look:
            give_back_of_the_dead(self._folder)
            self._next_look = time.monotonic() + LOOK_FOR_DEAD
        if time.monotonic() >= self._next_tidying:
            delete_unfinished(self._folder)
            delete_given_up(self._folder)
            self._next_tidying = time.monotonic() + TIDY_EVERY
        unreadable: OSError | None = None
        for path in waiting(self._folder / queue):
            mine = made(self._reader.folder / queue) / path.name
            try:
                path.rename(mine)
            except FileNotFoundError:
                continue  # another reader was quicker
            try:
                content = mine.read_bytes()
            except OSError as error:  # says nothing about the message; those behind it need not wait
                mine.rename(path)
                unreadable = error
                continue
            try:
                message: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
                tag = str(message["properties"]["delivery_tag"])
            except (ValueError, RecursionError, LookupError, TypeError) as error:
                give_up(self._folder, mine, f"It cannot be read: {error}.")
                continue
            self._taken[tag] = mine
            return message
        if unreadable:
            raise unreadable
        return None


class Transport(virtual.Transport):
    Channel = Channel
    driver_type = driver_name = "files"

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.polling_interval = LOOK_AGAIN  # the option of that name is Redis's

    def drain_events(self, connection: Any, timeout: float | None = None, **_options: Any) -> None:
        super().drain_events(connection, timeout=min(timeout or WAKE_UP, WAKE_UP))

    def driver_version(self) -> str:
        return "1"


# The folder -----------------------------------------------------------------------------------------------------------


class Reader:
    """The place of one process's messages, and the lock that says that it lives."""

    def __init__(self, taken: Path) -> None:
        name = uuid4().hex
        self._lock_file = taken / f"{name}.lock"
        # The lock first: a folder whose lock is free is taken for that of a dead reader.
        self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = made(taken / name)

    def end(self) -> None:
        """Takes the place away; what is still in it is left to others to give back."""
        with suppress(OSError):
            for queue in self.folder.iterdir():
                queue.rmdir()
            self.folder.rmdir()
            self._lock_file.unlink()
        os.close(self._lock)


def made(folder: Path) -> Path:
    """The folder, made if need be; nobody else may read what questions lie in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def waiting(queue: Path) -> list[Path]:
    """The messages of a queue's folder, oldest first; none where there is no such folder."""
    try:
        return sorted(path for path in queue.iterdir() if path.name.endswith(".json") and path.name[0] != ".")
    except FileNotFoundError:
        return []


def give_back_of_the_dead(folder: Path) -> None:
    """Puts what dead readers had taken back into its queues."""
    for lock_file in (folder / "taken").glob("*.lock"):
        with suppress(OSError), lock_file.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError, which is an OSError: its reader lives
            place = lock_file.with_suffix("")
            for path in place.glob("*/*.json"):
                return_of_the_dead(folder, path)
            for each in (*place.glob("*"), place):
                each.rmdir()
            lock_file.unlink()


def return_of_the_dead(folder: Path, path: Path) -> None:
    """Puts one message back, or gives it up when it may be what its readers die of."""
    start, _, deaths = path.stem.rpartition("-")
    if int(deaths) + 1 >= MOST_DEATHS:
        give_up(folder, path, f"{MOST_DEATHS} processes ended while they worked on it.")
    else:
        path.rename(made(folder / path.parent.name) / f"{start}-{int(deaths) + 1}.json")


def delete_unfinished(folder: Path) -> None:
    """Deletes what processes that died had begun to write."""
    before = time.time() - UNFINISHED
    for path in folder.glob("*/.*.json"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


def delete_given_up(folder: Path) -> None:
    """Deletes messages that were set aside long ago: people's questions are in them, and nobody has looked."""
    before = time.time() - GIVEN_UP_KEPT
    for path in (folder / "given-up").glob("*/*.json"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()


def give_up(folder: Path, path: Path, reason: str) -> None:
    """Sets a message aside that nobody can deal with, and deletes the oldest of those where there are many."""
    place = made(folder / "given-up" / path.parent.name)
    target = place / path.name
    path.rename(target)
    log.error("message_given_up", file=str(target), reason=reason)
    for oldest in waiting(place)[:-MOST_GIVEN_UP]:
        oldest.unlink(missing_ok=True)
