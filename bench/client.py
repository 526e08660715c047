"""A lean client: as many requests at once as there are connections, or so many a second whatever becomes of them."""

import asyncio
import re
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import uvloop

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"retry-after: (\d+)", re.IGNORECASE)
MOST_CONNECTIONS = 1000
TICK = 0.001  # seconds between two looks at what is due
PATIENCE = 60.0  # seconds for the last answers


@dataclass(frozen=True, slots=True)
class Answer:
    """When its request was due and when it was here, in seconds since the load began.

    status: 0 where the connection broke. retry_after: 0 where nothing was said.
    """

    due: float
    done: float
    status: int
    retry_after: int = 0

    @property
    def took(self) -> float:
        return self.done - self.due


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.transport: asyncio.Transport
        self.due: float | None = None  # of the request under way
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own kinds are none of asyncio's
        self.load.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head = self.received.find(b"\r\n\r\n")
        if head < 0 or self.due is None:
            return
        found = LENGTH.search(self.received, 0, head)
        if not found or len(self.received) < head + 4 + int(found[1]):
            return
        come_back = RETRY_AFTER.search(self.received, 0, head)
        self.note(int(self.received[9:12]), int(come_back[1]) if come_back else 0)
        self.received = b""
        self.load.idle.append(self)
        self.load.ask_again()

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(0)
        self.load.connections -= 1
        if self in self.load.idle:
            self.load.idle.remove(self)

    def note(self, status: int, retry_after: int = 0) -> None:
        if self.due is not None:
            self.load.answers.append(Answer(self.due, self.load.now(), status, retry_after))
            self.due = None
            self.load.answered.set()


@dataclass
class Load:
    """What is asked of the pod at the port of this machine, and what came of it."""

    port: int
    requests: Sequence[bytes]
    answers: list[Answer] = field(default_factory=list)
    idle: deque[Connection] = field(default_factory=deque)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    asked: int = 0
    began: float = field(default_factory=time.monotonic)
    until: float = 0.0  # on the clock of `now`: who has been answered asks again until then

    def now(self) -> float:
        return time.monotonic() - self.began

    async def connect(self) -> None:
        self.connections += 1
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self.port)

    def ask(self, due: float) -> None:
        self.idle.popleft().ask(self.requests[self.asked % len(self.requests)], due)
        self.asked += 1

    def ask_again(self) -> None:
        if self.now() < self.until:
            self.ask(self.now())

    async def closed(self, connections: int, seconds: float) -> None:
        """Each connection asks again as soon as it is answered."""
        for _ in range(connections):
            await self.connect()
        self.began = time.monotonic()
        self.until = seconds
        while self.idle:
            self.ask(self.now())
        await asyncio.sleep(seconds)
        await self.finish()

    async def open(self, rate: float, seconds: float) -> None:
        """So many requests a second. One for which no connection is free waits, which counts as part of its time."""
        for _ in range(min(MOST_CONNECTIONS, max(16, int(rate / 20)))):
            await self.connect()
        self.began = time.monotonic()
        total = int(rate * seconds)
        while self.asked < total:
            due = min(int(self.now() * rate) + 1, total)
            while self.asked < due and self.idle:
                self.ask(self.asked / rate)
            if self.asked < due and self.connections < MOST_CONNECTIONS:
                await self.connect()
            else:
                await asyncio.sleep(TICK)
        await self.finish()

    async def finish(self) -> None:
        """Waits for the answers that are still to come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while len(self.answers) < self.asked:
                    self.answered.clear()
                    await self.answered.wait()
        for connection in [*self.idle]:
            connection.transport.close()


def as_sent(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST request as it goes over a connection."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> list[Answer]:
    load = Load(port, requests)
    uvloop.run(load.closed(connections, seconds))
    return load.answers


def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> list[Answer]:
    load = Load(port, requests)
    uvloop.run(load.open(rate, seconds))
    return load.answers


def percentile(values: Sequence[float], hundredth: int) -> float:
    """0.0 where there are hardly any values."""
    return statistics.quantiles(values, n=100, method="inclusive")[hundredth - 1] if len(values) > 1 else 0.0
