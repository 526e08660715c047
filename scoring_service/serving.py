"""Runs the application on uvicorn, with a shutdown that loses no request."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette

from scoring_service import tracing
from scoring_service.connections import PodProtocol
from scoring_service.processes import Room
from scoring_service.settings import Settings

log = structlog.get_logger()

# Seconds until a thread that computes in Python lets another one in; Python's own are 0.005. An answer passes through
# several threads, each of which would wait so long for one that loads a version.
SWITCH = 0.001
# New objects after which Python looks for cycles among them; its own 700 are fewer than the requests of one batch bring
# along, so that it would look at each of them while it is being answered, in vain.
COLLECT_AFTER = 50_000
LAST_WAIT = 5.0  # seconds after the drain for models to end their call and let go of what they hold


class PodServer(uvicorn.Server):
    """On the first signal the pod becomes not ready and serves on; then it drains, then it stops."""

    def __init__(self, config: uvicorn.Config, app: Starlette, settings: Settings) -> None:
        super().__init__(config)
        self.app = app
        self.settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settings = self.settings
        log.info("listening", address=f"{settings.host}:{settings.port}", pool=settings.pool, store=str(settings.store))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.app.state.stopping or not self.started:  # asked twice, or before there is anything to finish: at once
            self.force_exit = True
            super().handle_exit(sig, frame)
            return
        self.app.state.stopping = True
        # A signal comes between any two steps of the program, when it may hold the log's lock.
        asyncio.get_running_loop().call_soon_threadsafe(self.say_goodbye, sig)

    def say_goodbye(self, sig: int) -> None:
        log.info("stopping", signal=signal.Signals(sig).name, after_seconds=self.settings.not_ready)
        asyncio.get_running_loop().call_later(self.settings.not_ready, self.close_the_door)

    def close_the_door(self) -> None:
        """No new connections; the requests inside are answered, then the server ends.

        A model whose call never returns would keep the process for ever: Python waits for its thread. A thread of our
        own, for which Python does not wait, then ends it.
        """
        self.should_exit = True
        last = threading.Timer(self.settings.drain + LAST_WAIT, leave_at_once)
        last.daemon = True
        last.start()


def leave_at_once() -> None:
    """Ends the process as it is, and says in the log which threads kept it; those of a version have its name."""
    others = set(threading.enumerate()) - {threading.main_thread()}
    busy = sorted(thread.name for thread in others if not thread.daemon)
    log.error("left with threads busy", threads=busy)
    os._exit(1)


class InsideServer(PodServer):
    """The server of one process of several: its connections come through its chute, and it closes when that ends."""

    def __init__(self, config: uvicorn.Config, app: Starlette, settings: Settings, room: Room) -> None:
        super().__init__(config, app, settings)
        self.room = room
        self.coming: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await uvicorn.Server.startup(self, sockets=[])
        threading.Thread(target=self.take_in, args=(asyncio.get_running_loop(),), name="chute", daemon=True).start()

    def say_goodbye(self, sig: int) -> None:
        """It is the process at the door that closes it."""

    def take_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for connections, in a thread: uvloop tells nobody of the end of a socket that ends with an error."""
        message = b"+"
        while message:
            descriptors: list[int] = []
            try:
                message, descriptors, _, _ = socket.recv_fds(self.room.chute, 1, 1)
            except ConnectionError:  # the process at the door has been killed
                message = b""
            with suppress(RuntimeError):  # the loop has ended
                for descriptor in descriptors:
                    loop.call_soon_threadsafe(self.let_in, socket.socket(fileno=descriptor))
                if not message:
                    loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        self.app.state.stopping = True
        self.close_the_door()

    def let_in(self, connection: socket.socket) -> None:
        coming = asyncio.create_task(self.serve_connection(connection))
        self.coming.add(coming)
        coming.add_done_callback(self.coming.discard)

    async def serve_connection(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        protocol = PodProtocol(self.config, self.server_state, self.lifespan.state)
        protocol.when_lost = self.note_closed
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # the client has left already
            connection.close()
            self.note_closed()

    def note_closed(self) -> None:
        with suppress(OSError):  # nobody at the door any more
            self.room.chute.send(b"-", socket.MSG_DONTWAIT)


def serve(app: Starlette, settings: Settings, room: Room | None = None) -> int:
    """Serves until it is told to stop; returns the exit status. room: None where the pod is one process."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=PodProtocol,
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.drain),
    )
    server = InsideServer(config, app, settings, room) if room else PodServer(config, app, settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the soft one is often 1024, whatever the machine can do
    tracing.start(settings.traces_endpoint, f"scorepod-scoring-{settings.pool}")
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    server.run()
    return 0 if server.started else 1
