import json
import shutil
from datetime import timedelta
from threading import Semaphore

import pytest
from django.core.management import call_command
from django.utils import timezone

from scoring_service import store as pod_store
from tests.factories import make_version
from tests.webapp.registry.conftest import versions_of
from tests.webapp.registry.packing import lay
from webapp import queues
from webapp.registry import adoption, queries, services, tasks
from webapp.registry.models import Check, Event, Pulse, Rollout, ScoringModel, Version
from webapp.registry.publishing import publish
from webapp.scoring import store

pytestmark = pytest.mark.django_db(transaction=True)


def route(model_store, model="faq-javascript", **routing) -> None:
    (model_store / model / "routing.json").write_text(json.dumps(routing))


def test_a_store_from_before_the_database_is_taken_over_with_the_version_that_serves(model_store):
    for version in ("1", "2", "3"):
        lay(model_store, "faq-javascript", version, metrics={"mrr": 0.8})
    route(model_store, champion="2")
    adoption.adopt_store()

    model = ScoringModel.objects.get()
    assert (model.name, model.kind, model.pool, model.title) == ("faq-javascript", "faq", "cpu", "JavaScript FAQ")
    assert versions_of(model) == {"1": ("registered", ""), "2": ("serving", "champion"), "3": ("checking", "")}
    champion = queries.champion_of(model)
    assert champion.size == 2
    assert champion.manifest["metrics"] == {"mrr": 0.8}
    assert {check.champion for check in Check.objects.all()} == {champion}
    first = model.events.order_by("pk")[0]
    assert (first.kind, first.version, first.to_state, first.actor) == ("adopted", champion, "serving", "")
    assert store.read_routing("faq-javascript") == store.Routing(champion="2", warm=("3",))


def test_adopting_again_changes_nothing(model_store):
    lay(model_store, "faq-javascript", "1")
    route(model_store, champion="1")
    adoption.adopt_store()
    events = Event.objects.count()
    adoption.adopt_store()
    assert Event.objects.count() == events


def test_a_version_that_a_trainer_leaves_in_the_store_turns_up_and_is_checked(model_store):
    lay(model_store, "faq-javascript", "1")
    route(model_store, champion="1")
    adoption.adopt_store()
    lay(model_store, "faq-javascript", "2")
    tasks.watch()

    model = ScoringModel.objects.get()
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("checking", "")}
    assert [event.kind for event in model.events.order_by("pk")][1:] == ["adopted", "check_started"]
    assert store.read_routing("faq-javascript") == store.Routing(champion="1", warm=("2",))


def test_a_routing_file_that_comes_after_its_version_still_makes_it_champion(model_store):
    lay(model_store, "faq-javascript", "1")
    tasks.watch()
    model = ScoringModel.objects.get()
    assert versions_of(model) == {"1": ("checking", "")}
    route(model_store, champion="1")
    publish(model)  # of whatever else happens at that moment
    assert store.read_routing("faq-javascript").champion == "1"
    tasks.watch()
    assert versions_of(model) == {"1": ("serving", "champion")}
    assert Check.objects.get().state == "cancelled"


def test_what_somebody_else_writes_into_the_routing_file_is_put_right(model_store):
    for version in ("1", "2"):
        lay(model_store, "faq-javascript", version)
    route(model_store, champion="1")
    adoption.adopt_store()
    for content in ('{"champion": "2"}', "{}", "not json", ""):
        (model_store / "faq-javascript" / "routing.json").write_text(content)
        tasks.watch()
        assert store.read_routing("faq-javascript") == store.Routing(champion="1", warm=("2",))


def test_a_version_that_makes_no_sense_is_left_alone_and_holds_up_no_other(model_store):
    lay(model_store, "faq-javascript", "1")
    (lay(model_store, "faq-javascript", "2") / "manifest.json").write_text("{")
    lay(model_store, "faq-javascript", "3", title="A NUL\0")
    huge = lay(model_store, "faq-javascript", "4") / "manifest.json"
    manifest = json.loads(huge.read_text())
    huge.write_text(json.dumps({**manifest, "files": {"a": {"sha256": "x", "size": 2**63}}}))
    lay(model_store, "faq-javascript", "5")
    lay(model_store, "another", "1", kind="unheard of")
    lay(model_store, "digits", "1", kind="image", pool="gpu")
    tasks.watch()
    adopted = {"faq-javascript 1", "faq-javascript 5", "digits 1"}
    assert {str(version) for version in Version.objects.all()} == adopted


def test_a_store_that_is_away_is_no_empty_store(model_store, pods):
    lay(model_store, "faq-javascript", "1")
    route(model_store, champion="1")
    adoption.adopt_store()
    aside = model_store.rename(model_store.with_name("aside"))
    tasks.watch()
    assert versions_of(ScoringModel.objects.get()) == {"1": ("serving", "champion")}
    assert not model_store.exists()
    aside.rename(model_store)
    tasks.watch()
    assert store.read_routing("faq-javascript") == store.Routing(champion="1")


def test_a_store_that_was_deleted_and_filled_anew_serves_what_was_trained_again(model_store):
    for version in ("1", "2"):
        lay(model_store, "faq-javascript", version)
    route(model_store, champion="2")
    adoption.adopt_store()
    model = ScoringModel.objects.get()

    shutil.rmtree(model_store / "faq-javascript")
    lay(model_store, "faq-javascript", "1", {"entries.json": b"[1, 2]"})
    route(model_store, champion="1")
    tasks.watch()
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("failed", "")}
    assert queries.champion_of(model).size == 6
    assert [event.kind for event in model.events.all()[:2]] == ["replaced", "adopted"]
    assert store.read_routing(model.name) == store.Routing(champion="1")
    assert queries.served_at(model, timezone.now()).champion == "1"

    shutil.rmtree(model_store / "faq-javascript")
    lay(model_store, "faq-javascript", "1", {"entries.json": b"[1, 2, 3]"})
    route(model_store, champion="1")
    tasks.watch()
    tasks.watch()
    assert versions_of(model)["1"] == ("serving", "champion")
    assert queries.champion_of(model).size == 9
    assert "other files under this number" in model.events.first().reason
    assert model.events.count() == 5


