"""/api/v1/faq/collections/{slug}/entries: read by who may ask, written by editors."""

import pytest
from django.test import Client

from tests.factories import bearer, make_collection, make_key, make_service
from tests.webapp.answers import assert_problem
from webapp.faq.models import Collection, Entry, Revision

URL = "/api/v1/faq/collections/javascript/entries"
WRITTEN = {"question": "How do I sort?", "answer": "Use `sort()`.", "tags": ["arrays"], "phrasings": ["order it"]}


@pytest.fixture
def collection(owner) -> Collection:
    collection = make_collection()
    collection.editors.add(owner)
    return collection


@pytest.fixture
def key(owner, collection):
    return make_key(owner, "faq:read", "faq:write")


@pytest.fixture
def call(client: Client, key):
    """Calls as the editor's key, unless another is given. headers: others than that."""

    def call(method, path="", body=None, *, by=None, **headers):
        sent = {**bearer(by or key), **headers}
        options = {} if body is None else {"data": body, "content_type": "application/json"}
        return getattr(client, method)(f"{URL}{path}", headers=sent, **options)

    return call


def test_an_entry_is_made_read_changed_and_deleted(call):
    made = call("post", body={**WRITTEN, "id": "sort"})
    assert made.status_code == 201
    assert made["Location"] == f"{URL}/sort"
    read = call("get", "/sort")
    assert read.json() == made.json()
    assert {name: made.json()[name] for name in WRITTEN} == WRITTEN
    assert (made.json()["state"], made.json()["version"], made["ETag"], read["ETag"]) == ("live", 1, '"1"', '"1"')
    changed = call("patch", "/sort", {"answer": "Use `toSorted()`."}, **{"If-Match": '"1"'})
    assert changed.status_code == 200
    assert changed["ETag"] == '"2"'
    assert changed.json()["answer"] == "Use `toSorted()`."
    assert changed.json()["phrasings"] == ["order it"]
    assert call("delete", "/sort", **{"If-Match": '"2"'}).status_code == 204
    assert_problem(call("get", "/sort"), 404, "not-found")
    assert list(Revision.objects.order_by("version").values_list("kind", flat=True)) == [
        "created",
        "changed",
        "deleted",
    ]


def test_a_change_of_what_somebody_else_has_changed_is_refused(call):
    assert call("patch", "/js-1", {"answer": "First"}, **{"If-Match": '"1"'}).status_code == 200
    for seen in ('"1"', '"0"', "nonsense"):
        assert_problem(call("patch", "/js-1", {"answer": "Second"}, **{"If-Match": seen}), 412, "changed-meanwhile")
        assert_problem(call("delete", "/js-1", **{"If-Match": seen}), 412, "changed-meanwhile")
    assert Entry.objects.get(external_id="js-1").answer == "First"
    assert call("patch", "/js-1", {"answer": "Third"}, **{"If-Match": "*"}).status_code == 200
    assert call("patch", "/js-1", {"answer": "Fourth"}).json()["version"] == 4


def test_a_change_of_nothing_is_refused_whatever_version_it_names(call):
    for body in (None, {}):
        problem = assert_problem(call("patch", "/js-1", body, **{"If-Match": '"7"'}), 422, "invalid-input")
        assert problem["errors"][0]["field"] == "body"
    assert Entry.objects.get(external_id="js-1").version == 1


def test_an_entry_may_have_many_phrasings_but_not_any_number(call):
    many = [f"phrasing {number}" for number in range(2_001)]
    assert call("patch", "/js-1", {"phrasings": many[:-1]}).status_code == 200
    problem = assert_problem(call("patch", "/js-1", {"phrasings": many}), 422, "invalid-input")
    assert problem["errors"] == [{"field": "phrasings", "detail": "At most 2,000; these are 2,001."}]


def test_a_client_that_has_the_entry_already_is_told_so(call):
    answer = call("get", "/js-1", **{"If-None-Match": '"1"'})
    assert answer.status_code == 304
    assert call("get", "/js-1", **{"If-None-Match": '"7"'}).status_code == 200


def test_a_creation_sent_twice_creates_once(call):
    first, second = (call("post", body=WRITTEN, **{"Idempotency-Key": "one"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second["Location"] == first["Location"]
    assert Entry.objects.count() == 3


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"question": ""}, "question"),
        ({"answer": None}, "answer"),
        ({"tags": ["a,b"]}, "tags"),
        ({"tags": "arrays"}, "tags"),
        ({"tags": [5]}, "tags.0"),
        ({"answer": 5}, "answer"),
        ({"phrasings": [5]}, "phrasings.0"),
        ({"phrasings": ["p"], "test_phrasings": ["p"]}, "test_phrasings"),
        ({"state": "gone"}, "state"),
        ({"id": "js-1"}, "id"),
        ({"id": "a/b"}, "id"),
    ],
)
def test_what_will_not_do_is_a_422_that_names_the_field(call, changed, field):
    problem = assert_problem(call("post", body={**WRITTEN, **changed}), 422, "invalid-input")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert Entry.objects.count() == 2


def test_lists_come_in_pages_by_state_tag_and_words(call, collection):
    for number in range(3):
        call("post", body={**WRITTEN, "id": f"e{number}", "state": "draft", "tags": ["new"]})
    first = call("get", "?tag=new&limit=2")
    assert [each["id"] for each in first.json()["data"]] == ["e2", "e1"]
    assert 'rel="next"' in first["Link"]
    rest = call("get", f"?tag=new&limit=2&cursor={first.json()['next_cursor']}")
    assert [each["id"] for each in rest.json()["data"]] == ["e0"]
    assert [each["id"] for each in call("get", "?state=live&q=closure").json()["data"]] == ["js-2"]
    assert_problem(call("get", "?state=gone"), 422, "invalid-input")


def test_readers_see_live_entries_alone(call, owner, stranger):
    call("post", body={**WRITTEN, "id": "draft", "state": "draft"})
    for reader in (make_key(stranger, "faq:read", "faq:write"), make_key(owner, "faq:read", name="Reader")):
        assert {each["id"] for each in call("get", by=reader).json()["data"]} == {"js-1", "js-2"}
        assert call("get", "?state=draft", by=reader).json()["data"] == []
        assert_problem(call("get", "/draft", by=reader), 404, "not-found")


def test_only_editors_write_and_only_with_the_scope(call, owner, stranger):
    reader = make_key(owner, "faq:read", name="Reader")
    assert_problem(call("post", body=WRITTEN, by=reader), 403, "not-allowed")
    assert_problem(call("post", body=WRITTEN, by=make_key(stranger, "faq:write")), 403, "not-allowed")
    assert_problem(
        call("delete", "/js-1", by=make_key(stranger, "faq:write", name="2"), **{"If-Match": "*"}), 403, "not-allowed"
    )
    assert call("post", body=WRITTEN, by=make_key(make_service(owner), "faq:write")).status_code == 201


def test_a_collection_that_one_may_not_ask_is_not_there(call, collection, stranger):
    Collection.objects.update(visibility="groups")
    theirs = make_key(stranger, "faq:read", "faq:write")
    hidden = assert_problem(call("get", by=theirs), 404, "not-found")
    assert_problem(call("post", body=WRITTEN, by=theirs), 404, "not-found")
    Collection.objects.all().delete()
    assert assert_problem(call("get", by=theirs), 404, "not-found")["detail"] == hidden["detail"]
