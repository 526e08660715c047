"""How much a key, a person and a network address may ask for: in a minute, and in a calendar month.

Of a minute every request is counted, and besides each kind of work apart: of what is scored the rows, questions and
pictures, of the rest the requests. Of a month all that is scored is counted, requests and rows, with those of batches;
it is counted whether or not there is a quota, and what is answered with an error is given back. plans.py says how much
there is for whom.

Counted in Redis where there is one, else in this process. A store that fails lets everything through, with a warning:
a broken counter is no reason to stop scoring.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, wraps
from typing import Any, TypeVar, cast
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from webapp import metrics
from webapp.accounts.models import User
from webapp.accounts.plans import Limits, limits_of
from webapp.errors import QuotaExceeded, RateLimited
from webapp.keys import month_use
from webapp.keys.counters import Ask, MemoryStore, RedisStore, Store, StoreFailed, Taken, Unseeded
from webapp.keys.models import ApiKey
from webapp.keys.month_use import Account, Month, Use, month_of
from webapp.keys.principal import Principal, Visitor, principal_of

log = structlog.get_logger(__name__)
V = TypeVar("V", bound=Callable[..., HttpResponseBase])
WINDOW = 60  # seconds
PAUSE = 5  # seconds without counting after the store failed, so that not every request waits for it
MONTH = "month-"  # how the limits of a month begin
SCORING = ("faq", "images")  # the buckets that count rows, and in the month, too
EVERY = "requests"  # the bucket of all requests
BAD_KEYS = "bad-keys"
VISITORS = "visitors"
# What the limits of a minute count, in words.
UNITS = {EVERY: "requests", "faq": "questions", "images": "pictures", "other": "other requests"}


@dataclass(frozen=True)
class Limit:
    """`quota` of something in any minute, or in the month. quota: None counts without a limit.

    kind: what is counted: a bucket, or "month-requests" and "month-rows". who, subject: for whom: "key" or "user" and
    its id, or "" and a network. cost: what is to be counted now; needs: what there must be room for, if that is more.
    """

    kind: str
    who: str
    subject: int | str
    quota: int | None
    cost: int
    month: Month | None = None
    needs: int = 0

    @property
    def name(self) -> str:
        """How the headers call it, such as "faq-key"."""
        return f"{self.kind}-{self.who}" if self.who else self.kind

    @property
    def key(self) -> str:
        """How the store calls it."""
        return ":".join(["limits", *([str(self.month)] if self.month else []), self.name, str(self.subject)])

    @property
    def seconds(self) -> int:
        """How long its window is."""
        return self.month.seconds if self.month else WINDOW

    @property
    def ask(self) -> Ask:
        forget_at = int(self.month.ends_at.timestamp()) + WINDOW if self.month else 0
        return Ask(self.key, self.quota, self.cost, forget_at, self.needs)

    @property
    def whose(self) -> str:
        """Whom it limits, in words."""
        return "this key" if self.who == "key" else "your account"


@dataclass(frozen=True)
class Usage:
    """How a limit stands. reset: seconds until there is room where there was none, else until some is free again."""

    limit: Limit
    used: int
    reset: float

    @property
    def remaining(self) -> int | None:
        """None where there is no limit."""
        return None if self.limit.quota is None else max(0, self.limit.quota - self.used)


class Exceeded(RateLimited):
    """The limit of a minute that is `spent` has no room; `usage` says how all that were asked stand."""

    def __init__(self, spent: Usage, usage: Sequence[Usage]) -> None:
        wait = max(1, math.ceil(spent.reset))
        super().__init__(self._said(spent, wait), retry_after=wait)
        self.usage = tuple(usage)

    @staticmethod
    def _said(spent: Usage, wait: int) -> str:
        limit, quota = spent.limit, spent.limit.quota or 0
        if limit.kind == BAD_KEYS:
            return (
                f"More than {quota:,} requests in a minute came from your network with keys that do not work. "
                f"Check the key, and try again in {wait} s."
            )
        if limit.kind == VISITORS:
            return (
                f"More than {quota:,} questions in a minute came from your network without signing in. Sign in, or "
                f"try again in {wait} s."
            )
        unit, whose = UNITS[limit.kind], limit.whose
        if not quota:
            return f"The limit of {whose} is 0 {unit} a minute."
        if limit.cost > quota:
            return f"This brings {limit.cost:,} {unit}, and {whose} may have {quota:,} a minute. Send less at once."
        if not spent.remaining:
            return f"The limit of {whose}, {quota:,} {unit} a minute, is used up. Try again in {wait} s."
        left = f"of the {quota:,} {unit} a minute of {whose} {spent.remaining:,} are left"
        return f"This brings {limit.cost:,}, and {left}. Try again in {wait} s."


class MonthExceeded(QuotaExceeded):
    """The same of a quota of the month."""

    def __init__(self, spent: Usage, usage: Sequence[Usage]) -> None:
        month, quota, cost = spent.limit.month, spent.limit.quota or 0, spent.limit.cost
        assert month is not None
        what = spent.limit.kind.removeprefix(MONTH)
        whose = spent.limit.whose
        said = (
            f"This counts {cost:,} {what}, and of the {quota:,} a month of {whose} {spent.remaining:,} are left."
            if spent.remaining
            else f"The quota of {whose}, {quota:,} {what} a month, is used up."
        )
        super().__init__(
            f"{said} The next month begins on {month.ends_at:%-d %B %Y} (UTC).", retry_after=math.ceil(spent.reset)
        )
        self.spent, self.usage = spent, tuple(usage)


@dataclass(frozen=True)
class Charge:
    """What has been counted in a month."""

    account: Account
    use: Use


# What the doors call --------------------------------------------------------------------------------------------------


def charge(request: HttpRequest, principal: Principal, bucket: str, *, rows: int = 1) -> None:
    """Counts the request and its rows against the limits of the key and its owner: all are charged, or none.

    bucket: "faq", "images" or, of what has no rows, "other". rows: 0 while nobody knows; then there must be room for
    one, and the request is charged again when they are known: it stays one request. Raises Exceeded or MonthExceeded
    where there is no room. Has the answer to the request carry the RateLimit headers.
    """
    charges = _charges(request)
    itself = 0 if hasattr(request, "rate_limit_usage") else 1  # charged again, it stays one
    cost, needs = (rows, 1) if bucket in SCORING else (itself, 0)
    limits = [*_minute_limits(principal, bucket, cost, needs), *_minute_limits(principal, EVERY, itself)]
    planned: Charge | None = None
    if bucket in SCORING:
        planned = Charge(_account(principal.user, principal.key), Use(itself, rows))
        limits += _month_limits(planned, limits_of(principal.user), needs)
    try:
        usage = _counter(settings.REDIS_URL).take(limits, planned)
    except Exceeded as exceeded:
        _note(request, exceeded.usage)
        raise
    except MonthExceeded as exceeded:
        _note(request, exceeded.usage)
        raise _whole(exceeded, request) from None
    if planned:
        charges.append(planned)
    _note(request, usage)


def settle(request: HttpRequest, status: int) -> None:
    """To be called with the status of the answer: what is answered with an error has cost nothing of the month.

    Nor has what is only accepted, as a batch (202): it counts its rows itself.
    """
    if status >= 400 or status == 202:
        give_back(request)


def give_back(request: HttpRequest, *, rows: int | None = None) -> None:
    """Gives back to the month all that the request was charged, or so many rows: those that got no answer."""
    charges = _charges(request)
    whole = _charged(charges)
    given = whole if rows is None else Use(0, min(rows, whole.rows))
    if given == Use():
        return
    account = charges[0].account  # one that changed with the month, in the middle of a request, is not worth a line
    _counter(settings.REDIS_URL).give_back(Charge(account, given))
    charges[:] = [Charge(account, whole + -given)]
    usage: tuple[Usage, ...] = getattr(request, "rate_limit_usage", ())
    _note(request, tuple(_lessened(each, given) for each in usage))


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
    limit = Limit(BAD_KEYS, "", network, settings.RATE_LIMIT_BAD_KEYS, 1)
    try:
        _counter(settings.REDIS_URL).take([limit])
    except Exceeded as exceeded:
        _note(request, exceeded.usage)
        raise


def charge_visitor(request: HttpRequest, visitor: Visitor) -> None:
    """Counts a question of somebody who has not signed in against their network; raises Exceeded at too many."""
    limit = Limit(VISITORS, "", visitor.network, settings.RATE_LIMIT_VISITORS, 1)
    try:
        usage = _counter(settings.REDIS_URL).take([limit])
    except Exceeded as exceeded:
        _note(request, exceeded.usage)
        raise
    _note(request, usage)


def headers_of(request: HttpRequest) -> dict[str, str]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers) for what was counted, {} for nothing."""
    usage: tuple[Usage, ...] = getattr(request, "rate_limit_usage", ())
    limited = [each for each in usage if each.limit.quota is not None]
    if not limited:
        return {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{each.limit.name}";q={each.limit.quota};w={each.limit.seconds}' for each in limited
        ),
        "RateLimit": ", ".join(f'"{each.limit.name}";r={each.remaining};t={math.ceil(each.reset)}' for each in limited),
    }


