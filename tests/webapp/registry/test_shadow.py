"""A share of the requests is scored again by the shadow, out of the caller's way, and the answers are compared."""

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import httpx2 as httpx
import pytest
from django.utils import timezone

from tests.factories import bearer, make_collection, make_model, make_version
from tests.webapp.pods import refusal
from webapp.registry import queries, services, shadow
from webapp.registry.models import ScoringModel, ShadowComparison
from webapp.scoring.answers import FaqAnswer, FaqScore, ImageAnswer, Prediction

ANSWER = FaqAnswer([FaqScore("js-1", "js-1-a", 0.9)], "faq-javascript", "1", 0.5, model_ms=2.0)
LAST = base64.b64encode(b"the last").decode()
PICTURE = ImageAnswer([Prediction("Samoyed", "n02111889", 0.8)], "resnet152", "1", model_ms=9.0)


@pytest.fixture
def model(db) -> ScoringModel:
    """A model whose version 1 is champion, and whose version 2 sees all of its requests from the shadow."""
    model = make_model()
    make_version(model, "1", "champion")
    make_version(model, "2", "shadow", percent=100)
    queries.forget_shadows()
    return model


class Broker:
    """Takes the bundles that would go to the broker.

    away: it refuses them; broken: it fails as nobody thought of; others: tasks that wait there besides those sent.
    looks, tries: how often it was asked how many wait, and given a bundle.
    """

    def __init__(self) -> None:
        self.sent: list[list[dict[str, object]]] = []
        self.others = 0
        self.away = self.broken = False
        self.looks = self.tries = 0
        self.open = threading.Event()
        self.open.set()

    def send(self, bundle: list[shadow.Offer]) -> bool:
        self.open.wait(10)
        away, broken = self.away, self.broken
        self.tries += 1
        if broken:
            raise RuntimeError("broken")
        if not away:
            self.sent.append([offer.message() for offer in bundle])
        return not away

    def lengths(self) -> dict[str, int]:
        found = {} if self.away else {"batch": self.others + len(self.sent)}
        self.looks += 1
        return found

    @property
    def offers(self) -> list[dict[str, object]]:
        return [offer for bundle in self.sent for offer in bundle]

    def wait_for(self, count: int) -> list[dict[str, object]]:
        self.wait_until(lambda: len(self.offers) >= count)
        return self.offers

    def wait_until(self, there: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not there():
            assert time.monotonic() < until, self.sent
            time.sleep(0.005)

    def everything(self, model: ScoringModel) -> list[dict[str, object]]:
        """All that came of what was offered before: offers one more until that has got through, and leaves it out."""
        model.versions.filter(name="2").update(role="shadow", percent=100)
        queries.forget_shadows()
        self.others = -1_000_000  # room for it

        def last_is_there() -> bool:
            shadow.offer_faq("the last", ANSWER)
            return any(offer["input"] == LAST for offer in self.offers)

        self.wait_until(last_is_there)
        return [offer for offer in self.offers if offer["input"] != LAST]


@pytest.fixture
def broker(monkeypatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(shadow, "_sender", shadow.Sender(broker.send))
    monkeypatch.setattr("webapp.queues.lengths", broker.lengths)
    return broker


def report(model: ScoringModel) -> shadow.ShadowReport:
    return shadow.shadow_report(model)


def compare(model: ScoringModel, **fields: object) -> None:
    """Keeps a comparison that was made just now."""
    about = {"champion": "1", "shadow": "2", "agrees": True, "champion_probability": 0.9, "shadow_probability": 0.9}
    ShadowComparison.objects.create(model=model, **{**about, **fields})


# On the request's way -------------------------------------------------------------------------------------------------


def test_a_question_asked_by_api_is_scored_again_by_the_shadow(model, broker, client, owner_key, scoring):
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, {})]
    answer = client.post(
        "/api/v1/faq/match", {"question": "copy?"}, content_type="application/json", headers=bearer(owner_key)
    )
    assert answer.json()["version"] == "1"
    offers = broker.wait_for(1)
    scoring.faq = [("js-2", "js-2-a", 0.6, {})]
    shadow.compare(offers)
    assert scoring.sent[-1].url.path == "/v2/models/faq-javascript/versions/2/infer"
    kept = ShadowComparison.objects.get()
    assert (kept.champion, kept.shadow, kept.agrees) == ("1", "2", False)
    assert (kept.champion_probability, kept.shadow_probability) == (0.9, pytest.approx(0.6))
    assert (kept.champion_ms, kept.shadow_ms) == (0.7, 0.7)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_a_shadow_whose_probability_is_no_number_has_failed(model, broker, scoring, odd):
    for theirs in (odd, 0.8):
        shadow.offer_faq("copy?", ANSWER)
        scoring.faq = [("js-1", "js-1-a", theirs, {})]
        shadow.compare([broker.wait_for(1).pop()])
        broker.sent.clear()
    found = report(model)
    assert (found.compared, found.agreeing, found.failed) == (1, 1, 1)
    assert found.mean_difference == pytest.approx(-0.1)


