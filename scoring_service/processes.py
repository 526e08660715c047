"""A pod of several processes: one at the door, which takes in connections, and those inside, which answer requests.

Python computes on one core at a time, so a pod with more cores needs more processes. The one at the door loads nothing
and answers nothing: it gives each connection to the process that has the fewest. The kernel, which would share them out
by chance, leaves one process idle while another has a queue. Those inside are forked from it, so that what all of them
import is in memory once.

                      listening socket
                             │
       ┌──────────── process at the door ────────────┐     its `Chute` to each one: connections in, "closed" back
       │                     │                       │
    process 0            process 1               process 2
       └───────── each can be asked by the others ───┘     Siblings: what only all together can tell
"""

import gc
import mmap
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from scoring_service.settings import Settings

log = structlog.get_logger()

AT_ONCE = 64  # connections taken in before others are looked after
SHORT_LIFE = 10.0  # seconds
SHORT_LIVES = 5  # in a row, and the pod gives up: whoever started it will see it, and its log
LAST_WAIT = 8.0  # seconds after the time to drain, in which the processes end by themselves

STARTING, SERVING = 0, 1


@dataclass(frozen=True)
class Room:
    """What one process inside is given.

    chute: where its connections come from; one byte goes back for each that has ended. At its end nobody comes any
    more. ear: where its siblings ask it. addresses: of all ears. states: a byte a process, STARTING or SERVING, seen by
    all.
    """

    number: int
    chute: socket.socket
    ear: socket.socket
    addresses: Sequence[bytes]
    states: mmap.mmap

    def note_serving(self) -> None:
        """From now on connections come here, and siblings ask."""
        self.states[self.number] = SERVING


@dataclass
class Inside:
    """A process inside, as seen from the door."""

    number: int
    ear: socket.socket
    pid: int = 0
    chute: socket.socket | None = None  # None while no process is there
    connections: int = 0
    started_at: float = 0.0
    short_lives: int = 0


