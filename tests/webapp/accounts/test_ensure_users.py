import pytest
from django.core.management import call_command

from webapp.accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def first_users(settings):
    settings.FIRST_USERS = {
        "demo": {"name": "Demo", "email": "demo@example.com", "password": "demo horse battery"},
        "admin": {"name": "Administrator", "email": "admin@example.com", "password": "admin horse battery"},
    }
    return settings.FIRST_USERS


def test_it_makes_a_demo_user_and_an_administrator_with_confirmed_addresses():
    call_command("ensure_users", verbosity=0)
    demo, admin = User.objects.get(email="demo@example.com"), User.objects.get(email="admin@example.com")
    assert demo.check_password("demo horse battery")
    assert not demo.is_staff
    assert admin.is_staff
    assert admin.is_superuser
    assert all(user.emailaddress_set.get().verified for user in (demo, admin))


def test_repeating_it_leaves_people_as_they_are(first_users):
    call_command("ensure_users", verbosity=0)
    first_users["demo"]["password"] = "another password"
    call_command("ensure_users", verbosity=0)
    assert User.objects.get(email="demo@example.com").check_password("demo horse battery")
    assert User.objects.count() == 2


def test_a_user_without_a_password_is_not_made_and_that_is_said(first_users, capsys):
    first_users["demo"]["password"] = ""
    call_command("ensure_users")
    assert [user.email for user in User.objects.all()] == ["admin@example.com"]
    assert "DEMO_PASSWORD is not set" in capsys.readouterr().out
