import threading
import time
from datetime import timedelta

import msgspec
import pytest
from django.db import connection
from django.utils import timezone

from scoring_service.contract import Routing
from tests.factories import make_admin, make_version
from tests.webapp.registry.conftest import versions_of
from webapp import queues
from webapp.errors import Conflict, InvalidInput
from webapp.registry import queries, rollouts, services
from webapp.registry.models import Check, Event, Rollout, Version
from webapp.registry.publishing import publish
from webapp.scoring import store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pods")]


@pytest.fixture
def operator():
    return make_admin("operator@example.com")


@pytest.fixture
def old(model) -> Version:
    """The champion, and pods know it."""
    champion = make_version(model, "1", "champion")
    publish(model)
    return champion


@pytest.fixture
def new(model, old) -> Version:
    """A version that has passed its check beside the champion."""
    version = make_version(model, "2", metrics={"mrr": 0.9})
    Check.objects.create(version=version, champion=old, state="passed", report={"verdict": {"worse": []}})
    return version


def routing(model) -> store.Routing:
    found = store.read_routing(model.name)
    assert found is not None
    return found


def kinds(model) -> list[str]:
    """The events, oldest first."""
    return [event.kind for event in model.events.order_by("pk")]


def test_a_version_becomes_champion_when_all_ready_pods_have_it_and_done_when_they_answer_with_it(
    model, new, pods, operator
):
    pods[1].looks = 3
    rollout = services.promote(new, by=operator)
    assert routing(model) == store.Routing(champion="1", warm=("2",))  # published in the request itself
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("ready", "")}

    rollouts.drive(rollout.pk)

    assert routing(model) == store.Routing(champion="2", standby="1")
    assert versions_of(model) == {"1": ("ready", "standby"), "2": ("serving", "champion")}
    rollout.refresh_from_db()
    assert (rollout.state, rollout.driven_until) == ("done", None)
    assert kinds(model) == ["promotion_started", "promoted", "replaced", "converged"]
    promoted = model.events.get(kind="promoted")
    assert (promoted.actor, promoted.from_state, promoted.to_state) == ("operator@example.com", "ready", "serving")
    assert promoted.metrics == {"mrr": 0.9}
    assert promoted.serving == {"champion": "2", "canary": None, "shadow": None, "standby": "1"}


def test_the_champion_serves_until_every_ready_pod_has_loaded_the_version(model, new, pods, operator):
    pods[1].looks = 10**6
    rollout = services.promote(new, by=operator)
    for _ in range(4):
        assert rollouts._step(rollout.pk, rollouts.Doubts())
    assert routing(model).champion == "1"
    view = queries.rollout_view(queries.running_rollout(model))
    assert [(each.pod.pod, each.state) for each in view.pods] == [("pod-1", "loaded"), ("pod-2", "loading")]
    assert (view.done, view.total) == (1, 2)


def test_a_pod_that_cannot_load_it_fails_the_version_and_leaves_the_champion_alone(model, new, pods, operator):
    pods[1].broken = {"2": "model.npy is not the file that was registered: its SHA-256 differs"}
    rollout = services.promote(new, by=operator)
    rollouts.drive(rollout.pk)

    assert routing(model) == store.Routing(champion="1")
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("failed", "")}
    rollout.refresh_from_db()
    assert rollout.state == "failed"
    assert rollout.problem == (
        "pod-2 cannot load it: model.npy is not the file that was registered: its SHA-256 differs."
    )
    failed = model.events.get(kind="promotion_failed")
    assert (failed.from_state, failed.to_state, failed.reason) == ("ready", "failed", rollout.problem)


def test_a_pod_that_cannot_read_the_store_may_yet_load_it(model, new, pods, operator):
    pods[1].broken, pods[1].store_problem = {"2": "model.npy is missing"}, "the store cannot be read: Stale file handle"
    rollout = services.promote(new, by=operator)
    doubts = rollouts.Doubts()
    for _ in range(3):
        assert rollouts._step(rollout.pk, doubts)
    rollout.refresh_from_db()
    assert rollout.problem == "pod-2 cannot load it: model.npy is missing."

    pods[1].store_problem = ""  # it tries again by itself, a moment later
    assert rollouts._step(rollout.pk, doubts)
    pods[1].broken = {}
    rollouts.drive(rollout.pk)
    assert versions_of(model) == {"1": ("ready", "standby"), "2": ("serving", "champion")}


