"""What workers do every two seconds and beside it: whatever goes wrong with a part, the rest goes on."""

import errno
import fcntl
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from django.db import connection

from tests.factories import make_model, make_version
from webapp.registry import shadow, tasks
from webapp.registry.models import Pulse, ShadowComparison
from webapp.scoring import store

pytestmark = pytest.mark.django_db(transaction=True)


def cannot_lock(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_file_system_without_locks_stops_neither_the_rest_nor_the_pulse(model, model_store, monkeypatch):
    make_version(model, "1", "champion")
    monkeypatch.setattr(fcntl, "flock", cannot_lock)
    tasks.watch()
    assert Pulse.objects.filter(name="watch").exists()
    assert store.read_routing(model.name) is None

    monkeypatch.undo()
    tasks.watch()
    assert store.read_routing(model.name) == store.Routing(champion="1")


def test_a_part_that_fails_on_a_file_stops_neither_the_rest_nor_the_pulse(model, model_store, monkeypatch):
    make_version(model, "1", "champion")

    def unreadable() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("webapp.registry.adoption.adopt_store", unreadable)
    tasks.watch()
    assert Pulse.objects.filter(name="watch").exists()
    assert store.read_routing(model.name) == store.Routing(champion="1")


def test_shadows_take_two_threads_of_a_worker_and_what_is_more_is_dropped(scoring):
    model = make_model()
    make_version(model, "1", "champion")
    make_version(model, "2", "shadow", percent=100)
    offer = shadow.Offer("faq", model.name, "2", "1", b"copy?", "js-1", 0.9, 2.0).message()
    asked, go_on = threading.Semaphore(0), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        asked.release()
        go_on.wait(10)
        return scoring.behave(request)

    def work() -> None:
        try:
            tasks.shadow([offer])
        finally:
            connection.close()

    scoring.faq = [("js-1", "js-1-a", 0.9, {})]
    scoring.answers(slow)
    with ThreadPoolExecutor(2) as workers:
        busy = [workers.submit(work) for _ in range(2)]
        assert asked.acquire(timeout=10)
        assert asked.acquire(timeout=10)
        tasks.shadow([offer])  # returns at once
        assert not asked.acquire(blocking=False)
        go_on.set()
        for each in busy:
            each.result(10)
    assert ShadowComparison.objects.count() == 2
    tasks.shadow([offer])
    assert ShadowComparison.objects.count() == 3