@dataclass
class Door:
    """The process at the door. serve: runs a process inside, and returns its exit status."""

    settings: Settings
    serve: Callable[[Room], int]
    stopping_at: float | None = None  # on the monotonic clock: when the first signal came
    closed: bool = False
    failed: bool = False
    waker: int = field(init=False)  # file descriptor to which signals are written
    listener: socket.socket = field(init=False)
    selector: selectors.BaseSelector = field(init=False)
    states: mmap.mmap = field(init=False)
    all_inside: list[Inside] = field(init=False)

    def run(self) -> int:
        """Serves until told to stop; returns the exit status. Raises OSError when the address cannot be had."""
        self.listener = listen(self.settings.host, self.settings.port)
        self.selector = selectors.DefaultSelector()
        self.states = mmap.mmap(-1, self.settings.processes)
        self.all_inside = [Inside(number, ear()) for number in range(self.settings.processes)]
        woken, self.waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # what is to be done is done below, between other things
        self.selector.register(woken, selectors.EVENT_READ, lambda: self.read_signals(woken))
        self.selector.register(self.listener, selectors.EVENT_READ, self.take_in)
        gc.freeze()  # what is shared stays shared: collecting would write into it
        for inside in self.all_inside:
            self.start(inside)
        log.info("listening", address=f"{self.settings.host}:{self.settings.port}", processes=self.settings.processes)
        while any(inside.chute for inside in self.all_inside):
            for key, _ in self.selector.select(self.until_next_step()):
                key.data()
            self.take_next_step()
        return 1 if self.failed else 0

    # Processes ------------------------------------------------------------------------------------------------------

    def start(self, inside: Inside) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.states[inside.number] = STARTING
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self.become(inside, ours, theirs)
        theirs.close()
        ours.setblocking(False)
        inside.pid, inside.chute, inside.connections, inside.started_at = pid, ours, 0, time.monotonic()
        self.selector.register(ours, selectors.EVENT_READ, lambda: self.count_closed(inside))

    def become(self, inside: Inside, ours: socket.socket, theirs: socket.socket) -> None:
        """The new process: lets go of what is the door's, and never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            os.close(self.waker)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)  # Ctrl-C is the door's business
            for key in list(self.selector.get_map().values()):
                if isinstance(key.fileobj, socket.socket):
                    key.fileobj.close()
                else:
                    os.close(key.fd)
            self.selector.close()
            ours.close()
            addresses = [each.ear.getsockname() for each in self.all_inside]
            status = self.serve(Room(inside.number, theirs, inside.ear, addresses, self.states))
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except Exception:
            log.exception("a process of the pod failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def read_signals(self, woken: int) -> None:
        for number in os.read(woken, 100):
            if number == signal.SIGCHLD:
                self.bury()
            else:
                self.stop(number)

    def bury(self) -> None:
        """Finds out who has ended, and starts another in its place, unless the pod is to end."""
        for inside in self.all_inside:
            if not inside.chute:
                continue
            pid, status = os.waitpid(inside.pid, os.WNOHANG)
            if not pid:
                continue
            with suppress(KeyError):  # as soon as it let go of its end
                self.selector.unregister(inside.chute)
            inside.chute.close()
            inside.chute = None
            code = os.waitstatus_to_exitcode(status)
            if self.stopping_at is not None:
                self.failed = self.failed or code != 0
                continue
            lived = time.monotonic() - inside.started_at
            inside.short_lives = inside.short_lives + 1 if lived < SHORT_LIFE else 0
            log.error("a process of the pod has ended", process=inside.number, status=code, after_seconds=round(lived))
            if inside.short_lives < SHORT_LIVES:
                self.start(inside)
            else:
                self.failed = True
                self.stop(signal.SIGTERM)

    # Connections ----------------------------------------------------------------------------------------------------

    def take_in(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self.listener.accept()
            except OSError:  # nobody there any more; or no room for another one, who will be let in later
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.hand_over(connection)

    def hand_over(self, connection: socket.socket) -> None:
        """Gives it to who has the fewest. Who is still starting gets none, but where all are: it can say why."""
        there = [inside for inside in self.all_inside if inside.chute]
        serving = [inside for inside in there if self.states[inside.number] == SERVING] or there
        for inside in sorted(serving, key=lambda each: each.connections):
            assert inside.chute
            with suppress(OSError):  # its chute is full, or it is just ending
                socket.send_fds(inside.chute, [b"+"], [connection.fileno()])
                inside.connections += 1
                return

    def count_closed(self, inside: Inside) -> None:
        assert inside.chute
        with suppress(OSError):
            for _ in range(AT_ONCE):
                ended = inside.chute.recv(64)
                if not ended:  # it ends; the signal that it has will come
                    self.selector.unregister(inside.chute)
                    return
                inside.connections -= len(ended)

    # The end --------------------------------------------------------------------------------------------------------

    def stop(self, number: int) -> None:
        """On the first signal all inside are told, and people are still let in for a while; on the second one not."""
        if self.stopping_at is None:
            self.stopping_at = time.monotonic()
        else:
            self.close()
        for inside in self.all_inside:
            if inside.chute:
                os.kill(inside.pid, signal.SIGTERM)

    def close(self) -> None:
        """Nobody is let in any more; all inside see the end of their chute once they have taken what was in it."""
        if self.closed:
            return
        self.closed = True
        self.selector.unregister(self.listener)
        self.listener.close()
        for inside in self.all_inside:
            if inside.chute:
                inside.chute.shutdown(socket.SHUT_WR)

    def until_next_step(self) -> float | None:
        """Seconds; None: only a signal or a connection makes one."""
        if self.stopping_at is None:
            return None
        return max(
            0.0, self.stopping_at + (self.longest if self.closed else self.settings.not_ready) - time.monotonic()
        )

    @property
    def longest(self) -> float:
        """Seconds from the first signal to the end of whoever has not ended by itself."""
        return self.settings.not_ready + self.settings.drain + LAST_WAIT

    def take_next_step(self) -> None:
        if self.stopping_at is None or self.until_next_step():
            return
        if not self.closed:
            self.close()
            return
        for inside in self.all_inside:
            if inside.chute:
                log.error("killed: it did not end by itself", process=inside.number)
                os.kill(inside.pid, signal.SIGKILL)
        self.stopping_at = time.monotonic()  # the signals of their ends come in a moment


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that does not wait. Raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port}: {os.strerror(error.errno or 0).lower()}") from error
    listener.setblocking(False)
    return listener


def ear() -> socket.socket:
    """A listening socket with an address that the kernel makes up (Linux's abstract ones, without a file)."""
    made = socket.socket(socket.AF_UNIX)
    made.bind("")
    made.listen()
    made.setblocking(False)
    return made
