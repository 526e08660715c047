import pytest
from django.db.models.signals import pre_save

from tests.factories import make_version
from tests.webapp.registry.conftest import versions_of
from webapp.errors import Conflict, InvalidInput
from webapp.registry import queries, services
from webapp.registry.models import Rollout, ScoringModel, Version
from webapp.scoring import store
from webapp.scoring.store import Challenger, Routing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def champion(model) -> Version:
    return make_version(model, "1", "champion")


@pytest.fixture
def candidate(model, champion) -> Version:
    return make_version(model, "2")


def kinds(model) -> list[str]:
    """The events, oldest first."""
    return [event.kind for event in model.events.order_by("pk")]


def role_since(version: Version) -> object:
    version.refresh_from_db()
    return version.role_since


# Canary and shadow ----------------------------------------------------------------------------------------------------


def test_a_canary_gets_its_share_and_gives_it_back(model, candidate, owner):
    services.start_canary(candidate, 10, by=owner, reason="Try it.")
    assert versions_of(model)["2"] == ("serving", "canary")
    assert store.read_routing(model.name) == Routing(champion="1", challenger=Challenger("2", 10))

    figures = {"canary": {"version": "2", "requests": 7}}
    services.end_canary(model, by=owner, reason="Seen enough.", figures=figures)
    assert versions_of(model)["2"] == ("ready", "")
    assert store.read_routing(model.name) == Routing(champion="1")
    started, ended = model.events.order_by("pk")
    assert (started.kind, started.from_state, started.to_state, started.reason) == (
        "canary_started",
        "ready",
        "serving",
        "Try it.",
    )
    assert (ended.kind, ended.actor, ended.details) == (
        "canary_ended",
        owner.email,
        {"percent": 10, **figures},
    )


def test_a_canary_that_ends_by_itself_is_told_apart(model, candidate):
    services.start_canary(candidate, 10, by=None)
    services.end_canary(model, by=None, reason="It fails.", aborted=True)
    event = model.events.first()
    assert (event.kind, event.actor, event.reason) == ("canary_aborted", "", "It fails.")


@pytest.mark.parametrize("start", [services.start_canary, services.start_shadow])
def test_another_share_leaves_the_beginning_as_it_is(model, candidate, start):
    start(candidate, 10, by=None)
    began = role_since(candidate)
    start(candidate, 25, by=None)
    assert role_since(candidate) == began
    assert candidate.percent == 25
    assert model.events.first().details == {"percent": 25, "from_percent": 10}
    with pytest.raises(Conflict, match="with 25 % already"):
        start(candidate, 25, by=None)


@pytest.mark.parametrize(
    ("start", "percent"),
    [
        (services.start_canary, 0),
        (services.start_canary, 51),
        (services.start_shadow, 0),
        (services.start_shadow, 101),
    ],
)
def test_a_share_out_of_its_range_is_refused(candidate, start, percent):
    with pytest.raises(InvalidInput) as refused:
        start(candidate, percent, by=None)
    assert refused.value.field == "percent"


def test_a_shadow_is_loaded_and_answers_nobody(model, candidate):
    assert queries.shadow_of(model.name) is None
    services.start_shadow(candidate, 100, by=None)
    assert store.read_routing(model.name) == Routing(champion="1", warm=("2",))
    queries.forget_shadows()
    assert queries.shadow_of(model.name) == queries.Shadow("2", 100, champion="1")
    services.end_shadow(model, by=None)
    assert store.read_routing(model.name) == Routing(champion="1")
    assert kinds(model) == ["shadow_started", "shadow_ended"]


def test_which_version_is_the_shadow_is_not_read_with_every_request(model, candidate, django_assert_num_queries):
    services.start_shadow(candidate, 100, by=None)
    with django_assert_num_queries(1):
        for _ in range(100):
            assert queries.shadow_of(model.name)


def test_a_shadow_that_becomes_the_canary_is_a_shadow_no_more(model, candidate):
    services.start_shadow(candidate, 50, by=None)
    services.start_canary(candidate, 5, by=None)
    assert versions_of(model)["2"] == ("serving", "canary")
    assert kinds(model) == ["shadow_started", "canary_started", "shadow_ended"]
    with pytest.raises(Conflict, match="is the canary"):
        services.start_shadow(candidate, 50, by=None)


def test_a_canary_and_a_shadow_run_beside_each_other_but_one_of_each(model, candidate):
    third, fourth = make_version(model, "3"), make_version(model, "4")
    services.start_canary(candidate, 5, by=None)
    services.start_shadow(third, 50, by=None)
    with pytest.raises(Conflict, match="Version 2 is the canary already"):
        services.start_canary(fourth, 5, by=None)
    with pytest.raises(Conflict, match="Version 3 is the shadow already"):
        services.start_shadow(fourth, 50, by=None)
    assert queries.pinnable(model.name) == ["1", "2", "3"]


@pytest.mark.parametrize("start", [services.start_canary, services.start_shadow])
def test_what_cannot_be_tried_is_said(model, champion, start):
    with pytest.raises(Conflict, match="Version 1 is the champion"):
        start(champion, 10, by=None)
    with pytest.raises(Conflict, match="is the standby"):
        start(make_version(model, "0", "standby"), 10, by=None)
    for state in ("registered", "checking", "failed", "retired"):
        with pytest.raises(Conflict, match=f"Version {state}"):
            start(make_version(model, state, state=state), 10, by=None)


