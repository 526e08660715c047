"""Limits counted in Redis: by many processes at once, over an empty, a silent and a dead one."""

import json
import signal
import subprocess
import sys
import time
from uuid import UUID, uuid4

import pytest

from tests.factories import bearer, make_key, make_plan, make_user
from tests.product import ROOT
from webapp.accounts import plans
from webapp.errors import QuotaExceeded
from webapp.keys import limits, month_use
from webapp.keys.counters import Ask, RedisStore, StoreFailed, Unseeded
from webapp.keys.models import MonthUse

PROCESSES, THREADS = 4, 16
# Takes what it can, from many threads; prints how often it was let in. Begins when its input ends.
TAKER = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from webapp.keys import counters
from webapp.keys.counters import Ask, RedisStore
counters.TIMEOUT = 30  # the machine may be busy; this is not about that
url, threads, times, asks = json.loads(sys.argv[1])
store = RedisStore(url)
asks = [[Ask(*ask) for ask in each] for each in asks]
store.take([Ask("warm up", 10**9, 1)], {}, lambda: None)
print("ready", flush=True)
sys.stdin.read()
def work(number):
    mine = asks[number % len(asks)]
    return sum(store.take(mine, {"month": 0}, lambda: None).refused is None for _ in range(times))
with ThreadPoolExecutor(threads) as pool:
    print(sum(pool.map(work, range(threads))))
