"""The pages of webhooks, as their owner and a stranger find them."""

import uuid

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import WEBHOOK_SECRET, make_service, make_webhook
from webapp.webhooks import deliveries, services
from webapp.webhooks.models import Delivery, Endpoint, EventType

pytestmark = pytest.mark.django_db
LIST = "/webhooks/"


@pytest.fixture
def wanted(receiver) -> dict[str, object]:
    return {"url": receiver.url, "description": "Nightly import", "event_types": ["batch.completed"]}


@pytest.fixture
def webhook(owner, receiver) -> Endpoint:
    return make_webhook(owner, url=receiver.url)


def page(endpoint: Endpoint, name: str = "endpoint") -> str:
    return reverse(f"webhooks:{name}", args=[endpoint.pk])


def test_a_new_secret_signs_and_is_shown_exactly_once(owner_client, owner, receiver, happens, work):
    answer = owner_client.post(LIST, {"url": receiver.url, "event_types": ["batch.completed"]})
    assert answer.status_code == 201
    assert "no-store" in answer["Cache-Control"]
    secret = answer.context["new"].secret
    assert secret.startswith("whsec_")
    assert secret in answer.content.decode()
    endpoint = Endpoint.objects.get()
    assert endpoint.event_types == ["batch.completed"]
    for path in (LIST, page(endpoint), page(endpoint, "edit")):
        assert secret not in owner_client.get(path).content.decode()
    happens(owner)
    work()
    assert receiver.received[0].verified(secret)["type"] == "batch.completed"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"url": ""}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.exploded"]}, "event_types"),
        ({"description": "x" * 201}, "description"),
        ({"description": "nul\0byte"}, "description"),
    ],
)
def test_what_will_not_do_is_named_and_what_was_typed_stays(owner_client, wanted, changed, field):
    answer = owner_client.post(LIST, {**wanted, **changed})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert not Endpoint.objects.exists()


def test_ten_are_all_one_can_have(owner_client, owner, wanted):
    for _ in range(9):
        make_webhook(owner)
    assert owner_client.post(LIST, wanted).status_code == 201
    answer = owner_client.post(LIST, wanted)
    assert answer.status_code == 422
    assert "10 webhooks" in answer.content.decode()
    assert Endpoint.objects.count() == 10


