"""Several FAQs side by side: who may ask which, on the page and by API."""

import re

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache

from tests.factories import bearer, make_collection, make_key, make_member, make_model, make_service, make_version
from tests.webapp.answers import assert_problem
from tests.webapp.pods import Pods, refusal
from webapp.faq.models import Collection
from webapp.registry.models import ScoringModel
from webapp.usage.models import ScoringRecord

MATCH = "/api/v1/faq/match"
TERMS = {"question": ["copy"], "entry": ["copy"]}
PART = {"HX-Request": "true", "HX-Target": "results"}


@pytest.fixture
def pods(db, scoring: Pods) -> Pods:
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]
    return scoring


@pytest.fixture
def public(pods) -> Collection:
    return make_collection(visibility="public")


@pytest.fixture
def staff_only(pods) -> Collection:
    """Beside one for everybody signed in; its group is "staff"."""
    make_collection()
    collection = make_collection(
        slug="handbook", name="Handbook", model_name="faq-handbook", is_default=False, visibility="groups"
    )
    collection.groups.add(Group.objects.create(name="staff"))
    return collection


def ask(client, key, **body):
    return client.post(MATCH, {"question": "copy", **body}, content_type="application/json", headers=bearer(key))


def test_each_collection_has_its_own_page_and_model(owner_client, pods):
    make_collection()
    make_collection("Why indent?", slug="python", name="Python", model_name="faq-python", is_default=False)
    page = owner_client.get("/faq/python/", {"q": "why"})
    assert "Why indent?" in page.text
    assert "How do I copy an array?" not in page.text
    assert pods.sent[-1].url.path == "/v2/models/faq-python/infer"
    assert "&quot;collection&quot;: &quot;python&quot;" in page.text  # use by API asks the same


def test_a_page_offers_the_other_collections_where_there_are_some(owner_client, pods):
    make_collection()
    assert 'aria-label="Collections"' not in owner_client.get("/faq/").text
    make_collection(slug="python", name="Python", model_name="faq-python", is_default=False)
    page = owner_client.get("/faq/").text
    assert 'href="/faq/python/"' in page
    assert 'href="/faq/javascript/" aria-current="page"' in page


def test_a_question_sent_on_the_page_of_a_collection_stays_there(owner_client, pods):
    make_collection()
    make_collection(slug="python", name="Python", model_name="faq-python", is_default=False)
    assert owner_client.post("/faq/python/", {"q": "why?"})["Location"] == "/faq/python/?q=why%3F"


def test_the_history_leads_back_to_the_collection_that_was_asked(owner_client, pods):
    make_collection()
    make_collection("Why indent?", slug="python", name="Python", model_name="faq-python", is_default=False)
    owner_client.get("/faq/python/", {"q": "why?"})
    link = re.search(r'href="(/faq/[^"]*)">', owner_client.get("/history/").text.partition("<tbody>")[2])
    assert link
    again = owner_client.get(link[1].replace("&amp;", "&"), follow=True)
    assert again.context["collection"].slug == "python"
    assert again.context["question"] == "why?"


def test_answers_say_which_language_they_are_in(owner_client, pods):
    make_collection(language="de")
    assert '<div class="prose" lang="de">' in owner_client.get("/faq/", {"q": "copy"}).text


def test_what_a_group_may_ask_is_to_others_as_if_it_were_not_there(
    owner_client, owner_key, client_of_nobody, staff_only
):
    hidden, none = owner_client.get("/faq/handbook/"), owner_client.get("/faq/nothing/")
    assert hidden.status_code == none.status_code == 404
    assert "There is no collection" in hidden.text
    assert "Handbook" not in hidden.text
    assert "Handbook" not in owner_client.get("/faq/").text
    problems = [
        assert_problem(ask(owner_client, owner_key, collection=name), 404, "not-found")
        for name in ("handbook", "nothing")
    ]
    assert {each["detail"].replace("handbook", "nothing") for each in problems} == {problems[1]["detail"]}
    listed = owner_client.get("/api/v1/faq/collections", headers=bearer(owner_key)).json()["data"]
    assert [each["slug"] for each in listed] == ["javascript"]
    assert_problem(owner_client.get("/api/v1/faq/collections/handbook", headers=bearer(owner_key)), 404, "not-found")
    sent_away = [client_of_nobody.get(f"/faq/{name}/")["Location"] for name in ("handbook", "nothing")]
    assert sent_away == ["/accounts/login/?next=/faq/handbook/", "/accounts/login/?next=/faq/nothing/"]


