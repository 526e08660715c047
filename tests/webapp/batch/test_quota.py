"""Rows of batches and the month's quota: taken when their number is known, given back when they get no answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.factories import make_key, make_service
from tests.webapp.batch.conftest import after
from webapp import queues
from webapp.batch import services, tasks, validation
from webapp.batch.models import Job
from webapp.keys import limits, month_use
from webapp.keys.limits import month_standing
from webapp.keys.principal import principal_of_key


@pytest.fixture
def used(owner):
    """Call it for the rows that count in the owner's month."""
    return lambda: month_standing(owner)["rows"]["user"].used


def test_rows_count_once_their_number_is_known(answering, create, work, used):
    job = create(250)
    assert used() == 0
    validation.run(job.pk)
    assert used() == 250
    work()
    assert (after(job).state, used()) == ("completed", 250)


def test_what_has_no_room_in_the_month_fails_and_counts_nothing(answering, create, work, used, settings):
    settings.MONTH_QUOTAS_PER_USER = {"requests": 0, "rows": 100}
    job = create(101)
    work()
    job = after(job)
    assert (job.state, job.reserved, used()) == ("failed", 0, 0)
    assert "rows" in job.reason
    fitting = create(100)
    work()
    assert (after(fitting).state, used()) == ("completed", 100)


def test_rows_without_an_answer_are_given_back(answering, create, work, used):
    answering.refused["???"] = "it has no word in it"
    create(["one", "???", " "])
    work()
    assert used() == 1


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_what_is_not_scored_is_given_back(answering, create, work, used, how):
    job = create(250)
    validation.run(job.pk)
    if how == "cancelled":
        services.cancel(after(job))
    else:
        Job.objects.update(expires_at=after(job).created_at)
        tasks.watch()
    assert (after(job).state, used()) == (how, 0)


def test_what_is_tried_again_of_a_service_account_counts_in_the_account_s_months_alone(answering, create, work, owner):
    answering.refused["???"] = "it has no word in it"
    account, own = make_service(owner), make_key(owner, "batch")
    job = create(["one", "???"], owner=account)
    work()
    answering.refused.clear()
    again = services.retry_failed(after(job), principal_of_key(own.key))
    work()
    assert (after(again).state, after(again).owner) == ("completed", account)
    assert month_standing(account)["rows"]["user"].used == 2
    assert month_standing(owner, own.key)["rows"]["key"].used == 0


KILLS = {
    "before its rows are counted": (limits, "count_batch", False),
    "after they are counted": (limits, "count_batch", True),
    "once all is written": (queues, "send", False),
}


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("remembers", [True, False], ids=["store survives", "store goes along"])
@pytest.mark.parametrize("when", KILLS)
def test_a_validation_that_is_killed_counts_each_row_once(create, work, used, when, remembers):
    job = create(250)
    with killed(*KILLS[when]):
        validation.run(job.pk)
    if not remembers:
        lose_the_counters()
    Job.objects.update(heartbeat_at=None)
    for _ in range(2):
        tasks.watch()
        work()
    assert (after(job).state, used()) == ("completed", 250)
    lose_the_counters()
    assert used() == 250


@pytest.mark.usefixtures("answering")
def test_a_job_that_is_killed_as_it_ends_gives_its_rows_back_once(create, used):
    job = create(250)
    validation.run(job.pk)
    for afterwards, end in ((False, lambda: services.cancel(after(job))), (True, tasks.watch)):
        with killed(limits, "count_batch", afterwards):
            end()
        assert (after(job).state, used()) == ("cancelling", 250)
    tasks.watch()
    assert (after(job).state, used()) == ("cancelled", 0)
    lose_the_counters()
    assert used() == 0


@contextmanager
def killed(where: object, name: str, afterwards: bool) -> Iterator[None]:
    """Ends whoever calls it, before or after it has been done."""
    real = getattr(where, name)

    def end(*arguments: object, **options: object) -> None:
        if afterwards:
            real(*arguments, **options)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(where, name, end)
        with pytest.raises(SystemExit):
            yield


def lose_the_counters() -> None:
    """What is lost with a process that counts alone."""
    month_use.write()
    limits._counter.cache_clear()
    month_use.forget()
