"""Webhooks by API: a key with the scope, and what a stranger's key does not find."""

import uuid

import pytest

from tests.factories import WEBHOOK_SECRET, bearer, make_key, make_webhook
from tests.webapp.answers import assert_problem
from webapp.errors import NotFound
from webapp.webhooks import deliveries, services
from webapp.webhooks.models import Delivery, Endpoint, EventType

pytestmark = pytest.mark.django_db
LIST = "/api/v1/webhooks"


class Caller:
    """Calls the API with a key."""

    def __init__(self, client, key) -> None:
        self.client, self.key = client, key

    def __call__(self, method, path, data=None, **headers):
        ask = getattr(self.client, method)
        sent = {} if data is None else {"data": data, "content_type": "application/json"}
        return ask(path, headers={**bearer(self.key), **headers}, **sent)


@pytest.fixture
def call(client, owner) -> Caller:
    return Caller(client, make_key(owner, "webhooks", name="Hooks"))


@pytest.fixture
def webhook(owner, receiver) -> Endpoint:
    return make_webhook(owner, url=receiver.url)


def test_a_webhook_is_made_read_changed_and_deleted(call, owner, receiver, happens):
    made = call("post", LIST, {"url": receiver.url, "event_types": ["batch.failed"], "description": "Import"})
    assert made.status_code == 201, made.content
    told = made.json()
    where = made["Location"]
    assert where == f"{LIST}/{told['id']}"
    secret = told.pop("secret")
    assert call("get", where).json() == told
    assert call("get", LIST).json()["data"] == [told]
    happens(owner, event="batch.failed")
    deliveries.deliver_next()
    assert receiver.received[0].verified(secret)
    changed = call("patch", where, {"event_types": ["batch.completed", "batch.expired"]}).json()
    assert changed == {**told, "event_types": ["batch.completed", "batch.expired"]}
    assert call("delete", where).status_code == 204
    assert_problem(call("get", where), 404, "not-found")


def test_all_events_are_meant_where_none_are_named(call, receiver):
    assert call("post", LIST, {"url": receiver.url}).json()["event_types"] == EventType.values


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": "http://169.254.169.254/"}, "url"),
        ({"url": ""}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.exploded"]}, "event_types[0]"),
        ({"description": "x" * 201}, "description"),
        ({"description": 0}, "description"),
        ({"url": 0}, "url"),
    ],
)
def test_what_will_not_do_is_named(call, receiver, changed, field):
    problem = assert_problem(call("post", LIST, {"url": receiver.url, **changed}), 422, "invalid-input")
    assert problem["errors"][0]["field"].startswith(field.partition("[")[0])
    assert not Endpoint.objects.exists()


def test_ten_are_all_one_can_have(call, owner, receiver):
    for _ in range(10):
        make_webhook(owner)
    assert_problem(call("post", LIST, {"url": receiver.url}), 409, "conflict")


def test_made_twice_with_one_idempotency_key_it_is_one_with_one_secret(call, receiver):
    first, second = (call("post", LIST, {"url": receiver.url}, **{"Idempotency-Key": "abc"}) for _ in range(2))
    assert first.json() == second.json()
    assert Endpoint.objects.count() == 1


def test_it_can_be_disabled_and_enabled(call, webhook):
    where = f"{LIST}/{webhook.pk}"
    told = call("patch", where, {"enabled": False}).json()
    assert (told["enabled"], told["disabled"]) == (False, "owner")
    assert_problem(call("post", f"{where}/test"), 409, "conflict")
    assert call("patch", where, {"enabled": True}).json()["disabled"] == ""


def test_a_change_of_nothing_is_a_mistake_and_a_number_is_no_truth(call, webhook):
    assert_problem(call("patch", f"{LIST}/{webhook.pk}", {"enabled": 0}), 422, "invalid-input")
    assert_problem(call("patch", f"{LIST}/{webhook.pk}", {}), 422, "invalid-input")
    assert_problem(call("patch", f"{LIST}/{webhook.pk}"), 422, "invalid-input")