def test_a_pod_that_has_read_the_store_again_and_still_cannot_load_it_fails_the_version(
    model, new, pods, operator, monkeypatch
):
    monkeypatch.setattr(rollouts, "LOAD_RETRY", 0.05)
    pods[1].broken, pods[1].store_problem = {"2": "model.npy is missing"}, "the store cannot be read: Stale file handle"
    rollout = services.promote(new, by=operator)
    doubts = rollouts.Doubts()
    assert rollouts._step(rollout.pk, doubts)
    pods[1].store_problem = ""
    time.sleep(0.06)
    assert not rollouts._step(rollout.pk, doubts)
    assert versions_of(model)["2"] == ("failed", "")


def test_a_pod_that_failed_before_the_promotion_began_is_given_time_to_try_again(model, new, pods, operator):
    services.start_canary(new, 10, by=operator)
    pods[1].broken = {"2": "it needs about 900 MB of memory; 20 MB of the 1,000 MB that this pod may use are free"}
    rollout = services.promote(new, by=operator)
    doubts = rollouts.Doubts()
    assert rollouts._step(rollout.pk, doubts)
    pods[1].broken = {}  # the other versions have gone
    while rollouts._step(rollout.pk, doubts):
        pass
    assert versions_of(model)["2"] == ("serving", "champion")


@pytest.mark.parametrize("how", ["gone", "not ready"])
def test_a_pod_that_is_not_ready_is_not_waited_for(model, new, pods, operator, how):
    if how == "gone":
        pods[1].there = False
    else:
        pods[1].ready, pods[1].looks = False, 10**6
    rollout = services.promote(new, by=operator)
    rollouts.drive(rollout.pk)
    rollout.refresh_from_db()
    assert rollout.state == "done"


def test_a_store_that_cannot_be_written_is_named_and_waited_for(model, new, pods, operator, monkeypatch):
    def refuse(*_arguments):
        raise store.StoreUnavailable("faq-javascript/routing.json cannot be written: Read-only file system.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_routing", refuse)
        rollout = services.promote(new, by=operator)
        assert rollouts._step(rollout.pk, rollouts.Doubts())
        rollout.refresh_from_db()
        assert rollout.problem == (
            "The pods cannot be told yet. faq-javascript/routing.json cannot be written: Read-only file system."
        )
    rollouts.drive(rollout.pk)
    rollout.refresh_from_db()
    assert (rollout.state, rollout.problem) == ("done", "")


def test_without_a_ready_pod_a_promotion_waits_says_so_and_can_be_cancelled(model, new, pods, operator):
    pods[0].there = pods[1].there = False
    rollout = services.promote(new, by=operator)
    assert rollouts._step(rollout.pk, rollouts.Doubts())
    rollout.refresh_from_db()
    assert rollout.state == "loading"
    assert rollout.problem.startswith("No CPU pod is ready.")

    services.cancel_rollout(rollout, by=operator)
    rollouts.drive(rollout.pk)
    assert routing(model) == store.Routing(champion="1")
    assert kinds(model) == ["promotion_started", "promotion_cancelled"]
    with pytest.raises(Conflict, match="over already"):
        services.cancel_rollout(rollout, by=operator)


def test_the_first_version_gets_into_service_on_pods_that_are_not_ready_for_want_of_it(model, pods, operator):
    pods[0].ready = pods[1].ready = False
    first = make_version(model, "1")
    rollout = services.promote(first, by=operator)
    rollouts.drive(rollout.pk)
    assert routing(model) == store.Routing(champion="1")
    rollout.refresh_from_db()
    assert rollout.state == "done"


def test_a_promotion_that_takes_too_long_fails_without_blaming_the_version(model, new, pods, operator):
    pods[1].looks = 10**6
    rollout = services.promote(new, by=operator)
    Rollout.objects.filter(pk=rollout.pk).update(started_at=timezone.now() - timedelta(minutes=11))
    rollouts.drive(rollout.pk)
    assert versions_of(model)["2"] == ("ready", "")
    rollout.refresh_from_db()
    assert rollout.state == "failed"
    assert "within 10 minutes" in rollout.problem


