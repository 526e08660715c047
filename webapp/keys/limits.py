"""How many requests a key, a person and a network address may make in a minute.

Counted in Redis where there is one, else in this process. A store that fails lets everything through, with a warning:
a broken counter is no reason to stop scoring.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, TypeVar, cast

import structlog
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from webapp.errors import RateLimited
from webapp.keys.principal import Principal, principal_of

log = structlog.get_logger(__name__)
V = TypeVar("V", bound=Callable[..., HttpResponseBase])
WINDOW = 60  # seconds
PAUSE = 5  # seconds without counting after the store failed, so that not every request waits for it


@dataclass(frozen=True)
class Limit:
    """`quota` requests a minute for one `subject`. name: how the headers call it, such as "faq-key"."""

    name: str
    subject: str
    quota: int


@dataclass(frozen=True)
class Usage:
    """What is left of a limit: `remaining` requests until `reset` seconds from now."""

    limit: Limit
    remaining: int
    reset: float


class Exceeded(RateLimited):
    """A limit has no room left: the last in `usage`, which says how all that were asked stand."""

    def __init__(self, usage: Sequence[Usage]) -> None:
        spent = usage[-1]
        wait = math.ceil(spent.reset)
        super().__init__(
            f"The limit of {spent.limit.quota} a minute is used up. Try again in {wait} s.", retry_after=wait
        )
        self.usage = tuple(usage)


# What the doors call --------------------------------------------------------------------------------------------------


def check(principal: Principal, bucket: str, *, cost: int = 1) -> tuple[Usage, ...]:
    """Counts `cost` requests against the limits of the key and its owner. bucket: "faq", "images" or "other".

    Raises Exceeded when one of them has no room: the key's is asked first, so what a full key is refused does not cost
    its owner's other keys. Returns () while nothing can be counted.
    """
    return _counter(settings.REDIS_URL).count(_limits_of(principal, bucket), cost)


def charge(request: HttpRequest, principal: Principal, bucket: str, *, cost: int = 1) -> None:
    """As `check`, and has the answer to the request carry the RateLimit headers."""
    try:
        usage = check(principal, bucket, cost=cost)
    except Exceeded as exceeded:
        _note(request, exceeded.usage)
        raise
    _note(request, usage)


def limited(bucket: str) -> Callable[[V], V]:
    """Decorates the view of a signed-in page: each request counts one in the bucket."""

    def decorate(view: V) -> V:
        @wraps(view)
        def counted(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            charge(request, principal_of(request), bucket)
            return view(request, *args, **kwargs)

        return cast("V", counted)

    return decorate


def charge_bad_key(request: HttpRequest, network: str) -> None:
    """Counts a key that opened nothing against the network it came from; raises Exceeded when it sends too many."""
    limit = Limit("bad-keys", network, settings.RATE_LIMIT_BAD_KEYS)
    try:
        _counter(settings.REDIS_URL).count((limit,), 1)
    except Exceeded as exceeded:
        _note(request, exceeded.usage)
        raise


def headers_of(request: HttpRequest) -> dict[str, str]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers) for what was counted, {} for nothing."""
    usage: tuple[Usage, ...] = getattr(request, "rate_limit_usage", ())
    if not usage:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{each.limit.name}";q={each.limit.quota};w={WINDOW}' for each in usage),
        "RateLimit": ", ".join(f'"{each.limit.name}";r={each.remaining};t={math.ceil(each.reset)}' for each in usage),
    }


def quotas_of(principal: Principal) -> dict[str, dict[str, int]]:
    """For each bucket, requests a minute by what counts them: {"faq": {"key": 600, "user": 1200}, …}."""
    return {
        bucket: {limit.name.removeprefix(f"{bucket}-"): limit.quota for limit in _limits_of(principal, bucket)}
        for bucket in settings.RATE_LIMITS_PER_USER
    }


def _limits_of(principal: Principal, bucket: str) -> tuple[Limit, ...]:
    person = Limit(f"{bucket}-user", str(principal.user.pk), settings.RATE_LIMITS_PER_USER[bucket])
    if principal.key is None:
        return (person,)
    return (Limit(f"{bucket}-key", str(principal.key.pk), settings.RATE_LIMITS_PER_KEY[bucket]), person)


def _note(request: HttpRequest, usage: tuple[Usage, ...]) -> None:
    request.rate_limit_usage = usage  # type: ignore[attr-defined]  # ours; the middleware reads it


# Counting -------------------------------------------------------------------------------------------------------------


class Counter:
    """Counts in one store. While the store fails everything has room."""

    def __init__(self, redis_url: str) -> None:
        timeouts = {"socket_timeout": 0.25, "socket_connect_timeout": 0.25}  # seconds
        storage = storage_from_string(redis_url, wrap_exceptions=True, **timeouts) if redis_url else None
        self._limiter = SlidingWindowCounterRateLimiter(storage or storage_from_string("memory://"))
        self._paused_until = 0.0

    def count(self, limits: Sequence[Limit], cost: int) -> tuple[Usage, ...]:
        """Counts against the limits in order; raises Exceeded at the first without room. () while the store fails."""
        if time.monotonic() < self._paused_until:
            return ()
        usage: list[Usage] = []
        has_room = True
        try:
            for limit in limits:
                has_room = self._limiter.hit(*_identity(limit), cost=cost)
                usage.append(self._usage(limit, has_room))
                if not has_room:
                    break
        except StorageError as error:
            log.warning("rate_limits_unavailable", error=str(error.storage_error), pause_s=PAUSE)
            self._paused_until = time.monotonic() + PAUSE
            return ()
        if not has_room:
            raise Exceeded(usage)
        return tuple(usage)

    def _usage(self, limit: Limit, has_room: bool) -> Usage:
        stats = self._limiter.get_window_stats(*_identity(limit))
        reset = min(float(WINDOW), max(1.0, stats.reset_time - time.time()))
        return Usage(limit, max(0, stats.remaining) if has_room else 0, reset)


def _identity(limit: Limit) -> tuple[RateLimitItemPerMinute, str, str]:
    return RateLimitItemPerMinute(limit.quota), limit.name, limit.subject


@cache
def _counter(redis_url: str) -> Counter:
    return Counter(redis_url)
