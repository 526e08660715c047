"""What only all processes of a pod together can tell: whether it is ready, what it serves, what it has counted.

Whichever process is asked asks its siblings, over sockets of their own, and adds up what they say.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from prometheus_client import generate_latest
from prometheus_client.core import Metric

from scoring_service.batching import Totals
from scoring_service.contract import PodState, PodVersion, studied
from scoring_service.errors import NotReady
from scoring_service.processes import SERVING, Room

WITHIN = 2.0  # seconds for an answer; who takes longer hangs
# How the processes' values of a metric become the pod's, where it is not their sum.
LEAST = frozenset({"scoring_ready", "scoring_store_readable", "scoring_version_loaded", "process_start_time_seconds"})
MOST = frozenset({"scoring_version_unusable", "scoring_version_load_seconds"})

T = TypeVar("T")


@studied
class Question(Struct, frozen=True):
    """what: "alive", "state", "samples", or "totals" of a version."""

    what: str
    model: str = ""
    version: str = ""


@studied
class Samples(Struct, frozen=True):
    """A metric of one process. values: name of the series, its labels, its value."""

    name: str
    documentation: str
    type: str
    values: list[tuple[str, dict[str, str], float]]


Tell = Callable[[Question], Any]


class Siblings:
    """The other processes of this pod; none where it is the only one."""

    def __init__(self, tell: Tell, room: Room | None = None) -> None:
        """tell: this process's own answer to a question."""
        self.tell = tell
        self.room = room
        self._listening: asyncio.Server | None = None

    async def listen(self) -> None:
        """Answers siblings from now on."""
        if self.room:
            self._listening = await asyncio.start_unix_server(self._answer, sock=self.room.ear)

    async def ask(self, question: Question, kind: type[T]) -> list[T]:
        """The answers of all processes that serve, this one's first. Raises NotReady when one of them hangs."""
        if not self.room:
            return [self.tell(question)]
        others = [
            address
            for number, address in enumerate(self.room.addresses)
            if number != self.room.number and self.room.states[number] == SERVING
        ]
        try:
            async with asyncio.timeout(WITHIN):
                said = await asyncio.gather(*(self._ask_one(address, question) for address in others))
        except (TimeoutError, OSError, ValueError) as error:
            raise NotReady("a process of this pod does not answer") from error
        return [self.tell(question), *(msgspec.json.decode(each, type=kind) for each in said)]

    @staticmethod
    async def _ask_one(address: bytes, question: Question) -> bytes:
        sibling = socket.socket(socket.AF_UNIX)
        try:
            sibling.setblocking(False)
            sibling.connect(address)  # at once, or it fails; uvloop knows no addresses without a file
        except OSError:
            sibling.close()
            raise
        reader, writer = await asyncio.open_unix_connection(sock=sibling)
        try:
            writer.write(msgspec.json.encode(question))
            writer.write_eof()
            return await reader.read()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Tells a sibling; whoever is of another user gets nothing, for these addresses are open to all."""
        with suppress(OSError, ValueError):
            if uid_of(writer.get_extra_info("socket")) == os.getuid():
                question = msgspec.json.decode(await reader.read(), type=Question)
                writer.write(msgspec.json.encode(self.tell(question)))
                await writer.drain()
        writer.close()


def uid_of(peer: socket.socket) -> int:
    """The user at the other end of a Unix socket."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


# Adding up ------------------------------------------------------------------------------------------------------------


def state_of_all(states: Sequence[PodState]) -> PodState:
    """The pod's state: ready when all are, and a version is where the last of them has it."""
    return msgspec.structs.replace(
        states[0],
        ready=all(state.ready for state in states),
        reason=next((state.reason for state in states if state.reason), ""),
        memory=sum(state.memory for state in states),
        memory_limit=None if states[0].memory_limit is None else sum(state.memory_limit or 0 for state in states),
        store_problem=next((state.store_problem for state in states if state.store_problem), ""),
        device=next((state.device for state in states if state.device), ""),
        versions=versions_of_all([state.versions for state in states]),
    )


def versions_of_all(told: Sequence[Sequence[PodVersion]]) -> list[PodVersion]:
    known: dict[tuple[str, str], list[PodVersion]] = {}
    for versions in told:
        for each in versions:
            known.setdefault((each.model, each.version), []).append(each)
    return [version_of_all(known[key], everywhere=len(known[key]) == len(told)) for key in sorted(known)]


def version_of_all(told: Sequence[PodVersion], *, everywhere: bool) -> PodVersion:
    """everywhere: all processes know of it. One that is wanted, and not known to all yet, is being loaded."""
    states = {each.state for each in told}
    role = next((each.role for each in told if each.role), "")
    if role and not everywhere:
        states.add("LOADING")
    return msgspec.structs.replace(
        told[0],
        state=next(state for state in ("UNAVAILABLE", "LOADING", "READY") if state in states),
        reason=next((each.reason for each in told if each.reason), ""),
        role=role,
        answering=everywhere and all(each.answering for each in told),
        load_seconds=max((each.load_seconds for each in told if each.load_seconds is not None), default=None),
    )


def totals_of_all(told: Sequence[Totals]) -> Totals:
    return Totals(**{field.name: sum(getattr(each, field.name) for each in told) for field in fields(Totals)})


def samples_of(collected: Iterable[Metric]) -> list[Samples]:
    return [
        Samples(
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in collected
    ]


class Together:
    """The pod's metrics, as a collector of them: those of its processes added up."""

    def __init__(self, told: Iterable[Sequence[Samples]]) -> None:
        self._told = told

    def collect(self) -> list[Metric]:
        metrics: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for samples in self._told:
            for each in samples:
                metrics.setdefault(each.name, Metric(each.name, each.documentation, each.type))
                known = values.setdefault(each.name, {})
                for name, labels, value in each.values:
                    key = name, tuple(sorted(labels.items()))
                    known[key] = combined(each.name, name, known[key], value) if key in known else value
        for name, metric in metrics.items():
            for (series, of), value in values[name].items():
                metric.add_sample(series, dict(of), value)
        return list(metrics.values())

    def text(self) -> bytes:
        return generate_latest(self)


def combined(metric: str, series: str, one: float, other: float) -> float:
    if metric in LEAST or series.endswith("_created"):
        return min(one, other)
    return max(one, other) if metric in MOST else one + other
