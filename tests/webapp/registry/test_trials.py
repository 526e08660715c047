"""A canary beside its champion: what is concluded from their figures, and when it ends by itself."""

import random
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import make_model, make_version
from webapp.registry import aborts, services, trials
from webapp.registry.models import Event, ScoringModel, Version
from webapp.registry.trials import Verdict
from webapp.usage import traffic
from webapp.usage.latencies import bucket_of, quantile
from webapp.usage.models import Traffic


@pytest.fixture
def model(db) -> ScoringModel:
    """A model whose version 1 is champion and whose version 2 is canary since ten seconds."""
    model = make_model(error_factor=2, latency_factor=2, least_requests=100)
    make_version(model, "1", "champion")
    make_version(model, "2", "canary", percent=20)
    since(model, timedelta(seconds=10))
    return model


def since(model: ScoringModel, ago: timedelta) -> None:
    """The roles of its versions began that long ago."""
    model.versions.update(role_since=timezone.now() - ago)


def ask(version: str, requests: int, *, errors: int = 0, ms: float = 10, **more: object) -> None:
    """So many requests were answered by the version."""
    for number in range(requests):
        traffic.note(model="faq-javascript", version=version, ms=ms, failed=number < errors, **more)
    traffic.write()


def report(model: ScoringModel) -> trials.CanaryReport:
    return trials.canary_report(model)


def test_a_model_without_a_canary_has_no_report(db):
    model = make_model()
    make_version(model, "1", "champion")
    assert trials.canary_report(model) is None


def test_nothing_is_concluded_from_few_requests(model):
    ask("1", 1000)
    ask("2", 99, ms=500)
    found = report(model)
    assert found.verdict == Verdict.TOO_FEW
    assert found.sentence == (
        "Too few requests to judge: the canary has answered 99, the champion 1,000. Each needs 100."
    )


def test_a_canary_as_good_as_its_champion_is_fine_and_goes_on(model):
    ask("1", 400, errors=2, confidence=0.9)
    ask("2", 100, errors=1, confidence=0.7)
    aborts.judge_all()
    found = report(model)
    assert found.verdict == Verdict.FINE
    assert (found.champion_totals.requests, found.canary_totals.requests) == (400, 100)
    assert found.canary_totals.mean_confidence == pytest.approx(0.7)
    assert not Event.objects.exists()


def test_a_canary_that_fails_too_often_ends_by_itself_with_the_reason_and_the_figures(model):
    ask("1", 400, errors=2)
    ask("2", 120, errors=24)
    aborts.judge_all()
    canary = model.versions.get(name="2")
    assert (canary.state, canary.role, canary.percent) == (Version.State.READY, "", 0)
    event = Event.objects.get()
    assert (event.kind, event.actor, event.version) == (Event.Kind.CANARY_ABORTED, "", canary)
    assert event.reason == (
        "20 % of the canary's 120 requests failed, 0.5 % of the champion's 400: over 2 times as many."
    )
    assert event.details["canary"]["errors"] == 24
    assert event.details["champion"]["requests"] == 400
    assert event.serving["canary"] is None


def test_whoever_ends_a_canary_its_figures_are_in_the_history(model):
    ask("1", 400, errors=2)
    ask("2", 120, errors=1)
    services.end_canary(model, by=None, reason="Seen enough.")
    ended = Event.objects.get()
    assert (ended.kind, ended.details["percent"]) == (Event.Kind.CANARY_ENDED, 20)
    assert (ended.details["champion"]["requests"], ended.details["canary"]["requests"]) == (400, 120)


def test_a_canary_that_fails_every_request_need_not_wait_for_a_hundred(model):
    ask("1", 45)
    ask("2", 5, errors=5)
    assert report(model).cause == "errors"


def test_four_errors_prove_nothing(model):
    ask("1", 1000)
    ask("2", 4, errors=4)
    assert report(model).verdict == Verdict.TOO_FEW


def test_errors_that_champion_and_canary_share_are_not_the_canarys_fault(model):
    ask("1", 400, errors=200)
    ask("2", 100, errors=60)
    assert report(model).verdict == Verdict.FINE


def test_a_canary_with_all_the_callers_ends_when_most_of_their_requests_fail(model):
    ask("2", 50, errors=45)
    aborts.judge_all()
    assert Event.objects.get().reason == "90 % of the canary's 50 requests failed; the champion had none."


def test_a_canary_with_all_the_callers_goes_on_while_most_of_their_requests_succeed(model):
    ask("2", 50, errors=20)
    assert report(model).verdict == Verdict.TOO_FEW


def test_a_canary_that_is_slower_by_more_than_the_factor_ends_by_itself(model):
    ask("1", 400, ms=20)
    ask("2", 80, ms=20)
    ask("2", 20, ms=60)
    aborts.judge_all()
    event = Event.objects.get()
    assert event.kind == Event.Kind.CANARY_ABORTED
    assert "95th percentile of latency" in event.reason
    assert not model.versions.filter(role="canary").exists()


def test_some_slow_answers_more_may_be_chance_and_end_nothing(model):
    ask("1", 392, ms=5)
    ask("1", 8, ms=12)
    ask("2", 94, ms=5)
    ask("2", 6, ms=12)
    found = report(model)
    assert found.canary_totals.p95_ms > 2 * found.champion_totals.p95_ms
    assert found.verdict == Verdict.FINE


def test_a_difference_that_nobody_notices_ends_nothing(model):
    ask("1", 400, ms=0.2)
    ask("2", 400, ms=0.9)
    assert report(model).verdict == Verdict.FINE


