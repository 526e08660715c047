"""People at hand, and counters that start at zero."""

import shutil
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client

from tests.factories import make_admin, make_key, make_user
from tests.webapp.pods import Pods
from tests.worker import run_waiting_tasks
from webapp.accounts import plans
from webapp.accounts.models import User
from webapp.faq import asked
from webapp.keys import limits, month_use
from webapp.keys.services import NewKey
from webapp.scoring import fleet
from webapp.scoring.client import scoring_client
from webapp.usage import ledger, traffic


@pytest.fixture(autouse=True)
def fresh_counters():
    """Rate limits and traffic are counted in this process; each test begins with nothing counted."""
    cache.clear()
    limits._counter.cache_clear()
    month_use.forget()
    plans.forget()
    traffic.forget()
    ledger.forget()
    asked.forget()


@pytest.fixture(autouse=True)
def quick_passwords(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def owner(db) -> User:
    return make_user("owner@example.com", name="Olive")


@pytest.fixture
def stranger(db) -> User:
    return make_user("stranger@example.com")


@pytest.fixture
def admin(db) -> User:
    return make_admin()


@pytest.fixture
def owner_key(owner) -> NewKey:
    return make_key(owner)


@pytest.fixture
def client_of_nobody() -> Client:
    """Another browser, in which nobody is signed in."""
    return Client()


@pytest.fixture
def owner_client(client, owner):
    """A browser in which the owner is signed in."""
    client.force_login(owner)
    return client


@pytest.fixture
def scoring(settings, monkeypatch) -> Iterator[Pods]:
    """Pods that answer from memory, on the other side of the real scoring client."""
    pods = Pods()
    settings.SCORING_CPU_URL, settings.SCORING_GPU_URL = "http://cpu.test:8001", "http://gpu.test:8002"
    monkeypatch.setattr("webapp.scoring.pods.new_transport", lambda _limits: pods)
    monkeypatch.setattr("webapp.scoring.pods.resolve", lambda host: [host])
    scoring_client.cache_clear()
    fleet.close()
    yield pods
    scoring_client.cache_clear()
    fleet.close()


@pytest.fixture(autouse=True)
def empty_queues(settings):
    """Nothing that an earlier test has sent waits for a worker."""
    shutil.rmtree(settings.BROKER_DIR, ignore_errors=True)


@pytest.fixture
def work():
    """Call it to have all waiting tasks done, in this thread; it returns their names."""
    return run_waiting_tasks