# What batches call ----------------------------------------------------------------------------------------------------


@contextmanager
def month_transaction() -> Iterator[None]:
    """A transaction in which batches count their rows: with all else that is written in it, or not at all."""
    with month_use.undisturbed():
        try:
            with transaction.atomic():
                yield
        except BaseException:
            _counter(settings.REDIS_URL).forget_sums()
            raise


def count_batch(
    user: User, key: ApiKey | None, *, batch: UUID, rows: int, before: int = 0, at: datetime | None = None
) -> None:
    """Has the batch count so many rows in the month of the person and the key, in a `month_transaction`.

    before: how many it counts until now, as the database has it. at: a moment of the month, by default now. Whoever is
    killed before the end of the transaction has counted nothing in the database; what a store may have counted by then,
    it knows by the batch, and what it is told next takes its place. Raises QuotaExceeded, and counts nothing, where the
    quota has no room for more. What a store that fails lets through is counted in the database.
    """
    account = _account(user, key, month_of(at))
    planned = Charge(account, Use(0, rows))
    _counter(settings.REDIS_URL).settle(f"limits:{account.month}:batch:{batch}", planned, limits_of(user), before)
    account.write(Use(0, rows - before))


# What there is, and what is left --------------------------------------------------------------------------------------


def quotas_of(principal: Principal) -> dict[str, dict[str, int]]:
    """For each bucket, what it may have a minute by what counts it: {"faq": {"key": 600, "user": 1200}, …}."""
    return {
        bucket: {limit.who: limit.quota or 0 for limit in _minute_limits(principal, bucket, 0)}
        for bucket in settings.RATE_LIMITS_PER_USER
    }