def test_a_picture_is_scored_again_as_it_was_received(db, broker, scoring):
    model = make_model("resnet152", kind="image", pool="gpu")
    make_version(model, "1", "champion")
    make_version(model, "2", "shadow", percent=100)
    queries.forget_shadows()
    shadow.offer_image(b"\x89PNG and more", PICTURE)
    shadow.compare(broker.wait_for(1))
    [asked] = scoring.inferences()
    assert asked.inputs[0].data == [b"\x89PNG and more"]
    kept = ShadowComparison.objects.get()
    assert kept.agrees
    assert kept.shadow_probability == pytest.approx(0.9)


def test_only_its_share_of_the_requests_is_offered(model, broker):
    model.versions.filter(name="2").update(percent=30)
    queries.forget_shadows()
    broker.others = -1_000_000  # room for all, however few travel in one task
    for _ in range(500):
        shadow.offer_faq("copy?", ANSWER)
    assert 90 < len(broker.everything(model)) < 215  # 150, give or take six standard deviations


def test_nothing_is_offered_without_a_shadow(model, broker):
    model.versions.filter(name="2").update(role="", percent=0)
    queries.forget_shadows()
    shadow.offer_faq("copy?", ANSWER)
    assert broker.everything(model) == []


def test_what_a_canary_answered_is_not_offered_for_the_shadow_stands_beside_the_champion(model, broker):
    shadow.offer_faq("of the canary", replace(ANSWER, version="3"))
    shadow.offer_faq("of the champion", ANSWER)
    assert [offer["version"] for offer in broker.everything(model)] == ["1"]


def test_several_offers_travel_in_one_task(model, broker):
    broker.open.clear()
    for number in range(30):
        shadow.offer_faq(f"question {number}", ANSWER)
    broker.open.set()
    broker.wait_for(30)
    assert len(broker.sent) <= 3


def test_a_broker_that_hangs_holds_up_nobody_and_what_waits_is_bounded(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "MOST_WAITING", 100)
    broker.open.clear()
    for _ in range(1000):
        shadow.offer_faq("copy?", ANSWER)
    assert not broker.open.is_set(), "all was offered while the broker hung"
    broker.open.set()
    assert 100 <= len(broker.everything(model)) <= 100 + shadow.BUNDLE


def test_pictures_that_wait_are_bounded_by_their_bytes(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "MOST_WAITING_BYTES", 10_000)
    broker.open.clear()
    for _ in range(100):
        shadow.offer_faq("x" * 1000, ANSWER)
    broker.open.set()
    assert 10 <= len(broker.everything(model)) <= 20


def test_a_broker_that_is_away_loses_offers_and_nothing_else(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "LOOK_AGAIN", 0.05)
    broker.away = True
    shadow.offer_faq("lost", ANSWER)
    broker.wait_until(lambda: broker.looks > 0)
    broker.away = False
    assert broker.everything(model) == []  # and the one after it got through


def test_what_nobody_thought_of_does_not_end_the_sending(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "LOOK_AGAIN", 0.05)
    broker.broken = True
    shadow.offer_faq("lost", ANSWER)
    broker.wait_until(lambda: broker.tries > 0)
    broker.broken = False
    assert broker.everything(model) == []  # and the one after it got through


def test_no_more_is_sent_than_the_broker_had_room_for(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "BUNDLE", 1)
    monkeypatch.setattr(shadow, "LOOK_AGAIN", 3600.0)
    broker.others = shadow.MOST_TASKS - 3
    for _ in range(10):
        shadow.offer_faq("copy?", ANSWER)
    broker.wait_until(
        lambda: not shadow._sender._waiting
    )  # a fourth would have gone out long before the tenth is taken
    assert len(broker.wait_for(3)) == 3
    assert broker.looks == 1


def test_with_a_long_queue_at_the_broker_nothing_more_is_sent(model, broker, monkeypatch):
    monkeypatch.setattr(shadow, "LOOK_AGAIN", 0.05)
    broker.others = shadow.MOST_TASKS
    shadow.offer_faq("copy?", ANSWER)
    broker.wait_until(lambda: broker.looks > 0)
    assert broker.everything(model) == []


# In the worker --------------------------------------------------------------------------------------------------------


def offers(*questions: str, shadow_version: str = "2") -> list[dict[str, object]]:
    return [
        shadow.Offer("faq", "faq-javascript", shadow_version, "1", text.encode(), "js-1", 0.9, 2.0).message()
        for text in questions
    ]


def test_a_shadow_that_fails_is_kept_as_a_failure_with_its_kind(model, scoring):
    scoring.faq = [("js-1", "js-1-a", 0.8, {})]
    scoring.answers(refusal(500, "broken"), httpx.ReadTimeout("slow"), refusal(400, "no words"))
    shadow.compare(offers("one", "two", "three"))
    found = report(model)
    assert (found.compared, found.failed, found.agreement) == (0, 3, None)
    assert found.failures == [("scoring-failed", 1), ("scoring-refused", 1), ("scoring-timeout", 1)]


