"""Guessing passwords is slow from anywhere, and keeps nobody out but whoever guesses."""

import re

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from tests.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db

OWNER = "owner@example.com"
HOME, CAFE = "192.0.2.1", "198.51.100.1"
TOO_MANY = "Too many failed sign-in attempts"


def sign_in(client: Client, password: str = PASSWORD, email: str = OWNER, address: str = HOME) -> str:
    """Tries it; returns "in", or what the page says against it."""
    form = {"login": email, "password": password}
    answer = client.post(reverse("account_login"), form, REMOTE_ADDR=address)
    return "in" if answer.status_code == 302 else str(answer.context["form"].errors)


def guess_from_everywhere(email: str = OWNER, count: int = 40) -> list[str]:
    """Wrong passwords, each from a network of its own. Returns what was said to each."""
    return [sign_in(Client(), "not this one", email, f"203.0.113.{number}") for number in range(count)]


@pytest.fixture
def known(owner) -> Client:
    """A browser in which the owner has signed in before."""
    browser = Client()
    assert sign_in(browser) == "in"
    browser.post(reverse("account_logout"))
    return browser


def test_who_guesses_in_one_network_keeps_nobody_out_elsewhere(owner, client):
    said = [sign_in(Client(), "not this one", address=CAFE) for _ in range(6)]
    assert TOO_MANY not in said[4]
    assert TOO_MANY in said[5]
    assert TOO_MANY in sign_in(client, address=CAFE)
    assert sign_in(client, address=HOME) == "in"


def test_guesses_from_everywhere_come_to_an_end(owner, client):
    said = guess_from_everywhere()
    assert [TOO_MANY in each for each in said] == [False] * 30 + [True] * 10
    assert TOO_MANY in sign_in(client)


def test_they_keep_out_nobody_whose_browser_the_account_knows(owner, known):
    guess_from_everywhere()
    assert sign_in(known) == "in"
    assert sign_in(known, address=CAFE) == "in"


def test_a_network_full_of_guesses_keeps_out_no_browser_that_the_account_knows(owner, known, stranger):
    for number in range(12):
        sign_in(Client(), "not this one", f"nobody-{number}@example.com")
    assert TOO_MANY in sign_in(Client(), email="stranger@example.com")
    assert sign_in(known) == "in"


def test_a_known_browser_has_five_guesses_of_its_own(owner, known):
    said = [sign_in(known, "not this one") for _ in range(6)]
    assert [TOO_MANY in each for each in said] == [False] * 5 + [True]
    assert sign_in(Client(), address=CAFE) == "in"


def test_who_reads_the_mail_gets_in_whatever_others_do(owner, client):
    guess_from_everywhere()
    client.post(reverse("account_reset_password"), {"email": OWNER})
    link = re.search(r"http://127\.0\.0\.1:8000(\S+)", mail.outbox[0].body).group(1)
    page = client.get(link, follow=True)
    new = "another horse battery"
    client.post(page.redirect_chain[-1][0], {"password1": new, "password2": new})
    assert TOO_MANY in sign_in(Client(), new)
    assert sign_in(client, new) == "in"


def test_a_browser_that_one_account_knows_is_a_stranger_to_the_others(known, stranger):
    guess_from_everywhere("stranger@example.com")
    assert TOO_MANY in sign_in(known, email="stranger@example.com")


@pytest.mark.parametrize("forged", ["nonsense", "WzEsIjAwIl0:1abcde:c2lnbmF0dXJl"])
def test_a_forged_cookie_makes_no_browser_known(owner, client, forged):
    guess_from_everywhere()
    client.cookies["browser"] = forged
    assert TOO_MANY in sign_in(client)


def test_right_passwords_count_for_nothing(owner):
    for _ in range(12):
        assert sign_in(Client()) == "in"


def test_unknown_addresses_are_counted_alike(owner):
    assert guess_from_everywhere("nobody@example.com") == guess_from_everywhere(OWNER)


def test_a_request_past_the_proxies_is_refused_and_no_error(owner, client, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    form = {"login": OWNER, "password": PASSWORD}
    answer = client.post(reverse("account_login"), form, headers={"X-Forwarded-For": HOME})
    assert answer.status_code == 403


def test_the_cookie_is_out_of_reach_of_scripts_and_holds_no_address(owner, client):
    sign_in(client)
    cookie = client.cookies["browser"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert "owner" not in cookie.value


def test_an_account_that_is_gone_is_known_to_no_browser(owner, known):
    owner.delete()
    make_user("else@example.com")
    assert sign_in(known) != "in"