def test_two_versions_that_are_alike_are_hardly_ever_told_apart_by_their_latency_however_often_they_are_looked_at():
    """Both take 5 ms, and every twentieth of their answers 20 ms; the canary is looked at after every ten requests."""
    chance = random.Random(4)
    ended = 0
    model = ScoringModel(latency_factor=2, least_requests=100)
    for _ in range(200):
        champion, canary = Counter(), Counter()
        for _ in range(100):
            champion.update(durations(90, chance))
            canary.update(durations(10, chance))
            if trials._slower(latencies(champion), latencies(canary), model):
                ended += 1
                break
    assert ended <= 2


def durations(requests: int, chance: random.Random) -> list[int]:
    return [bucket_of(20 if chance.random() < 0.05 else 5) for _ in range(requests)]


def latencies(counts: Counter[int]) -> traffic.Totals:
    return traffic.Totals(counts.total(), 0, quantile(counts, 0.5), quantile(counts, 0.95), None, 0, 0, counts)


def test_a_canary_that_is_slower_within_the_factor_goes_on(model):
    ask("1", 400, ms=20)
    ask("2", 100, ms=35)
    assert report(model).verdict == Verdict.FINE


def test_the_models_own_factors_count(model):
    ask("1", 400, ms=20)
    ask("2", 100, ms=35)
    model.latency_factor = 1.5
    assert report(model).cause == "latency"


def test_requests_that_named_their_version_are_not_counted(model):
    ask("1", 400)
    ask("2", 100)
    ask("2", 100, errors=100, ms=900, pinned=True)
    assert report(model).verdict == Verdict.FINE


def test_what_was_before_the_canary_is_not_counted(model):
    ask("1", 400)
    ask("2", 100, errors=100)
    Traffic.objects.update(at=timezone.now() - timedelta(minutes=5))
    assert report(model).canary_totals.requests == 0


def test_the_figures_of_a_long_canary_are_those_of_its_last_day(model):
    since(model, timedelta(days=9))
    ask("2", 100)
    Traffic.objects.update(at=timezone.now() - timedelta(days=2))
    ask("2", 30)
    assert report(model).canary_totals.requests == 30
    assert timezone.now() - report(model).since < timedelta(days=1, minutes=1)


def test_a_canary_that_goes_bad_after_a_good_day_is_found_out_within_minutes(model):
    since(model, timedelta(days=1))
    ask("1", 2000)
    ask("2", 2000)
    Traffic.objects.update(at=timezone.now() - timedelta(hours=12))
    ask("1", 200)
    ask("2", 30, errors=12)
    assert report(model).cause == "errors"


def test_the_figures_of_a_long_canary_are_read_once_for_all_who_look(model):
    since(model, timedelta(days=1))
    ask("1", 200)
    ask("2", 100)
    with CaptureQueriesContext(connection) as first:
        report(model)
    with CaptureQueriesContext(connection) as second:
        found = report(model)
    assert found.canary_totals.requests == 100
    assert len(second) < len(first) / 2


def test_a_long_canary_that_goes_bad_is_found_out_though_its_figures_are_kept_for_a_while(model):
    since(model, timedelta(hours=1))
    ask("1", 200)
    ask("2", 100)
    assert report(model).verdict == Verdict.FINE
    ask("2", 30, errors=30)
    time.sleep(1.1)
    assert report(model).cause == "errors"


def test_another_models_canary_is_judged_even_when_one_cannot_be(model, monkeypatch):
    other = make_model("faq-other", least_requests=10)
    make_version(other, "1", "champion")
    make_version(other, "2", "canary")
    for version, errors in (("1", 0), ("2", 30)):
        for name in ("faq-javascript", "faq-other"):
            for number in range(30):
                traffic.note(model=name, version=version, ms=10, failed=number < errors)
    traffic.write()
    Traffic.objects.filter(model="faq-javascript").update(latency={"not a bucket": 1})
    aborts.judge_all()
    assert list(Version.objects.filter(role="canary").values_list("model__name", flat=True)) == ["faq-javascript"]


def test_a_canary_no_worse_than_its_champion_is_hardly_ever_ended_however_often_it_is_looked_at():
    """Both fail in 2 of 100 cases and are looked at after every ten requests of the canary, up to 2,000."""
    chance = random.Random(1)
    ended = 0
    for _ in range(300):
        champion, canary = totals(0, 0), totals(0, 0)
        for _ in range(200):
            champion = one_more(champion, 90, chance)
            canary = one_more(canary, 10, chance)
            if trials.more_errors(champion, canary, 1.0):
                ended += 1
                break
    assert ended <= 3


def test_a_canary_twice_as_bad_as_allowed_is_ended_in_the_end():
    chance = random.Random(2)
    champion, canary = totals(0, 0), totals(0, 0)
    for _ in range(200):
        champion = one_more(champion, 90, chance)
        canary = one_more(canary, 10, chance, rate=0.08)
        if trials.more_errors(champion, canary, 2.0):
            return
    raise AssertionError("never ended")


def totals(requests: int, errors: int) -> traffic.Totals:
    return traffic.Totals(requests, errors, None, None, None, 0, 0)


def one_more(before: traffic.Totals, requests: int, chance: random.Random, rate: float = 0.02) -> traffic.Totals:
    errors = sum(chance.random() < rate for _ in range(requests))
    return totals(before.requests + requests, before.errors + errors)


@pytest.mark.parametrize(
    ("count", "total", "lower", "upper"), [(0, 10, 0.0, 0.5506), (10, 10, 0.4494, 1.0), (50, 100, 0.3348, 0.6652)]
)
def test_the_interval_is_wilsons_at_three_and_a_half_standard_errors(count, total, lower, upper):
    assert trials.Share(count, total).limits == (pytest.approx(lower, abs=1e-4), pytest.approx(upper, abs=1e-4))
