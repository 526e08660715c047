"""GET /api/v1/models and /api/v1/models/{name}/history."""

from datetime import timedelta

import httpx2 as httpx
import pytest
from django.contrib.auth.models import Permission

from tests.factories import bearer, make_key, make_model, make_user, make_version
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods
from webapp.registry import services
from webapp.registry.models import ScoringModel

URL = "/api/v1/models"


def test_any_key_may_list_the_models(client, owner, scoring: Pods):
    scoring.models["gpu"][0]["metrics"] = {"accuracy@1": 0.78}
    answer = client.get(URL, headers=bearer(make_key(owner, "faq:read")))
    assert answer.status_code == 200
    assert answer.json()["models"][1] == {
        "name": "resnet152",
        "kind": "image",
        "title": "ResNet-152",
        "description": "",
        "sample": False,
        "version": "1",
        "ready": True,
        "reason": "",
        "metrics": {"accuracy@1": 0.78},
        "versions": [],
    }


def test_each_model_comes_with_the_state_of_its_versions(client, owner_key, scoring: Pods):
    model = make_model()
    for name, role in (("1", "standby"), ("2", "champion"), ("3", "canary")):
        make_version(model, name, role, metrics={"mrr": 0.9})
    make_version(model, "4", state="failed")
    listed = client.get(URL, headers=bearer(owner_key)).json()["models"][0]
    assert [
        (each["version"], each["state"], each["role"], each["percent"], each["ready_at"] is not None)
        for each in listed["versions"]
    ] == [
        ("4", "failed", "", 0, False),
        ("3", "serving", "canary", 10, True),
        ("2", "serving", "champion", 0, True),
        ("1", "ready", "standby", 0, True),
    ]
    assert listed["versions"][1]["metrics"] == {"mrr": 0.9}


def test_a_model_that_no_pod_tells_of_is_listed_with_the_reason(client, owner_key, scoring: Pods):
    make_model("new", title="Brand new")
    make_version(make_model("old"), "1", "champion", manifest={"description": "Of old.", "sample": True})
    listed = {each["name"]: each for each in client.get(URL, headers=bearer(owner_key)).json()["models"]}
    new, old = listed["new"], listed["old"]
    assert (new["title"], new["version"], new["ready"]) == ("Brand new", "", False)
    assert new["reason"] == "No version of it serves yet."
    assert (old["description"], old["sample"], old["version"]) == ("Of old.", True, "1")
    assert old["reason"] == "No pod has loaded it."


def test_a_stranger_is_a_401(client, db):
    assert_problem(client.get(URL), 401, "not-signed-in")


def test_when_all_pods_are_gone_it_is_a_503(client, owner_key, scoring: Pods, monkeypatch):
    def gone(_request):
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(scoring, "behave", gone)
    answer = client.get(URL, headers=bearer(owner_key))
    assert_problem(answer, 503, "scoring-unavailable")
    assert "Retry-After" in answer


# History --------------------------------------------------------------------------------------------------------------

HISTORY = f"{URL}/faq-javascript/history"


@pytest.fixture
def viewer(db):
    person = make_user("viewer@example.com")
    person.user_permissions.add(Permission.objects.get(content_type__app_label="registry", codename="view_event"))
    return person


@pytest.fixture
def viewer_key(viewer):
    return make_key(viewer, "admin:read")


@pytest.fixture
def history(model_store, owner) -> ScoringModel:
    """A version that serves, then a canary of 10 and 20 percent."""
    model = make_model()
    services.take_as_champion(make_version(model, "1", state="registered"))
    canary = make_version(model, "2", metrics={"mrr": 0.9})
    services.start_canary(canary, 10, by=owner, reason="Try it.")
    services.start_canary(canary, 20, by=owner)
    return model


def test_the_history_tells_who_changed_what_and_why(client, viewer_key, history, owner):
    answer = client.get(HISTORY, headers=bearer(viewer_key))
    assert answer.status_code == 200
    told = answer.json()
    assert [event["kind"] for event in told["data"]] == ["canary_changed", "canary_started", "adopted"]
    started = told["data"][1]
    at = history.events.get(kind="canary_started").at.isoformat().replace("+00:00", "Z")
    assert {name: started[name] for name in started if name != "id"} == {
        "at": at,
        "kind": "canary_started",
        "version": "2",
        "actor": owner.email,
        "from_state": "ready",
        "to_state": "serving",
        "reason": "Try it.",
        "metrics": {"mrr": 0.9},
        "details": {"percent": 10},
        "serving": {
            "champion": "1",
            "canary": {"version": "2", "percent": 10},
            "shadow": None,
            "standby": None,
        },
    }
    assert (told["model"], told["served"], told["next_cursor"]) == ("faq-javascript", None, None)


def test_a_time_in_gives_the_versions_and_percentages_out(client, viewer_key, history):
    at = history.events.get(kind="canary_started").at
    told = client.get(HISTORY, {"at": at.isoformat()}, headers=bearer(viewer_key)).json()
    assert told["served"]["champion"] == "1"
    assert told["served"]["canary"] == {"version": "2", "percent": 10}
    assert [event["kind"] for event in told["data"]] == ["canary_started", "adopted"]
    before = at - timedelta(days=1)
    told = client.get(HISTORY, {"at": before.isoformat()}, headers=bearer(viewer_key)).json()
    assert (told["served"], told["data"]) == (None, [])


def test_the_history_comes_in_pages(client, viewer_key, history):
    seen, asked = [], {"limit": 2}
    while True:
        page = client.get(HISTORY, asked, headers=bearer(viewer_key)).json()
        seen += [event["kind"] for event in page["data"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        asked["cursor"] = page["next_cursor"]
    assert seen == ["canary_changed", "canary_started", "adopted"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"at": "yesterday"}, "at"),
        ({"at": "9000-01-01T00:00:00Z"}, "at"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(client, viewer_key, history, asked, field):
    problem = assert_problem(client.get(HISTORY, asked, headers=bearer(viewer_key)), 422, "invalid-input")
    assert [each["field"] for each in problem["errors"]] == [field]


def test_the_history_needs_the_scope_and_the_permission(client, viewer, owner, history):
    assert_problem(client.get(HISTORY), 401, "not-signed-in")
    problem = assert_problem(client.get(HISTORY, headers=bearer(make_key(viewer, "faq:read"))), 403, "not-allowed")
    assert "admin:read" in problem["detail"]
    problem = assert_problem(client.get(HISTORY, headers=bearer(make_key(owner, "admin:read"))), 403, "not-allowed")
    assert "viewer" in problem["detail"]


@pytest.mark.parametrize("name", ["nothing", "%00", "faq-javascript%00", "a" * 300])
def test_the_history_of_an_unknown_model_is_a_404(client, viewer_key, history, name):
    assert_problem(client.get(f"{URL}/{name}/history", headers=bearer(viewer_key)), 404, "not-found")