def test_a_member_of_the_group_may_ask_and_so_may_a_service_account_of_theirs(client, owner, owner_key, staff_only):
    owner.groups.add(Group.objects.get(name="staff"))
    assert ask(client, owner_key, collection="handbook").status_code == 200
    assert ask(client, make_key(make_service(owner)), collection="handbook").status_code == 200


def test_whoever_sees_collections_in_the_admin_may_ask_all_of_them(client, staff_only):
    client.force_login(make_member("viewer"))
    assert client.get("/faq/handbook/").status_code == 200


@pytest.mark.parametrize("within", ["outside", "inside"])
def test_its_model_is_named_to_those_who_may_ask_it_and_to_nobody_else(owner_client, owner, owner_key, pods, within):
    collection = make_collection(slug="handbook", model_name="faq-handbook", visibility="groups")
    collection.groups.add(Group.objects.create(name="staff"))
    if within == "inside":
        owner.groups.add(Group.objects.get(name="staff"))
    make_version(make_model("faq-handbook", title="Handbook"), "1", "champion")
    pods.models["cpu"] = [
        {"name": "faq-handbook", "kind": "faq", "title": "Handbook", "state": "UNAVAILABLE", "reason": "broken"}
    ]
    pods.states["cpu"] = {"ready": False, "reason": "version 1 of faq-handbook cannot be loaded"}
    cache.clear()  # what two seconds ago was is kept
    told = [
        owner_client.get("/status").text,
        owner_client.get("/api/v1/models", headers=bearer(owner_key)).text,
    ]
    for each in told:
        assert ("handbook" in each.lower()) == (within == "inside")
    assert "resnet152" in told[1]


def test_a_batch_for_a_hidden_collection_is_refused_as_for_none(client, owner, staff_only):
    key = make_key(owner, "batch", "faq:read")
    lines = b'{"question": "copy"}\n'
    for name in ("handbook", "nothing"):
        answer = client.post(
            f"/api/v1/batches?kind=faq&collection={name}", lines, content_type="application/jsonl", headers=bearer(key)
        )
        problem = assert_problem(answer, 422, "invalid-input")
        assert problem["errors"] == [{"field": "collection", "detail": f"There is no collection {name!r}."}]


# Public ones ----------------------------------------------------------------------------------------------------------


def test_a_visitor_may_ask_a_public_collection_and_has_no_history(client, public, pods):
    page = client.get("/faq/", {"q": "how to copy"})
    assert page.status_code == 200
    assert "Answer <strong>1</strong>" in page.text
    assert "Use by API" not in page.text
    assert not ScoringRecord.objects.exists()
    assert pods.inferences()[-1].parameters["routing_key"].startswith("visitor:")


def test_a_visitor_is_told_of_the_public_collection_at_the_front_door(client, public):
    assert 'href="/faq/">Ask the FAQ' in client.get("/").text
    Collection.objects.update(visibility="signed-in")
    assert "Ask the FAQ" not in client.get("/").text


def test_a_visitor_finds_the_public_collection_where_the_default_one_is_not(client, pods):
    make_collection("Mine?", slug="inner", model_name="faq-inner")
    make_collection(visibility="public", is_default=False)
    page = client.get("/faq/", {"q": "how to copy"})
    assert page.context["collection"].slug == "javascript"
    assert "inner" not in page.text


def test_a_visitor_still_needs_a_key_for_the_api(client, public):
    assert_problem(client.post(MATCH, {"question": "copy"}, content_type="application/json"), 401, "not-signed-in")


