"""People at hand, and counters that start at zero."""

import pytest
from django.core.cache import cache

from tests.factories import make_admin, make_key, make_user
from webapp.accounts.models import User
from webapp.keys import limits
from webapp.keys.services import NewKey


@pytest.fixture(autouse=True)
def fresh_counters():
    """Rate limits count in this process; each test begins with none used up."""
    cache.clear()
    limits.reset()


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
def owner_client(client, owner):
    """A browser in which the owner is signed in."""
    client.force_login(owner)
    return client
