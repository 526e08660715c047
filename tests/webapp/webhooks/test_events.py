"""What other apps do when something happens: `emit`, in the transaction of it."""

import json
import uuid

import pytest
from django.db import transaction
from django.utils import timezone

from tests.factories import make_webhook
from webapp import queues
from webapp.webhooks import events, sealing
from webapp.webhooks.models import Delivery, EventType, Secret

pytestmark = pytest.mark.django_db
DONE = EventType.BATCH_COMPLETED.value


def test_each_endpoint_that_wants_the_event_gets_it_under_one_id(owner, stranger):
    both = [make_webhook(owner), make_webhook(owner, DONE)]
    make_webhook(owner, EventType.BATCH_FAILED)
    make_webhook(owner, disabled="owner", disabled_at=timezone.now())
    make_webhook(stranger)
    assert events.emit(owner, DONE, {"id": uuid.UUID(int=7)}) == 2
    deliveries = Delivery.objects.all()
    assert {each.endpoint for each in deliveries} == set(both)
    assert len({each.message_id for each in deliveries}) == 1
    assert {each.state for each in deliveries} == {"pending"}


def test_the_body_says_what_happened_when_and_to_what(owner):
    make_webhook(owner)
    events.emit(owner, DONE, {"id": uuid.UUID(int=7), "name": "Fragen für März"})
    body = json.loads(Delivery.objects.get().body)
    assert set(body) == {"type", "timestamp", "data"}
    assert body["type"] == DONE
    assert body["timestamp"].endswith("Z")
    assert body["data"] == {"id": "00000000-0000-0000-0000-000000000007", "name": "Fragen für März"}


def test_nobody_is_told_of_what_did_not_happen(owner):
    make_webhook(owner)
    with transaction.atomic():
        events.emit(owner, DONE, {})
        transaction.set_rollback(True)
    assert not Delivery.objects.exists()


def test_a_worker_is_told_when_the_transaction_is_done(owner, django_capture_on_commit_callbacks):
    make_webhook(owner)
    with django_capture_on_commit_callbacks(execute=True):
        events.emit(owner, DONE, {})
        assert queues.lengths()["default"] == 0
    assert queues.lengths()["default"] == 1


def test_who_has_no_endpoint_costs_no_message(owner, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks:
        assert events.emit(owner, DONE, {}) == 0
    assert callbacks == []


def test_an_event_that_nobody_knows_is_a_mistake_of_the_caller(owner):
    with pytest.raises(ValueError, match="nonsense"):
        events.emit(owner, "nonsense", {})


def test_nothing_of_a_secret_can_be_read_from_the_table(owner):
    secret = "whsec_" + "B" * 43 + "="
    make_webhook(owner, secret=secret)
    sealed = Secret.objects.get().sealed
    assert secret not in sealed
    assert sealing.unseal(sealed) == secret


def test_a_new_key_may_be_put_in_front_of_the_old_one(settings):
    settings.WEBHOOK_KEYS = ["old"]
    sealed = sealing.seal("whsec_x")
    settings.WEBHOOK_KEYS = ["new", "old"]
    assert sealing.unseal(sealed) == "whsec_x"
    settings.WEBHOOK_KEYS = ["new"]
    with pytest.raises(sealing.Unreadable):
        sealing.unseal(sealed)
