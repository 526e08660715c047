from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.factories import make_version
from webapp.errors import InvalidInput
from webapp.registry import queries, services
from webapp.registry.models import Event, Version


@pytest.fixture
def event(model, owner) -> Event:
    with transaction.atomic():
        return services.record_event(model, Event.Kind.SETTINGS, by=owner, reason="As asked.")


# What the database refuses --------------------------------------------------------------------------------------------


def sql(statement: str, *values: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_event SET reason = 'another'",
        "UPDATE registry_event SET at = '2020-01-01' WHERE id = %s",
        "DELETE FROM registry_event",
        "DELETE FROM registry_event WHERE id = %s",
        pytest.param(
            "INSERT OR REPLACE INTO registry_event SELECT * FROM registry_event WHERE id = %s", marks=pytest.mark.sqlite
        ),
        pytest.param("UPDATE OR REPLACE registry_event SET id = id", marks=pytest.mark.sqlite),
    ],
)
def test_no_statement_alters_or_deletes_an_event(event, statement):
    values = [event.pk] * statement.count("%s")
    with pytest.raises(IntegrityError, match="history of a model cannot be altered or deleted"):
        sql(statement, *values)
    assert Event.objects.get().reason == "As asked."


def alter(event: Event) -> None:
    event.reason = "another"
    event.save()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(alter, id="save"),
        pytest.param(lambda event: event.delete(), id="delete"),
        pytest.param(lambda _: Event.objects.update(reason="another"), id="update"),
        pytest.param(lambda _: Event.objects.all().delete(), id="delete all"),
        pytest.param(lambda event: Event.objects.bulk_update([event], ["reason"]), id="bulk update"),
        pytest.param(
            lambda event: Event.objects.bulk_create(
                [event], update_conflicts=True, unique_fields=["id"], update_fields=["reason"]
            ),
            id="upsert",
        ),
        pytest.param(lambda event: event.model.delete(), id="delete the model"),
    ],
)
def test_no_code_alters_or_deletes_an_event(event, change):
    with pytest.raises(IntegrityError), transaction.atomic():
        change(event)
    assert Event.objects.get().reason == "As asked."


@pytest.mark.django_db
def test_an_account_that_is_deleted_changes_nothing_in_the_history(event, owner):
    address = owner.email
    owner.delete()
    assert Event.objects.get().actor == address


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["registered", "checking", "failed", "retired"])
def test_no_statement_lets_a_version_serve_that_has_not_passed_its_check(model, state):
    version = make_version(model, "1", state=state)
    with pytest.raises(IntegrityError, match="Only a version that has passed its check may serve"):
        sql(
            "UPDATE registry_version SET state = 'serving', role = 'champion', ready_at = '2026-01-01' WHERE id = %s",
            version.pk,
        )
    with pytest.raises(IntegrityError), transaction.atomic():
        Version.objects.filter(pk=version.pk).update(state="serving", role="champion")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"role": "champion", "state": "ready"},
        {"role": "canary", "state": "serving", "percent": 51},
        {"role": "canary", "state": "serving", "percent": 0},
        {"role": "shadow", "state": "ready", "percent": 101},
        {"role": "champion", "state": "serving", "percent": 1},
        {"role": "standby", "state": "failed"},
        {"role": "", "state": "serving"},
        {"role": "", "state": "ready", "ready_at": None},
        {"role": "", "state": "ready", "artifact_deleted_at": timezone.now()},
    ],
)
def test_the_database_refuses_rows_that_make_no_sense(model, fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        Version.objects.create(model=model, name="1", **{"ready_at": timezone.now(), **fields})


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["champion", "canary", "shadow", "standby"])
def test_a_model_has_one_version_in_each_role(model, role):
    make_version(model, "1", role)
    with pytest.raises(IntegrityError), transaction.atomic():
        make_version(model, "2", role)


def triggers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'registry_%%'")
        return {name for (name,) in cursor.fetchall()}


ALL = {
    "event_not_altered",
    "event_not_deleted",
    "event_not_replaced",
    "version_serves_checked",
    "version_born_unserving",
}


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_the_triggers_outlive_all_migrations_and_can_be_taken_back():
    assert triggers() == ALL
    with connection.schema_editor() as editor:  # a migration that rebuilds the table
        editor._remake_table(Event)
    assert triggers() < ALL
    call_command("migrate", verbosity=0)
    assert triggers() == ALL

    call_command("migrate", "registry", "0001", verbosity=0)
    assert triggers() == set()
    call_command("migrate", verbosity=0)
    assert triggers() == ALL


# What it tells --------------------------------------------------------------------------------------------------------