def test_visitors_of_one_network_share_a_limit_and_other_networks_have_their_own(client, public, settings):
    settings.RATE_LIMIT_VISITORS = 2
    here = [client.get("/faq/", {"q": f"copy {number}"}, headers=PART).status_code for number in range(3)]
    assert here == [200, 200, 429]
    refused = client.get("/faq/", {"q": "copy"})
    assert "came from your network" in refused.text
    assert int(refused["Retry-After"]) >= 1
    assert client.get("/faq/", {"q": "copy"}, REMOTE_ADDR="192.0.2.7").status_code == 200


def test_a_person_is_not_held_up_by_the_limit_of_visitors(owner_client, public, settings):
    settings.RATE_LIMIT_VISITORS = 0
    assert owner_client.get("/faq/", {"q": "copy"}).status_code == 200


# Its model ------------------------------------------------------------------------------------------------------------


def test_a_collection_without_a_model_says_so_before_and_after_a_question(owner_client, owner_key, pods):
    make_collection()
    make_model("faq-javascript")
    assert "JavaScript has no model yet" in owner_client.get("/faq/").text
    pods.answers(refusal(404, "there is no model faq-javascript"))
    asked = owner_client.get("/faq/", {"q": "copy"})
    assert asked.status_code == 503
    assert "JavaScript has no model yet" in asked.text
    problem = assert_problem(ask(owner_client, owner_key), 503, "scoring-unavailable")
    assert "has no model yet" in problem["detail"]


def test_a_collection_whose_model_serves_does_not_say_that_it_has_none(owner_client, owner_key, pods):
    make_collection()
    make_version(make_model("faq-javascript"), "1", "champion")
    assert "no model yet" not in owner_client.get("/faq/").text
    told = owner_client.get("/api/v1/faq/collections/javascript", headers=bearer(owner_key)).json()
    assert told == {
        "slug": "javascript",
        "name": "JavaScript",
        "description": "",
        "language": "en",
        "visibility": "signed-in",
        "is_default": True,
        "model": "faq-javascript",
        "threshold": None,
        "has_model": True,
        "entries": 2,
    }


def test_the_api_lists_collections_a_page_at_a_time(client, owner_key, pods):
    for name in ("one", "two", "three"):
        make_collection(slug=name, model_name=f"faq-{name}", is_default=False)
    first = client.get("/api/v1/faq/collections", {"limit": 2}, headers=bearer(owner_key)).json()
    assert [each["slug"] for each in first["data"]] == ["three", "two"]
    cursor = {"cursor": first["next_cursor"]}
    assert [
        each["slug"] for each in client.get("/api/v1/faq/collections", cursor, headers=bearer(owner_key)).json()["data"]
    ] == ["one"]


# In the admin ---------------------------------------------------------------------------------------------------------

ADDED = {
    "kept_days": 90,
    "name": "Python",
    "slug": "python",
    "language": "en",
    "visibility": "public",
    "model_name": "",
    "description": "",
}


@pytest.fixture
def add(client, admin, settings):
    settings.ADMIN_MFA_REQUIRED = False
    client.force_login(admin)

    def add(**changed):
        return client.post("/admin/faq/collection/add/", {**ADDED, **changed})

    return add


def test_a_new_collection_has_a_model_of_its_own_in_the_registry(add):
    assert add().status_code == 302
    assert Collection.objects.get().model_name == "faq-python"
    model = ScoringModel.objects.get()
    assert (model.name, model.kind, model.pool, model.title) == ("faq-python", "faq", "cpu", "Python FAQ")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"language": "English, please"}, "Write the language as a tag"),
        ({"visibility": "groups"}, "Choose the groups"),
        ({"model_name": "resnet152"}, "no FAQ matcher"),
        ({"model_name": "faq-javascript"}, "already exists"),
        ({"slug": "javascript"}, "already exists"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(add, changed, words):
    make_collection()
    make_model("resnet152", kind="image", pool="gpu")
    answer = add(**changed)
    assert answer.status_code == 200
    assert words in answer.text
    assert not Collection.objects.filter(slug="python").exists()


def test_a_collection_is_deleted_with_its_entries(add, client):
    collection = make_collection()
    assert client.post(f"/admin/faq/collection/{collection.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Collection.objects.exists()