@pytest.mark.parametrize("change", [lambda gone: services.change(gone, description="x"), services.rotate])
def test_a_webhook_that_was_deleted_meanwhile_is_not_found(webhook, change):
    Endpoint.objects.all().delete()
    with pytest.raises(NotFound):
        change(webhook)


def test_a_rotation_tells_the_new_secret(call, owner, webhook, receiver, happens):
    told = call("post", f"{LIST}/{webhook.pk}/rotate").json()
    happens(owner)
    deliveries.deliver_next()
    assert receiver.received[0].verified(told["secret"]) == receiver.received[0].verified(WEBHOOK_SECRET)
    assert told["before_until"]


def test_a_test_event_is_sent_and_can_be_followed(call, webhook, receiver):
    where = f"{LIST}/{webhook.pk}"
    sent = call("post", f"{where}/test")
    assert sent.status_code == 202
    assert sent.json()["state"] == "pending"
    deliveries.deliver_next()
    (listed,) = call("get", f"{where}/deliveries").json()["data"]
    assert (listed["id"], listed["state"], listed["status"]) == (sent.json()["id"], "delivered", 200)
    whole = call("get", f"{where}/deliveries/{listed['id']}").json()
    assert whole["event"]["type"] == "webhook.test"
    assert [attempt["response"] for attempt in whole["tries"]] == ["thanks"]
    again = call("post", f"{where}/deliveries/{listed['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    deliveries.deliver_next()
    assert len({received.id for received in receiver.received}) == 1
    assert len(receiver.received) == 2


def test_one_test_event_at_a_time_is_enough(call, webhook, receiver):
    path = f"{LIST}/{webhook.pk}/test"
    assert call("post", path).status_code == 202
    assert_problem(call("post", path), 409, "conflict")
    assert deliveries.deliver_next()
    assert call("post", path).status_code == 202


def test_the_log_comes_in_pages_and_by_state(call, owner, webhook, happens):
    for number in range(5):
        happens(owner, number=number)
    deliveries.deliver_next()
    where = f"{LIST}/{webhook.pk}/deliveries"
    first = call("get", f"{where}?limit=3").json()
    rest = call("get", f"{where}?limit=3&cursor={first['next_cursor']}").json()
    assert (len(first["data"]), len(rest["data"]), rest["has_more"]) == (3, 2, False)
    assert len(call("get", f"{where}?state=delivered").json()["data"]) == 1
    assert_problem(call("get", f"{where}?state=lost"), 422, "invalid-input")
    assert_problem(call("get", f"{where}?cursor=nonsense"), 422, "invalid-input")


def test_a_key_without_the_scope_may_not(client, owner, owner_key):
    assert_problem(client.get(LIST, headers=bearer(owner_key)), 403, "not-allowed")


def test_a_stranger_finds_nothing(client, stranger, owner, webhook, happens):
    happens(owner)
    delivery = Delivery.objects.get()
    call = Caller(client, make_key(stranger, "webhooks"))
    own, theirs = make_webhook(stranger), f"{LIST}/{webhook.pk}"
    assert [each["id"] for each in call("get", LIST).json()["data"]] == [str(own.pk)]
    for method, path in (
        ("get", theirs),
        ("delete", theirs),
        ("post", f"{theirs}/rotate"),
        ("post", f"{theirs}/test"),
        ("get", f"{theirs}/deliveries"),
        ("get", f"{theirs}/deliveries/{delivery.pk}"),
        ("post", f"{theirs}/deliveries/{delivery.pk}/redeliver"),
        ("get", f"{LIST}/{own.pk}/deliveries/{delivery.pk}"),
        ("get", f"{LIST}/{uuid.uuid4()}"),
        ("get", f"{LIST}/no-uuid"),
    ):
        assert_problem(call(method, path), 404, "not-found")
    assert_problem(call("patch", theirs, {"enabled": False}), 404, "not-found")