@pytest.mark.parametrize("steps", range(6))
def test_a_rollout_goes_on_wherever_its_worker_was_killed(model, new, pods, operator, steps):
    pods[0].looks, pods[1].looks = 2, 3
    rollout = services.promote(new, by=operator)
    assert rollouts._claim(rollout.pk)
    for _ in range(steps):  # and then it is killed: the lease stays
        rollouts._step(rollout.pk, rollouts.Doubts())
    rollouts.drive(rollout.pk)
    rollout.refresh_from_db()
    assert rollout.driven_until is not None, "another worker keeps off while the lease runs"

    Rollout.objects.filter(pk=rollout.pk).update(driven_until=timezone.now() - timedelta(seconds=1))
    rollouts.drive(rollout.pk)
    assert versions_of(model) == {"1": ("ready", "standby"), "2": ("serving", "champion")}
    assert kinds(model) == ["promotion_started", "promoted", "replaced", "converged"]


def test_a_worker_that_slept_too_long_leaves_the_rollout_to_the_one_who_has_it_now(
    model, new, pods, operator, monkeypatch
):
    monkeypatch.setattr(rollouts, "LEASE", timedelta(seconds=0.4))
    pods[0].looks = 10**6
    rollout = services.promote(new, by=operator)

    def work() -> None:
        rollouts.drive(rollout.pk)
        connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    while Rollout.objects.get(pk=rollout.pk).driven_until is None:
        time.sleep(0.01)
    others = timezone.now() + timedelta(seconds=30)
    Rollout.objects.filter(pk=rollout.pk).update(driven_until=others)
    worker.join(5)
    assert not worker.is_alive()
    rollout.refresh_from_db()
    assert (rollout.state, rollout.driven_until) == ("loading", others)


def test_a_pod_that_never_follows_is_looked_at_now_and_then(model, new, pods, operator, lose_messages):
    rollout = services.promote(new, by=operator)
    while rollouts._step(rollout.pk, rollouts.Doubts()) and routing(model).champion == "1":
        pass
    pods[1].follows = False
    Rollout.objects.filter(pk=rollout.pk).update(switched_at=timezone.now() - timedelta(minutes=11))
    rollouts.drive(rollout.pk)
    lose_messages()
    rollouts.resume_unattended()
    assert queues.lengths()["default"] == 0

    Rollout.objects.filter(pk=rollout.pk).update(driven_until=timezone.now() - timedelta(seconds=1))
    rollouts.resume_unattended()
    assert queues.lengths()["default"] == 1
    pods[1].follows = True
    rollouts.drive(rollout.pk)
    rollout.refresh_from_db()
    assert (rollout.state, rollout.driven_until) == ("done", None)


def test_two_workers_that_drive_the_same_rollout_do_nothing_twice(model, new, operator):
    rollout = services.promote(new, by=operator)

    def work() -> None:
        while rollouts._step(rollout.pk, rollouts.Doubts()):
            pass
        connection.close()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert kinds(model) == ["promotion_started", "promoted", "replaced", "converged"]


def test_a_store_that_is_away_for_a_while_delays_a_promotion_and_loses_nothing(model, new, operator, model_store):
    aside = model_store.rename(model_store.with_name("aside"))
    rollout = services.promote(new, by=operator)
    assert rollouts._step(rollout.pk, rollouts.Doubts())
    assert versions_of(model)["1"] == ("serving", "champion")

    aside.rename(model_store)
    publish(model)  # as `watch` does
    rollouts.drive(rollout.pk)
    assert routing(model).champion == "2"


def test_rolling_back_serves_the_version_before_at_once_without_any_worker(model, new, operator):
    rollouts.drive(services.promote(new, by=operator).pk)
    rollout = services.roll_back(model, by=operator, reason="Complaints.")
    assert routing(model) == store.Routing(champion="1")
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("ready", "")}
    replaced, rolled_back = model.events.all()[:2]
    assert (rolled_back.kind, rolled_back.version.name, rolled_back.reason) == ("rolled_back", "1", "Complaints.")
    assert (replaced.kind, replaced.version.name, replaced.to_state) == ("replaced", "2", "ready")

    rollouts.drive(rollout.pk)
    assert kinds(model)[-3:] == ["rolled_back", "replaced", "converged"]
    with pytest.raises(Conflict, match="no version before"):
        services.roll_back(model, by=operator)


