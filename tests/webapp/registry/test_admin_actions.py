"""What people do with models by the pages of the admin, each action through its own address."""

import pytest
from django.test import Client

from tests.factories import make_member, make_version
from tests.webapp.registry.conftest import versions_of
from webapp.registry.models import Check, Version
from webapp.registry.publishing import publish

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("pods")]

MODEL = "/admin/models/faq-javascript/"


@pytest.fixture
def operator() -> Client:
    return signed_in("operator")


@pytest.fixture
def old(model) -> Version:
    champion = make_version(model, "1", "champion")
    publish(model)
    return champion


@pytest.fixture
def new(model, old) -> Version:
    version = make_version(model, "2", size=12_300_000, manifest={"memory": 40_000_000})
    Check.objects.create(version=version, champion=old, state="passed", report={"verdict": {"worse": []}})
    return version


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(make_member(role))
    return client


def text_of(answer) -> str:
    """The words of a page, in one line."""
    return " ".join(answer.content.decode().split())


def do(client: Client, action: str, **fields: object) -> str:
    """Presses the action's button; the message on the page that it leads to."""
    answer = client.post(f"{MODEL}{action}", fields, follow=True)
    assert answer.redirect_chain, text_of(answer)
    return " ".join(str(message) for message in answer.context["messages"])


# Promotion and back ---------------------------------------------------------------------------------------------------


def test_a_promotion_says_first_what_it_will_do_and_then_does_it(model, new, operator, work):
    asked = text_of(operator.get(f"{MODEL}versions/2/promote"))
    assert "Promote version 2 of faq-javascript?" in asked
    assert "Both CPU pods load version 2, verify its files and warm it up; version 1 answers meanwhile." in asked
    assert "It needs about 40 MB of memory on each." in asked
    assert "Version 1 stays loaded as the standby" in asked
    assert versions_of(model)["2"] == ("ready", ""), "asking changes nothing"

    assert "has begun" in do(operator, "versions/2/promote", reason="better")
    work()
    assert versions_of(model) == {"1": ("ready", "standby"), "2": ("serving", "champion")}
    assert model.events.get(kind="promoted").reason == "better"


def test_the_page_shows_each_pod_while_a_promotion_is_under_way(model, new, operator, pods):
    pods[1].looks = 10**6
    do(operator, "versions/2/promote")
    page = text_of(operator.get(f"{MODEL}live"))
    assert "Promoting version 2" in page
    assert "1 of 2 ready pods" in page
    assert "Loaded and warm" in page
    assert "Verifies its files, loads it and warms it up" in page
    assert 'data-every="1"' in page


def test_the_page_waits_for_the_pods_that_a_first_promotion_waits_for(model, operator, pods):
    make_version(model, "1")
    pods[0].ready = pods[1].ready = False  # for want of this very version
    pods[1].looks = 10**6
    do(operator, "versions/1/promote")
    page = text_of(operator.get(f"{MODEL}live"))
    assert "1 of 2 pods" in page
    assert "Loaded and warm" in page
    assert "not waited for" not in page


def test_a_pod_that_is_not_ready_is_not_counted_where_another_version_serves(model, new, operator, pods):
    pods[0].looks = 10**6
    pods[1].ready = False
    do(operator, "versions/2/promote")
    page = text_of(operator.get(f"{MODEL}live"))
    assert "0 of 1 ready pods" in page
    assert "Not ready and not waited for." in page


def test_a_promotion_can_be_cancelled_until_the_pods_switch(model, new, operator, pods, work):
    pods[1].looks = 10**6
    do(operator, "versions/2/promote")
    assert "Version 1 serves on" in text_of(operator.get(f"{MODEL}cancel"))
    assert "cancelled" in do(operator, "cancel")
    work()
    assert versions_of(model) == {"1": ("serving", "champion"), "2": ("ready", "")}
    assert "nothing to cancel" in do(operator, "cancel", rollout=1)


def test_the_page_says_why_a_promotion_has_failed(model, new, operator, pods, work):
    pods[1].broken = {"2": "model.npy is damaged"}
    do(operator, "versions/2/promote")
    work()
    page = text_of(operator.get(MODEL))
    assert "Version 2 could not be promoted" in page
    assert "model.npy is damaged" in page
    assert "Version 1 serves on, as before." in page