def test_without_a_champion_nothing_is_tried(model):
    with pytest.raises(Conflict, match=r"No version .* serves yet"):
        services.start_canary(make_version(model, "1"), 10, by=None)


def test_ending_what_does_not_run_is_a_conflict(model, champion):
    with pytest.raises(Conflict, match="No canary is running"):
        services.end_canary(model, by=None)
    with pytest.raises(Conflict, match="No shadow is running"):
        services.end_shadow(model, by=None)


def test_nothing_else_changes_while_a_version_is_being_loaded(model, candidate):
    third = make_version(model, "3")
    services.promote(candidate, by=None, reason="Needed.")
    for change in (
        lambda: services.start_canary(third, 10, by=None),
        lambda: services.start_shadow(third, 10, by=None),
        lambda: services.start_check(third, by=None),
        lambda: services.promote(third, by=None, reason="Needed, too."),
        lambda: services.retire(candidate, by=None),
    ):
        with pytest.raises(Conflict, match="Version 2 is being promoted"):
            change()


# Checks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["registered", "ready", "failed", "retired"])
def test_a_check_begins_beside_the_champion_and_pods_are_told_to_load_the_version(model, champion, owner, state):
    version = make_version(model, "2", state=state)
    check = services.start_check(version, by=owner)
    assert (check.champion, check.started_by, check.state) == (champion, owner.email, "running")
    assert versions_of(model)["2"] == ("checking", "")
    assert store.read_routing(model.name) == Routing(champion="1", warm=("2",))
    event = model.events.get()
    assert (event.kind, event.from_state, event.to_state) == ("check_started", state, "checking")
    with pytest.raises(Conflict, match="is being checked already"):
        services.start_check(version, by=owner)


def test_a_version_in_service_is_not_checked(model, champion):
    for version in (champion, make_version(model, "2", "standby")):
        with pytest.raises(Conflict, match="cannot be checked now"):
            services.start_check(version, by=None)


# Retiring -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["registered", "ready", "failed"])
def test_a_version_retires_and_its_history_stays(model, owner, state):
    version = make_version(model, "1", state=state)
    services.retire(version, by=owner, reason="Old.")
    assert versions_of(model) == {"1": ("retired", "")}
    event = model.events.get()
    assert (event.kind, event.from_state, event.to_state, event.reason) == ("retired", state, "retired", "Old.")
    with pytest.raises(Conflict, match="is retired already"):
        services.retire(version, by=owner)


def test_a_retired_standby_or_shadow_is_unloaded(model, champion):
    services.retire(make_version(model, "0", "standby"), by=None)
    services.retire(make_version(model, "3", "shadow"), by=None)
    assert store.read_routing(model.name) == Routing(champion="1")
    assert kinds(model) == ["retired", "retired", "shadow_ended"]
    with pytest.raises(Conflict, match="no version before"):
        services.roll_back(model, by=None)


def test_what_answers_or_is_being_checked_does_not_retire(model, champion):
    for version, why in (
        (champion, "Promote another version first"),
        (make_version(model, "2", "canary"), "End the canary first"),
        (make_version(model, "3", state="checking"), "is being checked"),
    ):
        with pytest.raises(Conflict, match=why):
            services.retire(version, by=None)


def test_files_that_are_deleted_cannot_be_checked_or_deleted_again(model):
    version = make_version(model, "1", state="failed")
    services.retire(version, by=None, delete_artifact=True)
    with pytest.raises(Conflict, match="are deleted already"):
        services.delete_artifact(version, by=None)
    with pytest.raises(Conflict, match="are deleted"):
        services.start_check(version, by=None)
    assert not Rollout.objects.exists()


def test_only_a_retired_version_loses_its_files(model):
    version = make_version(model, "1")
    with pytest.raises(Conflict, match="is not retired"):
        services.delete_artifact(version, by=None)
    assert versions_of(model) == {"1": ("ready", "")}


# Models ---------------------------------------------------------------------------------------------------------------


def test_a_model_is_made_with_a_name_that_the_store_takes(db, owner):
    made = services.create_model(name="photos", kind="image", pool="gpu", title=" Photos ", by=owner)
    assert (made.name, made.title) == ("photos", "Photos")
    with pytest.raises(InvalidInput) as refused:
        services.create_model(name="../photos", kind="sound", pool="tpu", by=owner)
    assert set(refused.value.fields) == {"name", "kind", "pool"}
    with pytest.raises(InvalidInput) as refused:
        services.create_model(name="photos", kind="image", pool="gpu", by=owner)
    assert refused.value.fields == {"name": "Model with this Name already exists."}


def test_of_two_who_make_a_model_at_once_the_second_is_told_that_the_name_is_taken(db, owner):
    def somebody_quicker(**_about: object) -> None:
        pre_save.disconnect(somebody_quicker, ScoringModel)
        services.create_model(name="photos", kind="image", pool="gpu", by=owner)

    pre_save.connect(somebody_quicker, ScoringModel)
    with pytest.raises(InvalidInput) as refused:
        services.create_model(name="photos", kind="image", pool="gpu", by=owner)
    assert refused.value.fields == {"name": "Model with this Name already exists."}
