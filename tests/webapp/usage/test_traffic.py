"""What is known of each version's traffic, and what it costs to know it."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.db.models import Sum
from django.utils import timezone

from webapp import counting
from webapp.usage import traffic
from webapp.usage.models import Feedback, Traffic

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def note(version="7", ms=10.0, **fields):
    traffic.note(**{"model": "faq-javascript", "version": version, "ms": ms, **fields})


def totals(version="7", since=LONG_AGO, **options):
    traffic.write()
    return traffic.totals("faq-javascript", version, since=since, **options)


def make_traffic(at, *, version="7", requests=1, seconds=1, **fields):
    return Traffic.objects.create(
        at=at, model="faq-javascript", version=version, requests=requests, seconds=seconds, **fields
    )


@pytest.mark.django_db
class TestTotals:
    def test_each_version_has_its_own(self):
        note("7")
        note("7", failed=True)
        note("8")
        assert (totals("7").requests, totals("7").errors, totals("7").error_rate) == (2, 1, 0.5)
        assert (totals("8").requests, totals("8").errors, totals("8").error_rate) == (1, 0, 0.0)
        assert totals(None).requests == 3

    def test_a_version_nobody_asked_has_no_latency_and_no_confidence(self):
        found = totals("9")
        assert (found.requests, found.p50_ms, found.p95_ms, found.mean_confidence) == (0, None, None, None)
        assert found.error_rate == 0.0

    def test_latencies_are_right_within_five_percent(self):
        for ms in range(1, 1001):
            note(ms=float(ms))
        found = totals()
        assert found.p50_ms == pytest.approx(500, rel=0.05)
        assert found.p95_ms == pytest.approx(950, rel=0.05)

    @pytest.mark.parametrize("ms", [0.0, 1e-9, 0.02, 3.0, 86_400_000.0])
    def test_any_duration_can_be_counted(self, ms):
        note(ms=ms)
        assert totals().requests == 1

    def test_confidence_is_the_mean_of_the_answers_that_have_one(self):
        note(confidence=0.9)
        note(confidence=0.5)
        note(failed=True)
        note(confidence=float("nan"))
        assert totals().mean_confidence == pytest.approx(0.7)

    def test_callers_who_named_the_version_count_only_on_request(self):
        note()
        note(pinned=True)
        assert totals().requests == 1
        assert totals(include_pinned=True).requests == 2

    def test_what_was_before_or_after_does_not_count(self):
        now = timezone.now().replace(microsecond=0)
        for ago in (10, 5, 1):
            make_traffic(now - timedelta(seconds=ago))
        assert totals(since=now - timedelta(seconds=6)).requests == 2
        assert totals(since=now - timedelta(seconds=6), until=now - timedelta(seconds=3)).requests == 1

    def test_a_minute_that_began_before_counts_too(self):
        make_traffic(LONG_AGO, seconds=60, requests=5)
        assert totals(since=LONG_AGO + timedelta(seconds=59)).requests == 5
        assert totals(since=LONG_AGO + timedelta(seconds=60)).requests == 0

    def test_what_people_said_counts_for_the_version_that_answered(self, owner, stranger):
        said = {"kind": "faq", "model": "faq-javascript", "version": "7"}
        Feedback.objects.create(user=owner, request_id="r1", item="js-1", right=True, **said)
        Feedback.objects.create(user=owner, request_id="r1", item="js-2", right=False, **said)
        Feedback.objects.create(user=stranger, request_id="r2", item="js-1", right=False, **said)
        Feedback.objects.create(user=stranger, request_id="r3", item="js-1", right=True, **{**said, "version": "8"})
        assert (totals("7").right, totals("7").wrong) == (1, 2)
        assert (totals("8").right, totals("8").wrong) == (1, 0)
        assert totals("7", since=timezone.now()).wrong == 0


@pytest.mark.django_db
class TestSeries:
    def test_there_is_a_point_for_each_step_also_without_traffic(self):
        make_traffic(LONG_AGO + timedelta(seconds=5), requests=4, errors=1, latency={"50": 4})
        points = traffic.series(
            "faq-javascript", since=LONG_AGO, until=LONG_AGO + timedelta(seconds=25), step_seconds=10
        )
        assert [point.at for point in points] == [LONG_AGO + timedelta(seconds=each) for each in (0, 10, 20)]
        assert [point.requests for point in points] == [4, 0, 0]
        assert points[0].error_rate == 0.25
        assert points[0].p50_ms == pytest.approx(1.05**50.5, rel=0.05)
        assert (points[1].p95_ms, points[1].error_rate) == (None, 0.0)

    def test_steps_begin_at_round_moments(self):
        point = traffic.series(since=LONG_AGO + timedelta(seconds=42), step_seconds=60)[0]
        assert point.at == LONG_AGO

    def test_it_is_of_one_version_or_model_or_of_all(self):
        make_traffic(LONG_AGO, version="7")
        make_traffic(LONG_AGO, version="8")
        Traffic.objects.create(at=LONG_AGO, model="digits", version="1", requests=1)

        def requests(*which):
            until = LONG_AGO + timedelta(seconds=1)
            return traffic.series(*which, since=LONG_AGO, until=until, step_seconds=60)[0].requests

        assert [requests("faq-javascript", "8"), requests("faq-javascript"), requests()] == [1, 2, 3]


@pytest.mark.django_db
class TestKeepingItSmall:
    def test_old_seconds_become_minutes_and_the_sums_stay(self):
        now = timezone.now()
        for ago in range(700, 1300):
            make_traffic(
                now - timedelta(seconds=ago),
                requests=3,
                errors=1,
                latency={"40": 2, str(ago % 7): 1},
                confidence_sum=1.5,
                confidence_count=2,
            )
        make_traffic(now)
        before = totals()
        traffic.prune_and_merge()
        assert totals() == before
        assert Traffic.objects.filter(seconds=1).count() == 1
        assert Traffic.objects.count() <= 12

    def test_more_rows_than_are_merged_at_once_are_merged_all(self, monkeypatch):
        monkeypatch.setattr(traffic, "MERGED_AT_ONCE", 7)
        for second in range(30):
            make_traffic(LONG_AGO + timedelta(days=300, seconds=second), version=str(second % 2))
        Traffic.objects.update(at=timezone.now() - timedelta(hours=1))
        traffic.prune_and_merge()
        assert totals("0").requests == totals("1").requests == 15
        assert not Traffic.objects.filter(seconds=1).exists()

    def test_versions_and_pinned_requests_stay_apart(self):
        hour_ago = timezone.now() - timedelta(hours=1)
        for version, pinned in (("7", False), ("7", True), ("8", False)):
            make_traffic(hour_ago, version=version, pinned=pinned)
        traffic.prune_and_merge()
        assert totals("7").requests == totals("8").requests == 1
        assert totals("7", include_pinned=True).requests == 2

    def test_after_thirty_days_it_is_gone(self):
        make_traffic(timezone.now() - timedelta(days=31), seconds=60)
        make_traffic(timezone.now() - timedelta(days=29), seconds=60)
        traffic.prune_and_merge()
        assert totals().requests == 1

    def test_twice_is_as_good_as_once(self):
        make_traffic(timezone.now() - timedelta(hours=1), requests=5)
        traffic.prune_and_merge()
        traffic.prune_and_merge()
        assert totals().requests == 5


@pytest.mark.django_db
class TestADatabaseThatIsAway:
    @pytest.fixture
    def away(self, monkeypatch):
        def fails(*_args, **_options):
            raise OperationalError("database is locked")

        monkeypatch.setattr(Traffic.objects, "bulk_create", fails)
        return monkeypatch

    def test_what_was_counted_waits_for_it(self, away):
        note()
        for _ in range(3):
            with pytest.raises(OperationalError):
                traffic.write()
            note(failed=True)
        away.undo()
        assert (totals().requests, totals().errors) == (4, 3)

    def test_memory_stays_bounded(self, away, caplog):
        away.setattr(counting, "MOST_WAITING", 5)
        for number in range(20):
            note(f"v{number}")
        with pytest.raises(OperationalError):
            traffic.write()
        away.undo()
        traffic.write()
        assert set(Traffic.objects.values_list("version", flat=True)) == {f"v{number}" for number in range(15, 20)}
        assert caplog.text.count("counts_lost") == 15

    def test_a_row_that_it_refuses_does_not_hold_up_the_others(self, monkeypatch):
        def refuses(*_args, **_options):
            raise IntegrityError("no such version")

        monkeypatch.setattr(Traffic.objects, "bulk_create", refuses)
        note("a")
        with pytest.raises(IntegrityError):
            traffic.write()
        monkeypatch.undo()
        note("b")
        traffic.write()
        assert Traffic.objects.get().version == "b"


SERVING_PROCESS = """
import os, sys, time
import django
django.setup()
from webapp.usage import traffic
traffic.write_in_background()
traffic.note(model="digits", version="parent", ms=1.0)
child = os.fork()
traffic.note(model="digits", version="child" if child == 0 else "parent", ms=1.0)
if child:
    os.waitpid(child, 0)
    time.sleep(float(sys.argv[1]))
    if len(sys.argv) > 2:
        os._exit(0)  # as when it is killed
"""


@pytest.mark.django_db(transaction=True)
class TestAProcessOfTheSite:
    @staticmethod
    def serve(*arguments):
        # That of the tests, whose name is another than that of settings.py.
        server = "sqlite://" if connection.vendor == "sqlite" else os.environ["DATABASE_URL"].rpartition("/")[0]
        settings = {"DATABASE_URL": f"{server}/{connection.settings_dict['NAME']}", "PYTHONPATH": "."}
        command = [sys.executable, "-c", SERVING_PROCESS, *arguments]
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings", **settings}
        subprocess.run(command, env=environment, check=True)
        return dict(Traffic.objects.values("version").annotate(sum=Sum("requests")).values_list("version", "sum"))

    def test_it_writes_the_rest_when_it_ends_and_each_fork_its_own(self):
        assert self.serve("0") == {"parent": 2, "child": 1}

    def test_it_loses_at_most_a_second_when_it_is_killed(self):
        assert self.serve("1.5", "killed") == {"parent": 2, "child": 1}