def test_a_version_that_is_worse_asks_for_a_reason(model, new, operator):
    sentence = "Accuracy@1 is 80 %, 5.0 percentage points below version 1 (tolerated: 1.0)."
    new.checks.update(report={"verdict": {"worse": [sentence]}})
    assert sentence in text_of(operator.get(f"{MODEL}versions/2/promote"))
    answer = operator.post(f"{MODEL}versions/2/promote", {"reason": " "})
    assert answer.status_code == 422
    assert "Say why it shall serve all the same." in text_of(answer)
    assert versions_of(model)["2"] == ("ready", "")
    assert "has begun" in do(operator, "versions/2/promote", reason="The old one is wrong about prices.")


def test_a_rollback_goes_to_the_version_that_the_page_named_and_to_no_other(model, new, operator):
    standby = make_version(model, "0", "standby")
    page = text_of(operator.get(f"{MODEL}roll-back"))
    assert "Version 0 answers all requests again. It is loaded on 0 of 2 ready CPU pods." in page
    assert '<input type="hidden" name="version" value="0"' in page
    Version.objects.filter(pk=standby.pk).update(role="", role_since=None)
    Version.objects.filter(pk=new.pk).update(role="standby")
    assert "Decide again" in do(operator, "roll-back", version="0")
    assert versions_of(model)["1"] == ("serving", "champion")
    assert "Rolled back to version 2." in do(operator, "roll-back", version="2")
    assert versions_of(model)["2"] == ("serving", "champion")


# Trials ---------------------------------------------------------------------------------------------------------------


def test_a_canary_starts_changes_its_share_and_ends(model, new, operator):
    assert "Start a canary with version 2?" in text_of(operator.get(f"{MODEL}versions/2/canary"))
    do(operator, "versions/2/canary", percent=10)
    assert model.versions.get(role="canary").percent == 10
    assert "Change the share of version 2?" in text_of(operator.get(f"{MODEL}versions/2/canary"))
    assert "now answers 25 %" in do(operator, "versions/2/canary", percent=25)
    page = text_of(operator.get(MODEL))
    assert "Canary: version 2 beside 1" in page
    assert "25 %" in page
    do(operator, "end-canary", reason="seen enough")
    assert versions_of(model)["2"] == ("ready", "")
    assert model.events.first().reason == "seen enough"


@pytest.mark.parametrize(
    ("action", "percent", "refusal"),
    [("canary", "51", "from 1 to 50"), ("canary", "0", "from 1 to 50"), ("shadow", "101", "from 1 to 100"),
     ("canary", "ten", "from 1 to 50"), ("shadow", "", "from 1 to 100"), ("shadow", "1.5", "from 1 to 100")],
)  # fmt: skip
def test_a_share_that_makes_no_sense_is_refused_at_its_field(new, operator, action, percent, refusal):
    answer = operator.post(f"{MODEL}versions/2/{action}", {"percent": percent, "reason": "kept"})
    assert answer.status_code == 422
    assert refusal in text_of(answer)
    assert "kept" in text_of(answer), "what was typed stays"
    assert versions_of(new.model)["2"] == ("ready", "")


def test_a_shadow_starts_and_ends(model, new, operator):
    do(operator, "versions/2/shadow", percent=100)
    assert versions_of(model)["2"] == ("ready", "shadow")
    assert "Shadow: version 2 beside 1" in text_of(operator.get(MODEL))
    do(operator, "end-shadow")
    assert versions_of(model)["2"] == ("ready", "")


# Versions -------------------------------------------------------------------------------------------------------------


def test_a_check_can_be_started_again(model, new, operator):
    assert "Its smoke inputs are scored" in text_of(operator.get(f"{MODEL}versions/2/check"))
    answer = operator.post(f"{MODEL}versions/2/check")
    assert answer["Location"] == f"{MODEL}versions/2/"
    assert versions_of(model)["2"] == ("checking", "")