@pytest.fixture
def eventful(model, monkeypatch, django_capture_on_commit_callbacks) -> dict[str, object]:
    """A morning of the model: each step at its own minute; by name, the moment just after it."""
    from webapp.registry import rollouts
    from webapp.registry.models import Rollout

    start = timezone.now().replace(microsecond=0) - timedelta(hours=3)
    clock = [start]
    monkeypatch.setattr("django.utils.timezone.now", lambda: clock[0])
    moments: dict[str, object] = {"before": start - timedelta(seconds=1)}

    def step(name: str, act) -> None:
        clock[0] += timedelta(minutes=1)
        act()
        moments[name] = clock[0] + timedelta(seconds=10)

    def converge() -> None:
        rollouts._finish(queries.running_rollout(model))

    def switch() -> None:
        rollouts._install(queries.running_rollout(model))

    one, two = make_version(model, "1", state="registered"), make_version(model, "2")
    step("adopted", lambda: services.take_as_champion(one))
    step("canary 10", lambda: services.start_canary(two, 10, by=None))
    step("canary 25", lambda: services.start_canary(two, 25, by=None))
    step("loading", lambda: services.promote(two, by=None, reason="It is better."))
    step("switched", switch)
    step("converged", converge)
    step("shadow", lambda: services.start_shadow(make_version(model, "3"), 50, by=None))
    step("settings", lambda: services.change_settings(model, by=None, title="JavaScript"))
    step("rolled back", lambda: services.roll_back(model, by=None, reason="Complaints."))
    assert Rollout.objects.count() == 2
    return moments


def told(model, moment) -> tuple[object, ...]:
    found = queries.served_at(model, moment)
    canary = found.canary and (found.canary["version"], found.canary["percent"])
    shadow = found.shadow and (found.shadow["version"], found.shadow["percent"])
    return found.champion, canary, shadow, found.standby


@pytest.mark.django_db
def test_what_served_at_any_moment_is_known_with_its_shares(model, eventful):
    assert queries.served_at(model, eventful["before"]) is None
    assert {name: told(model, moment) for name, moment in eventful.items() if name != "before"} == {
        "adopted": ("1", None, None, None),
        "canary 10": ("1", ("2", 10), None, None),
        "canary 25": ("1", ("2", 25), None, None),
        "loading": ("1", ("2", 25), None, None),
        "switched": ("2", None, None, "1"),
        "converged": ("2", None, None, "1"),
        "shadow": ("2", None, ("3", 50), "1"),
        "settings": ("2", None, ("3", 50), "1"),
        "rolled back": ("1", None, None, None),
    }


@pytest.mark.django_db
def test_since_when_it_served_so_and_what_made_it_so_is_known(model, eventful):
    found = queries.served_at(model, eventful["settings"])
    assert found.event.kind == "shadow_started"
    assert found.since == found.event.at == eventful["shadow"] - timedelta(seconds=10)


@pytest.mark.django_db
def test_while_pods_switch_both_champions_are_named(model, eventful):
    found = queries.served_at(model, eventful["switched"])
    assert (found.champion, found.switching_from) == ("2", "1")
    assert found.converged_at == eventful["converged"] - timedelta(seconds=10)
    assert queries.served_at(model, eventful["converged"]).switching_from is None
    found = queries.served_at(model, eventful["rolled back"])
    assert found.event.kind == "rolled_back"
    assert (found.switching_from, found.converged_at) == ("2", None)


@pytest.mark.django_db
def test_the_history_is_told_in_pages_newest_first_and_can_be_narrowed(model, eventful):
    whole = queries.history(model, size=100)
    assert whole.next_cursor is None
    kinds = [event.kind for event in whole.items]
    assert kinds[:4] == ["shadow_ended", "replaced", "rolled_back", "settings"]
    assert kinds[-1] == "adopted"

    paged, cursor = [], None
    while True:
        page = queries.history(model, before=cursor, size=2)
        paged += page.items
        if (cursor := page.next_cursor) is None:
            break
    assert paged == whole.items
    narrowed = queries.history(model, kinds=["promoted", "replaced"], version="2")
    assert [event.kind for event in narrowed.items] == ["replaced", "promoted"]


@pytest.mark.django_db
@pytest.mark.parametrize("cursor", ["x", "-1", "999999", "9" * 40])
def test_a_cursor_from_elsewhere_is_refused(model, event, cursor):
    with pytest.raises(InvalidInput, match="Start again from the newest"):
        queries.history(model, before=cursor)


@pytest.mark.django_db
def test_a_clock_that_was_set_back_does_not_shuffle_the_history(model, event, monkeypatch):
    monkeypatch.setattr("django.utils.timezone.now", lambda: event.at - timedelta(hours=1))
    later = services.record_event(model, Event.Kind.SETTINGS, by=None)
    assert later.at == event.at
    assert [each.pk for each in queries.history(model).items] == [later.pk, event.pk]


@pytest.mark.django_db
def test_changed_settings_are_told_with_what_they_were(model, owner):
    services.change_settings(model, by=owner, quality_tolerance=2.5, title="JavaScript")
    event = model.events.get()
    assert (event.kind, event.actor) == ("settings", owner.email)
    assert event.details == {
        "from": {"title": "", "quality_tolerance": 1.0},
        "to": {"title": "JavaScript", "quality_tolerance": 2.5},
    }
    services.change_settings(model, by=owner, quality_tolerance=2.5)
    assert model.events.count() == 1
    with pytest.raises(InvalidInput) as refused:
        services.change_settings(model, by=owner, error_factor=0.5, latency_tolerance=-1)
    assert set(refused.value.fields) == {"error_factor", "latency_tolerance"}