"""
FAR = 4_000_000_000  # seconds since 1970


def nothing() -> None:
    pass


def let_in(url: str, *asks: list[Ask], times: int) -> int:
    """How often processes with many threads each, started together, were let in."""
    said = json.dumps([url, THREADS, times, [[[a.key, a.quota, a.cost, a.forget_at] for a in each] for each in asks]])
    command = [sys.executable, "-c", TAKER, said]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for each in processes:
        assert each.stdout.readline() == "ready\n"
    return sum(int(each.communicate(timeout=60)[0]) for each in processes)


@pytest.fixture
def store(redis_server) -> RedisStore:
    return RedisStore(redis_server.url)


@pytest.fixture
def looked(store):
    """What is used of these."""
    return lambda *asks: [each.used for each in store.take([*asks], {}, nothing).standings]


def test_processes_with_many_threads_get_exactly_the_quota(redis_server, looked):
    asks = [Ask("key", 1200, 1), Ask("user", 1000, 1), Ask("month", 1100, 1, FAR)]
    assert let_in(redis_server.url, asks, times=25) == 1000  # of 1,600
    assert looked(Ask("key", 1, 0), Ask("user", 1, 0), Ask("month", 1, 0, FAR)) == [1000] * 3


def test_what_the_user_is_refused_is_charged_to_none_of_the_keys(redis_server, looked):
    asks = [[Ask(f"key {number}", 1000, 1), Ask("user", 500, 1)] for number in range(THREADS)]
    assert let_in(redis_server.url, *asks, times=20) == 500
    assert sum(looked(*[Ask(f"key {number}", 1, 0) for number in range(THREADS)])) == 500


def test_no_row_too_many_and_none_too_few_whatever_a_request_costs(redis_server, looked):
    asks = [[Ask("rows", 1000, cost)] for cost in (8, 5, 3, 1)]  # ones fill what the others leave
    let_in(redis_server.url, *asks, times=70)
    assert looked(Ask("rows", 1, 0)) == [1000]


def test_it_counts_as_one_process_does(store, looked):
    """The minute in Redis, with a wait for what was asked; the sums with their seeds."""
    for _ in range(3):
        assert store.take([Ask("a", 5, 1)], {}, nothing).refused is None
        time.sleep(0.2)
    one, four = (store.take([Ask("a", 5, cost)], {}, nothing) for cost in (2, 4))
    assert (one.refused, four.refused) == (None, 0)
    assert 59 <= one.standings[0].wait <= 60
    refused = store.take([Ask("a", 5, 2), Ask("b", 5, 1)], {}, nothing)
    assert refused.refused == 0
    assert refused.standings[0].wait == pytest.approx(59.6, abs=0.3)  # of the second that came
    assert looked(Ask("b", 1, 0)) == [0]
    assert store.take([Ask("a", 5, 6)], {}, nothing).standings[0].wait == 60
    month = Ask("month", 10, 1, FAR)
    with pytest.raises(Unseeded):
        store.take([month], {}, nothing)
    assert store.take([month], {"month": 8}, nothing).standings[0].used == 9
    assert store.take([month], {"month": 0}, nothing).standings[0].used == 10
    assert store.take([month], {}, nothing).refused == 0
    assert store.take([Ask("month", 11, 0, FAR, needs=1), Ask("b", 1, 0, needs=2)], {}, nothing).refused == 1
    assert store.take([Ask("month", 10, 0, FAR, needs=1)], {}, nothing).refused == 0
    assert store.take([Ask("month", None, 5, FAR)], {}, nothing).standings[0].used == 15
    store.give_back({"month": 3, "another": 1})
    assert looked(month, Ask("x", 1, 0))[0] == 12
    store.give_back({"month": 300})
    assert looked(Ask("month", 1, 0, FAR)) == [0]


def test_memory_is_bounded_however_high_the_quota(store):
    redis = store._storage.get_connection()
    for _ in range(2000):
        store.take([Ask("a", 1_000_000_000, 100)], {}, nothing)
    assert redis.llen("a") < 200
    assert 0 < redis.pttl("a") <= 60_000
    store.take([Ask("month", 1, 1, int(time.time()) + 100)], {"month": 0}, nothing)
    assert 0 < redis.ttl("month") <= 100


@pytest.mark.parametrize("gone", ["stopped", "silent"])
def test_one_that_does_not_answer_says_so_soon(redis_server, store, gone):
    store.take([Ask("a", 10, 1)], {}, nothing)
    if gone == "stopped":
        redis_server.stop()
    else:
        redis_server.process.send_signal(signal.SIGSTOP)
    try:
        for ask in (lambda: store.take([Ask("a", 10, 1)], {}, nothing), lambda: store.give_back({"a": 1})):
            began = time.monotonic()
            with pytest.raises(StoreFailed):
                ask()
            assert time.monotonic() - began < 2
    finally:
        if redis_server.process:
            redis_server.process.send_signal(signal.SIGCONT)


def test_one_that_was_started_again_is_counted_in_at_once(redis_server, store, looked):
    store.take([Ask("a", 10, 1)], {}, nothing)
    redis_server.stop()
    redis_server.start()
    assert store.take([Ask("a", 10, 1)], {}, nothing).standings[0].used == 1


# Through the site -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted_in_redis(redis_server, settings, db):
    settings.REDIS_URL = redis_server.url
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    for forget in (limits._counter.cache_clear, month_use.forget, plans.forget):
        forget()
    yield redis_server
    limits._counter.cache_clear()
    month_use.forget()


def count(owner, rows: int, batch: UUID | None = None, *, cut_short: bool = False, **options) -> None:
    """Has a batch, or a new one, count so many rows. cut_short: by the end of its process, once Redis has counted."""
    with limits.month_transaction():
        limits.count_batch(owner, None, batch=batch or uuid4(), rows=rows, **options)
        if cut_short:
            raise SystemExit


def test_a_batch_that_is_cut_short_after_redis_has_counted_counts_once(counted_in_redis):
    owner, batch = make_user(), uuid4()
    make_plan(owner, month_rows_per_user=100)

    def used() -> tuple[int, int]:
        rows = MonthUse.objects.values_list("rows", flat=True)
        return limits.month_standing(owner)["rows"]["user"].used, sum(rows)

    with pytest.raises(SystemExit):
        count(owner, 60, batch, cut_short=True)
    assert used() == (60, 0)
    count(owner, 60, batch)
    assert used() == (60, 60)
    with pytest.raises(QuotaExceeded):
        count(owner, 41)
    with pytest.raises(SystemExit):
        count(owner, 20, batch, before=60, cut_short=True)
    count(owner, 25, batch, before=60)
    assert used() == (25, 25)


def test_what_a_batch_gave_up_before_it_was_written_is_free_again(counted_in_redis):
    owner, batch = make_user(), uuid4()
    with pytest.raises(SystemExit):
        count(owner, 60, batch, cut_short=True)
    count(owner, 0, batch)  # it is cancelled
    assert limits.month_standing(owner)["rows"]["user"].used == 0


def test_what_a_batch_counts_is_known_when_redis_is_empty(counted_in_redis):
    owner, batch = make_user(), uuid4()
    count(owner, 60, batch)
    counted_in_redis.stop()
    counted_in_redis.start()
    count(owner, 20, batch, before=60)
    assert limits.month_standing(owner)["rows"]["user"].used == 20


def test_a_month_outlives_an_empty_redis(counted_in_redis):
    owner = make_user()
    make_plan(owner, month_rows_per_user=100)
    count(owner, 60)
    month_use.write()
    counted_in_redis.stop()
    counted_in_redis.start()
    with pytest.raises(QuotaExceeded):
        count(owner, 41)
    count(owner, 40)
    month_use.write()
    assert MonthUse.objects.get().rows == 100


def test_a_redis_that_dies_lets_everything_through_and_is_asked_again(counted_in_redis, client, monkeypatch, caplog):
    owner = make_user()
    make_plan(owner, other_per_user=1, month_rows_per_user=10)
    headers = bearer(make_key(owner))
    assert [client.get("/api/v1/me", headers=headers).status_code for _ in range(2)] == [200, 429]
    counted_in_redis.stop()
    assert [client.get("/api/v1/me", headers=headers).status_code for _ in range(5)] == [200] * 5
    count(owner, 50)  # more than there is
    assert sum("rate_limits_unavailable" in record.getMessage() for record in caplog.records) == 1
    counted_in_redis.start()
    monkeypatch.setattr(limits._counter(counted_in_redis.url), "_paused_until", 0.0)
    assert [client.get("/api/v1/me", headers=headers).status_code for _ in range(2)] == [200, 429]
    assert limits.month_standing(owner)["rows"]["user"].used == 50  # what it missed is in the database


def test_processes_of_the_site_share_what_a_month_has_left(counted_in_redis):
    """Each begins with the figures of the database, and none comes on top of another's."""
    owner = make_user()
    make_plan(owner, month_rows_per_user=100)
    count(owner, 90)
    limits._counter.cache_clear()  # as another process, which knows nothing
    with pytest.raises(QuotaExceeded):
        count(owner, 11)
    assert limits.month_standing(owner)["rows"]["user"].left == 10