def test_rolling_back_while_a_version_is_loading_ends_its_promotion(model, new, pods, operator):
    rollouts.drive(services.promote(new, by=operator).pk)
    third = make_version(model, "3")
    pods[0].looks = 10**6
    promotion = services.promote(third, by=operator, reason="Needed.")
    services.roll_back(model, by=operator)
    rollouts.drive(promotion.pk)
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("ready", ""), "3": ("ready", "")}
    assert kinds(model)[-4:] == ["promotion_started", "promotion_cancelled", "rolled_back", "replaced"]


def test_a_rollback_to_another_version_than_the_person_saw_is_refused(model, new, operator):
    rollouts.drive(services.promote(new, by=operator).pk)
    with pytest.raises(Conflict, match="Version 1 is the one before by now, not 7"):
        services.roll_back(model, by=operator, expected="7")


def test_a_promotion_ends_the_canary_and_the_shadow(model, new, operator):
    services.start_shadow(make_version(model, "3"), 20, by=operator)
    services.start_canary(new, 10, by=operator)
    assert routing(model) == store.Routing(champion="1", challenger=store.Challenger("2", 10), warm=("3",))
    rollouts.drive(services.promote(new, by=operator).pk)
    assert routing(model) == store.Routing(champion="2", standby="1")
    assert kinds(model)[2:] == [
        "promotion_started",
        "promoted",
        "replaced",
        "canary_ended",
        "shadow_ended",
        "converged",
    ]
    assert {event.serving["champion"] for event in model.events.order_by("pk")[3:]} == {"2"}
    ended = model.events.get(kind="canary_ended")
    assert (ended.details["percent"], ended.details["canary"]["version"], ended.details["canary"]["requests"]) == (
        10,
        "2",
        0,
    )


def test_a_second_click_promotes_nothing_twice(model, new, operator):
    rollout = services.promote(new, by=operator)
    with pytest.raises(Conflict, match="Version 2 is being promoted"):
        services.promote(new, by=operator)
    rollouts.drive(rollout.pk)
    with pytest.raises(Conflict, match="Version 2 serves already"):
        services.promote(new, by=operator)


def test_clicks_at_the_same_moment_begin_one_promotion(model, new, operator):
    outcomes = []

    def click() -> None:
        try:
            services.promote(new, by=operator)
            outcomes.append("begun")
        except Conflict:
            outcomes.append("refused")
        finally:
            connection.close()

    clicks = [threading.Thread(target=click) for _ in range(4)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    assert sorted(outcomes) == ["begun", "refused", "refused", "refused"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("registered", "has not been checked"),
        ("checking", "is being checked"),
        ("failed", "failed: It is broken"),
        ("retired", "is retired"),
    ],
)
def test_only_a_version_that_has_passed_its_check_is_promoted(model, old, operator, state, message):
    version = make_version(model, "2", state=state, reason="It is broken." if state == "failed" else "")
    with pytest.raises(Conflict, match=message):
        services.promote(version, by=operator, reason="I want it.")


def test_a_version_worse_than_the_champion_needs_a_written_reason(model, old, operator):
    version = make_version(model, "2")
    with pytest.raises(InvalidInput, match="has not been checked beside version 1") as refused:
        services.promote(version, by=operator, reason="  ")
    assert refused.value.field == "reason"

    Check.objects.create(
        version=version,
        champion=old,
        state="passed",
        report={"verdict": {"worse": ["Accuracy@1 is 2.0 points lower."]}},
    )
    with pytest.raises(InvalidInput, match=r"Accuracy@1 is 2\.0 points lower"):
        services.promote(version, by=operator)
    rollout = services.promote(version, by=operator, reason="It knows the new entries.")
    assert rollout.reason == "It knows the new entries."


def test_who_began_a_promotion_is_known_though_the_account_is_gone(model, new, operator):
    rollout = services.promote(new, by=operator)
    operator.delete()
    rollouts.drive(rollout.pk)
    assert Event.objects.get(kind="promoted").actor == "operator@example.com"


def test_the_routing_file_is_what_pods_understand(model, new, operator, model_store):
    services.start_canary(new, 25, by=operator)
    written = (model_store / model.name / "routing.json").read_bytes()
    assert msgspec.json.decode(written, type=Routing).roles() == {"1": "champion", "2": "challenger"}