def left_of(principal: Principal) -> dict[str, dict[str, int]]:
    """The same with what is left of it now; {} while nothing can be counted."""
    limits = [limit for bucket in settings.RATE_LIMITS_PER_USER for limit in _minute_limits(principal, bucket, 0)]
    left: dict[str, dict[str, int]] = {}
    for usage in _counter(settings.REDIS_URL).take(limits):
        left.setdefault(usage.limit.kind, {})[usage.limit.who] = usage.remaining or 0
    return left


@dataclass(frozen=True)
class MonthStanding:
    """What a person, or one of their keys, has used of something in this month. quota: None where there is none."""

    used: int
    quota: int | None

    @property
    def left(self) -> int | None:
        return None if self.quota is None else max(0, self.quota - self.used)


def month_standing(user: User, key: ApiKey | None = None) -> dict[str, dict[str, MonthStanding]]:
    """How "requests" and "rows" of this month stand for the "user" and, if one is given, for the "key"."""
    looking = Charge(_account(user, key), Use())
    limits = _month_limits(looking, limits_of(user))
    usage = _counter(settings.REDIS_URL).take(limits, looking)
    if not usage:  # the store is away; the database knows it nearly as well
        used = looking.account.used()
        usage = tuple(Usage(limit, _part(used[limit.who], limit), 0.0) for limit in limits)
    standing: dict[str, dict[str, MonthStanding]] = {"requests": {}, "rows": {}}
    for each in usage:
        what = each.limit.kind.removeprefix(MONTH)
        standing[what][each.limit.who] = MonthStanding(each.used, each.limit.quota)
    return standing


# Limits of a caller ---------------------------------------------------------------------------------------------------


def _minute_limits(principal: Principal, bucket: str, cost: int, needs: int = 0) -> list[Limit]:
    allowed = limits_of(principal.user)
    person = Limit(bucket, "user", principal.user.pk, allowed.per_user[bucket], cost, needs=needs)
    if principal.key is None:
        return [person]
    return [Limit(bucket, "key", principal.key.pk, allowed.per_key[bucket], cost, needs=needs), person]


def _month_limits(charge: Charge, allowed: Limits | None = None, rows_needed: int = 0) -> list[Limit]:
    """The sums that the charge goes into, with the quotas that are allowed."""
    quotas = {"key": allowed.month_per_key, "user": allowed.month_per_user} if allowed else {"key": {}, "user": {}}
    return [
        Limit(
            MONTH + what,
            who,
            subject.key_id or subject.user_id,
            quotas[who].get(what),
            cost,
            charge.account.month,
            needs,
        )
        for who, subject in charge.account.subjects.items()
        for what, cost, needs in (("requests", charge.use.requests, 0), ("rows", charge.use.rows, rows_needed))
    ]


def _account(user: User, key: ApiKey | None, month: Month | None = None) -> Account:
    return Account(month or month_of(), user.pk, key.pk if key else None)


def _part(use: Use, limit: Limit) -> int:
    """What the limit counts of the use."""
    return use.requests if limit.kind == f"{MONTH}requests" else use.rows


def _charges(request: HttpRequest) -> list[Charge]:
    """What the request has been charged so far, to be added to."""
    if not hasattr(request, "month_charges"):
        request.month_charges = []  # type: ignore[attr-defined]  # ours
    return cast("list[Charge]", request.month_charges)  # type: ignore[attr-defined]  # ours, on their request


def _charged(charges: Sequence[Charge]) -> Use:
    return sum((each.use for each in charges), Use())