def test_a_test_event_arrives_and_stands_in_the_log(
    owner_client, webhook, receiver, work, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        assert owner_client.post(page(webhook, "test"))["Location"] == page(webhook)
    assert "Sending" in owner_client.get(page(webhook)).content.decode()
    work()
    assert receiver.received[0].verified(WEBHOOK_SECRET)["type"] == "webhook.test"
    shown = owner_client.get(page(webhook)).content.decode()
    assert "Delivered" in shown
    assert "webhook.test" in shown


def test_the_log_looks_again_by_itself_only_while_something_is_on_its_way(owner_client, webhook):
    services.test(webhook)
    headers = {"HX-Request": "true"}
    part = owner_client.get(page(webhook), headers=headers).content.decode()
    assert 'data-every="2"' in part
    assert "<html" not in part
    deliveries.deliver_next()
    assert "data-every" not in owner_client.get(page(webhook), headers=headers).content.decode()


def test_a_delivery_shows_what_was_sent_and_what_was_answered(owner_client, owner, webhook, receiver, happens):
    receiver.answers(500)
    happens(owner, name="Fragen für März")
    deliveries.deliver_next()
    delivery = Delivery.objects.get()
    shown = owner_client.get(reverse("webhooks:delivery", args=[webhook.pk, delivery.pk])).content.decode()
    for text in (delivery.message_id, "Fragen für März", "It answered 500.", "thanks", "Retrying"):
        assert text in shown


def test_sending_again_sends_again(owner_client, owner, webhook, receiver, happens):
    happens(owner)
    deliveries.deliver_next()
    delivery = Delivery.objects.get()
    assert owner_client.post(reverse("webhooks:send-again", args=[webhook.pk, delivery.pk])).status_code == 302
    deliveries.deliver_next()
    assert len(receiver.received) == 2
    assert len({received.id for received in receiver.received}) == 1


def test_the_log_can_be_filtered_and_paged(owner_client, owner, webhook, happens, monkeypatch):
    for number in range(30):
        happens(owner, number=number)
    failed = Delivery.objects.last()
    Delivery.objects.filter(pk=failed.pk).update(state="failed", due_at=None, ended_at=timezone.now())
    first = owner_client.get(page(webhook))
    assert len(first.context["deliveries"]) == 20
    rest = owner_client.get(page(webhook), {"before": first.context["next_cursor"]})
    assert len(rest.context["deliveries"]) == 10
    assert not {each.pk for each in first.context["deliveries"]} & {each.pk for each in rest.context["deliveries"]}
    assert [each.pk for each in owner_client.get(page(webhook), {"state": "failed"}).context["deliveries"]] == [
        failed.pk
    ]
    assert owner_client.get(page(webhook), {"before": "nonsense"}).status_code == 422


def test_a_rotation_asks_first_and_shows_the_new_secret_once(owner_client, webhook):
    assert "24 hours" in owner_client.get(page(webhook, "rotate")).content.decode()
    secret = owner_client.post(page(webhook, "rotate")).context["new"].secret
    assert secret not in owner_client.get(page(webhook)).content.decode()
    assert deliveries.secrets_of(webhook, timezone.now()) == [secret, WEBHOOK_SECRET]


def test_rotating_again_and_again_is_refused_kindly(owner_client, webhook):
    for _ in range(3):
        assert owner_client.post(page(webhook, "rotate")).status_code == 200
    answer = owner_client.post(page(webhook, "rotate"), follow=True)
    assert "Wait until the oldest has ended" in answer.content.decode()
    assert len(deliveries.secrets_of(webhook, timezone.now())) == 4


def test_editing_changes_what_was_entered(owner_client, webhook, receiver):
    new = {"url": receiver.at("127.0.0.1", "/other"), "description": "New", "event_types": ["batch.failed"]}
    assert owner_client.post(page(webhook, "edit"), new)["Location"] == page(webhook)
    webhook.refresh_from_db()
    assert (webhook.url, webhook.description, webhook.event_types) == (new["url"], "New", ["batch.failed"])
    answer = owner_client.post(page(webhook, "edit"), {**new, "url": "http://0.0.0.0/"})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["url"]


def test_a_disabled_one_gets_nothing_until_it_is_enabled(owner_client, owner, webhook, happens):
    happens(owner)
    owner_client.post(page(webhook, "disable"))
    assert Delivery.objects.get().state == "failed"
    assert "You disabled it" in owner_client.get(page(webhook)).content.decode()
    happens(owner)
    again = owner_client.post(page(webhook, "test"), follow=True)
    assert "Enable it first" in again.content.decode()
    assert Delivery.objects.count() == 1
    owner_client.post(page(webhook, "enable"))
    happens(owner)
    assert Delivery.objects.count() == 2


def test_deleting_asks_first_and_takes_the_log_along(owner_client, owner, webhook, happens):
    happens(owner)
    assert webhook.host in owner_client.get(page(webhook, "delete")).content.decode()
    assert Endpoint.objects.exists()
    assert owner_client.post(page(webhook, "delete"))["Location"] == LIST
    assert not Endpoint.objects.exists()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("name", ["endpoint", "edit", "rotate", "delete", "enable", "disable", "test"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_strangers_webhook_is_not_found(client, stranger, owner, method, name):
    webhook = make_webhook(owner)
    client.force_login(stranger)
    assert getattr(client, method)(page(webhook, name)).status_code in {404, 405}
    webhook.refresh_from_db()
    assert webhook.enabled
    assert webhook.secrets.count() == 1
    assert list(client.get(LIST).context["endpoints"]) == []


def test_a_strangers_delivery_is_not_found(client, stranger, owner, happens):
    webhook, own = make_webhook(owner), make_webhook(stranger)
    happens(owner)
    delivery = Delivery.objects.get(endpoint=webhook)
    client.force_login(stranger)
    for endpoint in (webhook, own):
        where = [endpoint.pk, delivery.pk]
        assert client.get(reverse("webhooks:delivery", args=where)).status_code == 404
        assert client.post(reverse("webhooks:send-again", args=where)).status_code == 404


def test_who_answers_for_a_service_account_looks_after_its_webhooks(owner_client, owner, stranger, client_of_nobody):
    service = make_service(owner)
    webhook = make_webhook(service)
    assert list(owner_client.get(LIST).context["endpoints"]) == [webhook]
    assert owner_client.post(page(webhook, "disable")).status_code == 302
    client_of_nobody.force_login(stranger)
    assert client_of_nobody.get(page(webhook)).status_code == 404


def test_nobody_comes_in_without_signing_in(client, owner):
    for path in (LIST, page(make_webhook(owner)), f"/webhooks/{uuid.uuid4()}/"):
        assert client.get(path)["Location"].startswith("/accounts/login/")


def test_the_menu_leads_there(owner_client):
    assert f'href="{LIST}"' in owner_client.get("/keys/").content.decode()


def test_all_events_are_chosen_beforehand(owner_client):
    assert owner_client.get(LIST).context["form"]["event_types"].value() == EventType.values
