"""The example in the documentation that checks a signature, beside what we send."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tests.documented import example
from tests.factories import WEBHOOK_SECRET
from webapp.webhooks import signing

BODY = '{"data":"Fragen für März"}'.encode()


def signed(at=None, *secrets: str) -> dict[str, str]:
    return signing.headers("msg_1", at or timezone.now(), BODY, secrets or (WEBHOOK_SECRET,))


@pytest.fixture(scope="module")
def is_genuine() -> Any:
    names: dict[str, Any] = {}
    exec(compile(example("Webhooks", "python"), "docs/api.md", "exec"), names)
    return names["is_genuine"]


def test_the_example_in_python_tells_genuine_events_from_others(is_genuine):
    other = signing.new_secret()
    assert is_genuine(WEBHOOK_SECRET, signed(), BODY)
    assert is_genuine(WEBHOOK_SECRET, signed(None, other, WEBHOOK_SECRET), BODY)
    assert not is_genuine(other, signed(), BODY)
    assert not is_genuine(WEBHOOK_SECRET, signed(), BODY + b" ")
    assert not is_genuine(WEBHOOK_SECRET, signed(timezone.now() - timedelta(minutes=6)), BODY)
    assert not is_genuine(WEBHOOK_SECRET, {**signed(), "webhook-id": "msg_2"}, BODY)


def test_the_example_of_an_event_is_one():
    import json

    from webapp.webhooks import events

    shown = json.loads(example("Webhooks", "json"))
    made = json.loads(events.body_of("batch.completed", timezone.now(), {}))
    assert set(shown) == set(made)
    assert len(shown["timestamp"]) == len(made["timestamp"])