def _whole(exceeded: MonthExceeded, request: HttpRequest) -> MonthExceeded:
    """The refusal as if all that the request brings had been asked for at once; what was charged is given back."""
    before = _charged(_charges(request))
    give_back(request)
    spent = _lessened(exceeded.spent, before)
    limit = replace(spent.limit, cost=spent.limit.cost + _part(before, spent.limit))
    return MonthExceeded(replace(spent, limit=limit), request.rate_limit_usage)  # type: ignore[attr-defined]  # ours, on their request


def _note(request: HttpRequest, usage: tuple[Usage, ...]) -> None:
    request.rate_limit_usage = usage  # type: ignore[attr-defined]  # ours; the middleware reads it


def _lessened(usage: Usage, given: Use) -> Usage:
    """How it stands once the use is given back."""
    return replace(usage, used=max(0, usage.used - _part(given, usage.limit))) if usage.limit.month else usage


# Counting -------------------------------------------------------------------------------------------------------------


class Counter:
    """Counts in one store. While the store fails everything has room."""

    def __init__(self, redis_url: str) -> None:
        self._store: Store = RedisStore(redis_url) if redis_url else MemoryStore()
        self._paused_until = 0.0

    def take(self, limits: Sequence[Limit], charge: Charge | None = None) -> tuple[Usage, ...]:
        """Counts against all limits, and notes the charge, whose limits of the month are among them; or counts nothing
        and raises Exceeded or MonthExceeded for the first without room.

        Returns () while the store fails; then the charge alone is noted.
        """
        asks = [limit.ask for limit in limits]

        def then() -> None:
            if charge:
                charge.account.add(charge.use)

        if time.monotonic() < self._paused_until:
            return self._let_through(limits, then)
        try:
            try:
                taken = self._store.take(asks, {}, then)
            except Unseeded:
                taken = self._store.take(asks, _seeds(limits, charge), then)
        except StoreFailed as error:
            self._pause(error)
            return self._let_through(limits, then)
        return _usage(limits, taken)

    def settle(self, thing: str, charge: Charge, allowed: Limits, before: int) -> None:
        """Has the rows of the charge count for the thing in its month, in place of those before; notes nothing.

        Raises MonthExceeded.
        """
        if time.monotonic() < self._paused_until:
            return
        limits = [limit for limit in _month_limits(charge, allowed) if limit.kind == f"{MONTH}rows"]
        asks = [limit.ask for limit in limits]
        try:
            if charge.use.rows > before:  # other processes may have counted a moment ago
                self._store.doubt([ask.key for ask in asks])
            try:
                taken = self._store.settle(thing, asks, {}, before)
            except Unseeded:
                taken = self._store.settle(thing, asks, _seeds(limits, charge), before)
        except StoreFailed as error:
            self._pause(error)
            return
        if taken.refused is not None:
            _usage(limits, taken)

    def forget_sums(self) -> None:
        """Has all sums of months begin anew with what the database knows, where they are counted in this process."""
        self._store.doubt()

    def give_back(self, charge: Charge) -> None:
        """Takes the charge off the sums of its month, and notes that."""
        if time.monotonic() >= self._paused_until:
            costs = {limit.key: limit.cost for limit in _month_limits(charge) if limit.cost}
            try:
                self._store.give_back(costs)
            except StoreFailed as error:
                self._pause(error)
        charge.account.add(-charge.use)

    @staticmethod
    def _let_through(limits: Sequence[Limit], then: Callable[[], None]) -> tuple[Usage, ...]:
        if any(limit.cost for limit in limits):  # not who only looks
            metrics.limits_failed_open.inc()
        then()
        return ()

    def _pause(self, error: StoreFailed) -> None:
        log.warning("rate_limits_unavailable", error=str(error), pause_s=PAUSE)
        self._paused_until = time.monotonic() + PAUSE


def _usage(limits: Sequence[Limit], taken: Taken) -> tuple[Usage, ...]:
    """How the limits stand. Raises Exceeded or MonthExceeded for the one that had no room."""
    usage = tuple(
        Usage(limit, standing.used, limit.month.seconds_left if limit.month else max(1.0, standing.wait))
        for limit, standing in zip(limits, taken.standings, strict=True)
    )
    if taken.refused is not None:
        spent = usage[taken.refused]
        raise MonthExceeded(spent, usage) if spent.limit.month else Exceeded(spent, usage)
    return usage


def _seeds(limits: Sequence[Limit], charge: Charge | None) -> dict[str, int]:
    """What the figures that last know of the limits of the month."""
    if charge is None:
        return {}
    used = charge.account.used()
    return {limit.key: _part(used[limit.who], limit) for limit in limits if limit.month}


@cache
def _counter(redis_url: str) -> Counter:
    return Counter(redis_url)