def test_retiring_keeps_the_files_unless_they_are_to_be_deleted(model, new, operator):
    page = text_of(operator.get(f"{MODEL}versions/2/retire"))
    assert "Its files (12.3 MB) stay" in page
    assert "delete_artifact" not in page, "an operator is not offered what only an admin may do"
    do(operator, "versions/2/retire", delete_artifact="on")
    new.refresh_from_db()
    assert (new.state, new.artifact_deleted_at) == ("retired", None)

    admin = signed_in("admin")
    assert operator.post(f"{MODEL}versions/2/delete-artifact").status_code == 403
    do(admin, "versions/2/delete-artifact")
    new.refresh_from_db()
    assert new.artifact_deleted_at is not None
    assert "deleted already" in do(admin, "versions/2/delete-artifact")


def test_files_of_a_version_in_use_are_not_deleted(model, new):
    assert "is not retired" in do(signed_in("admin"), "versions/2/delete-artifact")
    assert versions_of(model)["2"] == ("ready", "")


# Clicks that come too late, or twice ----------------------------------------------------------------------------------

EVERY_ACTION = [
    "roll-back", "cancel", "end-canary", "end-shadow", "versions/1/promote", "versions/1/canary", "versions/1/shadow",
    "versions/1/check", "versions/1/retire",
]  # fmt: skip


@pytest.mark.parametrize("action", EVERY_ACTION)
def test_an_action_that_does_not_fit_is_a_message_and_changes_nothing(model, old, operator, action):
    asked = operator.get(f"{MODEL}{action}", follow=True)
    assert [message.level_tag for message in asked.context["messages"]] == ["info"]
    answer = operator.post(f"{MODEL}{action}", {"percent": 10}, follow=True)
    assert [message.level_tag for message in answer.context["messages"]] == ["error"]
    if action != "cancel":  # the one form that says which promotion it means
        assert [str(message) for message in answer.context["messages"]] == [
            str(message) for message in asked.context["messages"]
        ], "the same reason before the click and after"
    assert versions_of(model) == {"1": ("serving", "champion")}
    assert model.events.count() == 0


def test_a_second_click_does_nothing_twice(model, new, operator):
    do(operator, "versions/2/promote")
    assert "is being promoted" in do(operator, "versions/2/promote")
    assert model.rollouts.count() == 1


# Rights ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action", [*EVERY_ACTION, "versions/1/delete-artifact", "upload", "evaluation-set", "settings"]
)
def test_a_viewer_looks_and_does_nothing(model, old, action):
    viewer = signed_in("viewer")
    assert viewer.get(f"{MODEL}{action}").status_code == 403
    assert viewer.post(f"{MODEL}{action}").status_code == 403
    assert viewer.post("/admin/models/", {"name": "x", "kind": "faq", "pool": "cpu"}).status_code == 403
    for page in ("/admin/models/", MODEL, f"{MODEL}live", f"{MODEL}versions/1/", f"{MODEL}versions/1/live"):
        answer = viewer.get(page)
        assert answer.status_code == 200
        assert "data-confirms" not in text_of(answer)


@pytest.mark.parametrize("action", ["upload", "evaluation-set", "settings", "versions/1/delete-artifact"])
def test_an_operator_neither_registers_nor_deletes_nor_sets_the_rules(model, old, operator, action):
    assert operator.get(f"{MODEL}{action}").status_code == 403
    assert operator.post(f"{MODEL}{action}").status_code == 403


def test_strangers_and_people_without_a_role_do_not_get_in(model, old, client, owner):
    assert client.get(MODEL, follow=True).redirect_chain[-1][0].startswith("/accounts/login/")
    client.force_login(owner)
    assert client.get(MODEL, follow=True).status_code == 403
    assert client.post(f"{MODEL}roll-back", follow=True).status_code == 403


def test_forms_need_their_safety_token(model, new):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_member("admin"))
    for action in ("versions/2/promote", "upload"):
        assert client.post(f"{MODEL}{action}").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/admin/models/none/",
        "/admin/models/no%00ne/",
        f"{MODEL}versions/%00/",
        f"{MODEL}versions/9/",
        f"{MODEL}versions/9/promote",
    ],
)
def test_what_is_not_there_is_not_found(model, old, operator, path):
    assert operator.get(path).status_code == 404
    assert operator.post(path).status_code in {404, 405}
