"""Where limits are counted: by a script in Redis, or in this process under a lock. Both count alike.

Several limits are taken at once: all of them are charged, or none where one has no room. A limit of a minute looks
back from now, so that no sixty seconds see more than its quota; what came within a tenth of a second is kept as one
entry, which bounds it to some 600 entries however high the quota. A limit of a month is a sum.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

from limits.storage import RedisStorage, storage_from_string
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import ConnectionError  # noqa: A004  # theirs, not the system's
from redis.retry import Retry

WINDOW = 60.0  # seconds
MERGED = 0.1  # seconds
TIMEOUT = 1.0  # seconds for Redis to answer; one that is only busy must not be taken for one that is away
SWEPT_EVERY = 60.0  # seconds between two looks for what may be forgotten
SUM_KNOWN_FOR = 10.0  # seconds that a process without Redis goes by its own sum; then it asks what others have counted


@dataclass(frozen=True)
class Ask:
    """`cost` to be counted under `key`. quota: None counts without a limit. forget_at: of a sum, in seconds since 1970;
    0: of a minute. needs: how much room there must be, where that is more than the cost; a cost of 0 that needs nothing
    only looks.
    """

    key: str
    quota: int | None
    cost: int
    forget_at: int = 0
    needs: int = 0

    @property
    def wanted(self) -> int:
        """How much room there must be."""
        return max(self.cost, self.needs)


@dataclass(frozen=True)
class Standing:
    """How a limit stands. wait: seconds until there is room, where there was none, else until some is free again; 0 for
    a sum.
    """

    used: int
    wait: float


@dataclass(frozen=True)
class Taken:
    """refused: the position of the limit that had no room, None when all were charged."""

    refused: int | None
    standings: list[Standing]


class StoreFailed(Exception):
    """The store does not answer, or not with what it should."""


class Unseeded(Exception):
    """A sum is asked for that the store has lost or never had: ask again with what it was (`seeds`)."""


class Store(Protocol):
    """Used by many threads at once."""

    def take(self, asks: Sequence[Ask], seeds: Mapping[str, int], then: Callable[[], None]) -> Taken:
        """Charges all, and does what comes `then`; or charges none.

        seeds: what sums were, by key, for those that are not there. Raises Unseeded.
        """

    def doubt(self, keys: Collection[str] | None = None) -> None:
        """Has the next who asks for these sums, or any, bring what they are, where others may have added to them."""

    def settle(self, thing: str, asks: Sequence[Ask], seeds: Mapping[str, int], before: int) -> Taken:
        """Has the sums count their cost for one thing, in place of what they count for it until now; or changes none.

        To be told the same again does no harm. asks: all of one cost and month. before: what they count for the thing,
        where the store has lost that or never had it. The standings are missing where nothing is to be changed. Raises
        Unseeded.
        """

    def give_back(self, costs: Mapping[str, int]) -> None:
        """Takes these off the sums of those keys that are there; none falls below 0."""


# In Redis -------------------------------------------------------------------------------------------------------------


class RedisStore:
    """Counts in the Redis at the address, for all processes that do. Raises StoreFailed."""

    def __init__(self, url: str) -> None:
        # Once more where the connection was lost, as after a restart of Redis. Not where no answer came: it may have
        # been counted.
        once_more: Any = Retry(NoBackoff(), retries=1, supported_errors=(ConnectionError,))
        timeouts = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        storage = storage_from_string(url, retry=once_more, **timeouts)
        self._storage = cast("RedisStorage", storage)  # the address says so
        redis = self._storage.get_connection()
        here = Path(__file__).parent
        self._take = redis.register_script((here / "take.lua").read_bytes())
        self._settle = redis.register_script((here / "settle.lua").read_bytes())
        self._give_back = redis.register_script((here / "give_back.lua").read_bytes())

    def take(self, asks: Sequence[Ask], seeds: Mapping[str, int], then: Callable[[], None]) -> Taken:
        arguments: list[int | str] = [round(WINDOW * 1000), round(MERGED * 1000)]
        for ask in asks:
            quota = -1 if ask.quota is None else ask.quota
            arguments += [quota, ask.cost, ask.wanted, ask.forget_at, seeds.get(ask.key, "")]
        taken = self._taken(self._take, [ask.key for ask in asks], arguments)
        if taken.refused is None:
            then()
        return taken

    def doubt(self, keys: Collection[str] | None = None) -> None:
        """Nobody adds to them elsewhere."""

    def settle(self, thing: str, asks: Sequence[Ask], seeds: Mapping[str, int], before: int) -> Taken:
        arguments: list[int | str] = [asks[0].cost, before, asks[0].forget_at]
        for ask in asks:
            arguments += [-1 if ask.quota is None else ask.quota, seeds.get(ask.key, "")]
        return self._taken(self._settle, [thing, *(ask.key for ask in asks)], arguments)

    def _taken(self, script: Script, keys: list[str], arguments: list[int | str]) -> Taken:
        try:
            refused, *rest = script(keys, arguments)
        except self._storage.base_exceptions as error:
            raise StoreFailed(str(error)) from error
        if refused < 0:
            raise Unseeded
        standings = [Standing(used, wait / 1000) for used, wait in zip(rest[::2], rest[1::2], strict=True)]
        return Taken(refused - 1 if refused else None, standings)

    def give_back(self, costs: Mapping[str, int]) -> None:
        try:
            self._give_back(list(costs), list(costs.values()))
        except self._storage.base_exceptions as error:
            raise StoreFailed(str(error)) from error


# In this process ------------------------------------------------------------------------------------------------------


@dataclass
class Entry:
    """What came within a moment. first, last: on the monotonic clock."""

    first: float
    last: float
    count: int


@dataclass
class Minute:
    """What was counted in the last minute, the oldest first."""

    entries: deque[Entry] = field(default_factory=deque)
    used: int = 0

    def drop_until(self, moment: float) -> None:
        """Forgets what had come by then."""
        while self.entries and self.entries[0].last <= moment:
            self.used -= self.entries.popleft().count

    def add(self, cost: int, now: float) -> None:
        if self.entries and now - self.entries[-1].first < MERGED:
            self.entries[-1].count += cost
            self.entries[-1].last = now
        else:
            self.entries.append(Entry(now, now, cost))
        self.used += cost

    def wait_for(self, missing: int, now: float) -> float:
        """Seconds until so much of it is a minute old; a minute where there is not so much."""
        freed = 0
        for entry in self.entries:
            freed += entry.count
            if freed >= missing:
                return entry.last + WINDOW - now
        return WINDOW


@dataclass
class Sum:
    """known_until: on the monotonic clock."""

    used: int
    known_until: float


class MemoryStore:
    """Counts in this process. What others have added to a sum it learns from those who ask: once in a while it wants a
    seed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minutes: dict[str, Minute] = {}
        self._sums: dict[str, Sum] = {}
        self._sweep_at = time.monotonic() + SWEPT_EVERY

    def take(self, asks: Sequence[Ask], seeds: Mapping[str, int], then: Callable[[], None]) -> Taken:
        with self._lock:
            now = time.monotonic()
            self._sweep(now)
            standings = [self._standing(ask, seeds, now) for ask in asks]
            for position, (ask, standing) in enumerate(zip(asks, standings, strict=True)):
                if ask.wanted and not _has_room(ask, standing.used):
                    return Taken(position, standings)
            for ask in asks:
                self._charge(ask, now)
            then()  # before anybody can ask anew what the sums are
            charged = [
                Standing(standing.used + ask.cost, standing.wait) for ask, standing in zip(asks, standings, strict=True)
            ]
            return Taken(None, charged)

    def _standing(self, ask: Ask, seeds: Mapping[str, int], now: float) -> Standing:
        if not ask.forget_at:
            minute = self._minutes.setdefault(ask.key, Minute())
            minute.drop_until(now - WINDOW)
            missing = 1 if _has_room(ask, minute.used) else minute.used + ask.wanted - (ask.quota or 0)
            return Standing(minute.used, minute.wait_for(missing, now))
        known = self._sums.get(ask.key)
        if known is None or known.known_until <= now:
            if ask.key not in seeds:
                raise Unseeded
            known = self._sums[ask.key] = Sum(seeds[ask.key], now + SUM_KNOWN_FOR)
        return Standing(known.used, 0.0)

    def _charge(self, ask: Ask, now: float) -> None:
        if ask.forget_at:
            self._sums[ask.key].used += ask.cost
        elif ask.cost:
            self._minutes[ask.key].add(ask.cost, now)

    def doubt(self, keys: Collection[str] | None = None) -> None:
        with self._lock:
            for key in list(self._sums) if keys is None else keys:
                self._sums.pop(key, None)

    def settle(self, thing: str, asks: Sequence[Ask], seeds: Mapping[str, int], before: int) -> Taken:
        """Remembers no thing: what it counts for one that is not kept goes with the process, or with `doubt`."""
        more = asks[0].cost - before
        if more > 0:
            return self.take([replace(ask, cost=more) for ask in asks], seeds, lambda: None)
        self.give_back({ask.key: -more for ask in asks})
        return Taken(None, [])

    def give_back(self, costs: Mapping[str, int]) -> None:
        with self._lock:
            for key, cost in costs.items():
                if known := self._sums.get(key):
                    known.used = max(0, known.used - cost)

    def _sweep(self, now: float) -> None:
        """Once in a while, forgets whoever has not come for a while."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEPT_EVERY
        self._minutes = {
            key: minute
            for key, minute in self._minutes.items()
            if minute.entries and minute.entries[-1].last > now - WINDOW
        }
        self._sums = {key: each for key, each in self._sums.items() if each.known_until > now}


def _has_room(ask: Ask, used: int) -> bool:
    return ask.quota is None or used + ask.wanted <= ask.quota