def test_that_pods_are_still_loading_it_is_no_failure_of_the_shadow(model, scoring):
    scoring.answers(refusal(404, "not loaded"))
    shadow.compare(offers("one"))
    assert report(model).failed == 0
    model.versions.update(role_since=timezone.now() - timedelta(minutes=1))
    shadow.compare(offers("one"))
    assert report(model).failures == [("scoring-unavailable", 1)]


def test_two_empty_answers_agree(model, scoring):
    offer = {**offers("one")[0], "first": "", "probability": None}
    shadow.compare([offer])
    assert report(model).agreement == 1.0


def test_what_was_offered_to_a_shadow_that_is_none_any_more_is_left_out(model, scoring):
    shadow.compare(offers("one", shadow_version="3"))
    assert scoring.sent == []
    assert not ShadowComparison.objects.exists()


# What came of it ------------------------------------------------------------------------------------------------------


def test_a_model_without_a_shadow_has_no_report(db):
    assert shadow.shadow_report(make_model()) is None


def test_a_shadow_that_has_compared_nothing_has_an_empty_report(model):
    found = report(model)
    assert (found.compared, found.failed, found.agreement, found.mean_difference) == (0, 0, None, None)
    assert (found.p50, found.series, found.failures) == (None, [], [])
    assert sum(bar.count for bar in found.histogram) == 0


def test_agreement_and_drift_are_summed_up(model):
    model.versions.update(role_since=timezone.now() - timedelta(hours=1))
    for step in range(100):
        compare(model, agrees=step < 75, shadow_probability=0.9 - step / 1000, champion_ms=2, shadow_ms=3)
    compare(model, agrees=None, shadow_probability=None, failure="scoring-timeout")
    found = report(model)
    assert (found.compared, found.agreeing, found.failed, found.agreement) == (100, 75, 1, 0.75)
    assert found.mean_difference == pytest.approx(-0.0495)
    assert (found.p05, found.p50, found.p95) == (
        pytest.approx(-0.095),
        pytest.approx(-0.050),
        pytest.approx(-0.005),
    )
    assert (found.champion_ms, found.shadow_ms) == (2, 3)
    assert found.failures == [("scoring-timeout", 1)]
    assert {(bar.start, bar.end): bar.count for bar in found.histogram if bar.count} == {(-0.1, 0.0): 99, (0.0, 0.1): 1}
    assert (found.histogram[0].start, found.histogram[-1].end) == (-1.0, 1.0)


def test_the_largest_differences_are_in_the_outermost_bars(model):
    compare(model, champion_probability=0.0, shadow_probability=1.0)
    compare(model, champion_probability=1.0, shadow_probability=0.0)
    counts = [bar.count for bar in report(model).histogram]
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)


def test_the_course_of_a_day_has_at_most_sixty_points_in_order(model):
    now = timezone.now()
    model.versions.update(role_since=now - timedelta(days=3))
    for minutes in range(0, 24 * 60, 7):
        compare(model, at=now - timedelta(minutes=minutes), agrees=minutes < 12 * 60)
    series = report(model).series
    assert 55 <= len(series) <= 61
    assert [point.at for point in series] == sorted(point.at for point in series)
    assert (series[0].agreement, series[-1].agreement) == (0.0, 1.0)
    assert sum(point.compared for point in series) == report(model).compared


def test_an_earlier_trial_of_the_same_version_is_not_counted(model):
    compare(model, at=timezone.now() - timedelta(minutes=5))
    assert report(model).compared == 0


def test_comparisons_are_deleted_after_thirty_days(model):
    compare(model, at=timezone.now() - timedelta(days=31))
    compare(model, at=timezone.now() - timedelta(days=29))
    assert shadow.prune() == 1
    assert ShadowComparison.objects.count() == 1


def test_how_a_shadow_compared_is_in_the_history_when_it_ends(model, admin, client):
    compare(model, shadow_probability=0.8)
    compare(model, agrees=False, shadow_probability=0.5)
    compare(model, agrees=None, shadow_probability=None, failure="scoring-timeout")
    services.end_shadow(model, by=admin, reason="Seen enough.")
    kept = model.events.get(kind="shadow_ended").details
    assert kept["percent"] == 100
    assert {name: kept["shadow"][name] for name in ("version", "compared", "agreeing", "failed")} == {
        "version": "2",
        "compared": 2,
        "agreeing": 1,
        "failed": 1,
    }
    assert kept["shadow"]["mean_difference"] == pytest.approx(-0.25)
    client.force_login(admin)
    page = client.get(f"/admin/models/{model.name}/").content.decode()
    assert "agreed on 50 % of 2 requests, 1 failed, mean difference −25.0 points" in page
