"""`python -m tests.balancer PORT POD_PORT…`: one address in front of several pods, as a Kubernetes Service is.

It chooses a pod, in turn among those that are ready, when a connection opens, and passes bytes from then on: a long
connection stays with its pod, ready or not. A pod that refuses is passed over. Readiness is asked ten times a second.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import suppress

HOST = "127.0.0.1"
PROBE_EVERY = 0.1  # seconds
PROBE_WITHIN = 1.0  # seconds
PIECE = 64 * 1024  # bytes
READY = b"HTTP/1.1 200"


class Balancer:
    def __init__(self, pods: list[int]) -> None:
        self.pods = pods
        self.ready: set[int] = set()
        self.turn = 0

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self.forward, HOST, port, backlog=1024)
        async with server, asyncio.TaskGroup() as group:
            for pod in self.pods:
                group.create_task(self.watch(pod))

    async def watch(self, pod: int) -> None:
        while True:
            (self.ready.add if await is_ready(pod) else self.ready.discard)(pod)
            await asyncio.sleep(PROBE_EVERY)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Joins a caller with a pod until either side ends."""
        for pod in self.in_turn():
            with suppress(OSError):
                to_caller = await asyncio.open_connection(HOST, pod)
                break
        else:
            writer.transport.abort()  # nobody there: reset, as where a Service has no endpoints
            return
        await asyncio.gather(passed_on(reader, to_caller[1]), passed_on(to_caller[0], writer))

    def in_turn(self) -> Iterator[int]:
        self.turn += 1
        ready = [pod for pod in self.pods if pod in self.ready]
        for offset in range(len(ready)):
            yield ready[(self.turn + offset) % len(ready)]


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Writes what it reads; a side that breaks off breaks off the other."""
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.close()
    except OSError:
        writer.transport.abort()


async def is_ready(pod: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_WITHIN):
            reader, writer = await asyncio.open_connection(HOST, pod)
            try:
                writer.write(b"GET /v2/health/ready HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
                return (await reader.read(len(READY))).startswith(READY)
            finally:
                writer.close()
    return False


if __name__ == "__main__":
    own, *pods = map(int, sys.argv[1:])
    with suppress(KeyboardInterrupt):
        asyncio.run(Balancer(pods).serve(own))
