"""A receiver on this machine, and events that happen."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.webapp.webhooks.receiver import Receiver, receiving
from webapp.accounts.models import User
from webapp.webhooks import events
from webapp.webhooks.models import EventType


@pytest.fixture
def receiver(settings) -> Iterator[Receiver]:
    """Listens on the loopback address, which the settings allow."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def happens(django_capture_on_commit_callbacks) -> Callable[..., None]:
    """Call it with a person: a batch of theirs is complete, and that is committed."""

    def happen(user: User, event: str = EventType.BATCH_COMPLETED.value, **data: Any) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            events.emit(user, event, data or {"id": "b-1"})

    return happen


class Names:
    """What names stand for, in place of the resolver: each look-up of a name takes its next answer, the last one stays.

    Addresses stand for themselves, and a name without an answer is not found.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __setitem__(self, name: str, answers: list[list[str]]) -> None:
        self.answers[name] = answers

    def look_up(self, host: str, port: int | str | None, *args: Any, **options: Any) -> list[Any]:
        if host in self.answers:
            self.asked.append(host)
            answers = self.answers[host]
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        else:
            options["flags"] = options.get("flags", 0) | socket.AI_NUMERICHOST
            addresses = [host]
        return [found for each in addresses for found in self.real(each, port, *args, **options)]

    real = staticmethod(socket.getaddrinfo)


@pytest.fixture
def names(monkeypatch) -> Names:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    return names
