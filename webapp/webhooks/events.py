"""Telling people's endpoints what happened. Other apps call `emit`, and nothing else of this one."""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.utils import timezone

from webapp import queues
from webapp.accounts.models import User
from webapp.webhooks.models import TEST, Delivery, Endpoint, EventType

TASK = "webhooks.deliver"
WANTED_FOR = 20.0  # seconds; what is still not sent by then is found by `webhooks.watch`


def emit(user: User, type: str, payload: Mapping[str, Any]) -> int:  # noqa: A002  # the word of the specification
    """Tells each of the person's enabled endpoints that wants events of this type; returns how many those are.

    Call it inside the transaction of what happened: with it, the event is sent for certain, at least once; without it,
    never. type: one of EventType. payload: what JSON can hold; dates and UUIDs, too.
    """
    wanted = EventType(type).value
    enabled = Endpoint.objects.filter(owner=user, owner__is_active=True, disabled="")
    return len(_write([endpoint for endpoint in enabled if wanted in endpoint.event_types], wanted, payload))


def emit_test(endpoint: Endpoint) -> Delivery:
    """Sends the endpoint an event that says nothing but that it arrives."""
    (delivery,) = _write([endpoint], TEST, {"webhook": str(endpoint.pk), "message": "It works."})
    return delivery


def send() -> None:
    """Has a worker look for deliveries that are due, once the transaction is done. Lost, it is made up for."""
    transaction.on_commit(lambda: queues.send(TASK, expires=WANTED_FOR))


def _write(endpoints: Iterable[Endpoint], type_: str, payload: Mapping[str, Any]) -> list[Delivery]:
    now = timezone.now()
    message_id, body = f"msg_{uuid.uuid4().hex}", body_of(type_, now, payload)
    made = Delivery.objects.bulk_create(
        Delivery(endpoint=each, message_id=message_id, type=type_, body=body, due_at=now, created_at=now)
        for each in endpoints
    )
    if made:
        send()
    return made


def body_of(type_: str, at: datetime, payload: Mapping[str, Any]) -> str:
    """The event as JSON in the form that Standard Webhooks recommends."""
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {"type": type_, "timestamp": moment, "data": payload}
    return json.dumps(event, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
