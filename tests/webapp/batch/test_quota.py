"""Rows of batches and the month's quota: taken when their number is known, given back when they get no answer."""

import pytest

from tests.webapp.batch.conftest import after
from webapp.batch import services, tasks, validation
from webapp.batch.models import Job
from webapp.keys.limits import month_standing


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


def test_a_validation_that_is_begun_again_counts_no_row_twice(answering, create, work, used, monkeypatch):
    job = create(250)
    with monkeypatch.context() as patched:
        patched.setattr(validation._Validation, "_demand", _cut_short(validation._Validation._demand))
        with pytest.raises(SystemExit):
            validation.run(job.pk)
    assert used() == 250
    Job.objects.update(heartbeat_at=None)
    tasks.watch()
    work()
    assert (after(job).state, used()) == ("completed", 250)


def _cut_short(real):
    def demand(self, **changes: object) -> None:
        if "state" in changes:
            raise SystemExit
        real(self, **changes)

    return demand