def test_a_champion_whose_folder_alone_is_gone_stays_champion(model_store):
    for version in ("1", "2"):
        lay(model_store, "faq-javascript", version)
    route(model_store, champion="1")
    adoption.adopt_store()
    shutil.rmtree(model_store / "faq-javascript" / "1")
    tasks.watch()
    assert versions_of(ScoringModel.objects.get())["1"] == ("serving", "champion")


# Deleted artifacts ----------------------------------------------------------------------------------------------------


@pytest.fixture
def retired(model, model_store) -> Version:
    lay(model_store, model.name, "1")
    version = make_version(model, "1", manifest=store.read_manifest(model.name, "1"))
    services.retire(version, by=None)
    return version


def test_the_files_of_a_retired_version_go_by_choice_and_its_number_stays_taken(retired, model, model_store):
    assert (model_store / model.name / "1" / "manifest.json").exists()
    services.delete_artifact(retired, by=None)
    assert list((model_store / model.name / "1").iterdir()) == []
    assert pod_store.next_version(model_store / model.name) == "2"
    assert [event.kind for event in model.events.order_by("pk")] == ["retired", "artifact_deleted"]
    tasks.watch()
    assert versions_of(model) == {"1": ("retired", "")}


def test_a_deletion_that_was_cut_short_is_finished(retired, model, model_store):
    Version.objects.filter(pk=retired.pk).update(artifact_deleted_at=timezone.now())  # and then the process dies
    tasks.watch()
    assert not (model_store / model.name / "1" / "manifest.json").exists()


def test_another_artifact_under_the_number_of_a_deleted_one_is_not_deleted(retired, model, model_store):
    services.delete_artifact(retired, by=None)
    shutil.rmtree(model_store / model.name / "1")
    lay(model_store, model.name, "1", {"entries.json": b"[1]"})
    tasks.watch()
    assert (model_store / model.name / "1" / "entries.json").read_bytes() == b"[1]"
    assert versions_of(model) == {"1": ("retired", "")}


# Whatever was killed --------------------------------------------------------------------------------------------------


def test_a_promotion_whose_worker_was_killed_is_driven_on(model, pods, work, lose_messages):
    old, new = make_version(model, "1", "champion"), make_version(model, "2")
    rollout = services.promote(new, by=None, reason="Needed.")
    # The message is lost, and the worker that had it is dead.
    Rollout.objects.filter(pk=rollout.pk).update(driven_until=timezone.now() - timedelta(seconds=1))
    lose_messages()
    tasks.watch()
    assert "registry.drive" in work()
    assert versions_of(model) == {"1": ("ready", "standby"), "2": ("serving", "champion")}
    assert old.pk == queries.standby_of(model).pk


def test_a_rollout_that_a_live_worker_drives_is_left_to_it(model, pods, work, lose_messages):
    make_version(model, "1", "champion")
    rollout = services.promote(make_version(model, "2"), by=None, reason="Needed.")
    lose_messages()
    Rollout.objects.filter(pk=rollout.pk).update(driven_until=timezone.now() + timedelta(seconds=5))
    tasks.watch()
    assert "registry.drive" not in work()


def test_a_check_whose_worker_has_fallen_silent_is_begun_anew_once(model, lose_messages):
    version = make_version(model, "1", state="registered")
    check = services.start_check(version, by=None)
    lose_messages()
    tasks.watch()
    assert queues.lengths()["default"] == 0

    Check.objects.filter(pk=check.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=2))
    tasks.watch()
    tasks.watch()
    assert queues.lengths()["default"] == 1
    assert Check.objects.get().token != check.token


def test_checks_leave_threads_of_the_worker_to_promotions(model, monkeypatch):
    version = make_version(model, "1", state="registered")
    check = services.start_check(version, by=None)
    monkeypatch.setattr(tasks, "_checks", Semaphore(0))
    tasks.check(check.pk, str(check.token))
    check.refresh_from_db()
    assert (check.state, check.heartbeat_at) == ("running", None)


def test_a_check_for_which_no_thread_was_left_begins_when_another_has_ended(model, lose_messages):
    waiting = services.start_check(make_version(model, "1", state="registered"), by=None)
    lose_messages()
    over = Check.objects.create(version=make_version(model, "2"), state="passed")
    tasks.check(over.pk, str(over.token))
    assert queues.lengths()["default"] == 1
    assert Check.objects.get(pk=waiting.pk).token == waiting.token, "a message on its way counts as well"


def test_a_routing_file_that_was_not_written_is_written_later(model, pods):
    make_version(model, "1", "champion")  # committed, and then the process died
    assert store.read_routing(model.name) is None
    tasks.watch()
    assert store.read_routing(model.name) == store.Routing(champion="1")


def test_the_watch_says_that_it_lives(model_store):
    tasks.watch()
    tasks.watch()
    assert timezone.now() - Pulse.objects.get(name="watch").at < timedelta(seconds=5)


def test_preparing_takes_over_what_the_store_holds(model_store):
    lay(model_store, "faq-javascript", "1")
    route(model_store, champion="1")
    call_command("prepare")
    assert versions_of(ScoringModel.objects.get()) == {"1": ("serving", "champion")}
