import re

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


def sign_in(client, password=PASSWORD, email="owner@example.com", **query):
    return client.post(reverse("account_login", query=query), {"login": email, "password": password})


def is_signed_in(client) -> bool:
    return client.get(reverse("accounts:profile")).status_code == 200


def test_a_page_that_needs_sign_in_comes_back_after_it(client, owner):
    page = reverse("keys:list")
    answer = client.get(page)
    assert answer["Location"] == f"{reverse('account_login')}?next={page}"
    assert sign_in(client, next=page)["Location"] == page


def test_sign_in_leads_to_no_other_site(client, owner):
    assert sign_in(client, next="https://evil.example/")["Location"] == reverse("faq:search")


def test_the_address_may_be_typed_in_any_case(client, owner):
    sign_in(client, email="OWNER@Example.com")
    assert is_signed_in(client)


def test_a_wrong_password_and_an_unknown_address_look_alike(client, owner):
    wrong = sign_in(client, password="not this one")
    unknown = sign_in(client, email="nobody@example.com")
    assert wrong.context["form"].errors == unknown.context["form"].errors
    assert not is_signed_in(client)


def test_after_five_wrong_passwords_the_right_one_waits_too(client, owner):
    for _ in range(5):
        sign_in(client, password="not this one")
    answer = sign_in(client)
    assert "Too many failed" in str(answer.context["form"].errors)
    assert not is_signed_in(client)


def test_tries_at_one_account_are_not_forgotten_for_those_at_others(client, owner):
    for _ in range(5):
        sign_in(client, password="not this one")
    for number in range(2000):
        cache.set(f"try-at-account-{number}", 1)
    assert "Too many failed" in str(sign_in(client).context["form"].errors)


def test_too_many_attempts_from_one_address_get_the_designed_429(client, owner, settings):
    settings.ACCOUNT_RATE_LIMITS = {"login": "2/m/ip"}
    for _ in range(2):
        sign_in(client, password="not this one")
    answer = sign_in(client)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert "Too many requests" in answer.content.decode()


def test_signing_out_takes_a_click_not_a_link(owner_client):
    owner_client.get(reverse("account_logout"))
    assert is_signed_in(owner_client)
    owner_client.post(reverse("account_logout"))
    assert not is_signed_in(owner_client)


def test_with_two_factor_sign_in_the_password_alone_is_not_enough(client, owner):
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(owner, secret)
    assert sign_in(client)["Location"] == reverse("mfa_authenticate")
    assert not is_signed_in(client)
    wrong = client.post(reverse("mfa_authenticate"), {"code": "000000"})
    assert wrong.status_code == 200
    code = totp.format_hotp_value(totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time()))))
    client.post(reverse("mfa_authenticate"), {"code": code})
    assert is_signed_in(client)


def test_a_forgotten_password_is_replaced_by_mail(client, owner):
    client.post(reverse("account_reset_password"), {"email": "owner@example.com"})
    link = re.search(r"http://127\.0\.0\.1:8000(\S+)", mail.outbox[0].body).group(1)
    form_page = client.get(link, follow=True)
    new = "another horse battery"
    client.post(form_page.redirect_chain[-1][0], {"password1": new, "password2": new})
    sign_in(client, password=new)
    assert is_signed_in(client)
    # The link works once.
    assert client.get(link).context["token_fail"]


def test_asking_for_a_reset_does_not_tell_who_has_an_account(client, owner):
    known = client.post(reverse("account_reset_password"), {"email": "owner@example.com"})
    unknown = client.post(reverse("account_reset_password"), {"email": "nobody@example.com"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])


def test_mailed_links_lead_to_the_public_address_whatever_the_host_header_says(client, owner):
    client.post(reverse("account_reset_password"), {"email": "owner@example.com"}, headers={"Host": "localhost:8000"})
    assert "http://127.0.0.1:8000/accounts/password/reset/key/" in mail.outbox[0].body
    assert "localhost" not in mail.outbox[0].body


def test_people_sign_in_while_the_cache_is_away(client, owner, settings):
    settings.CACHES = {
        "default": {"BACKEND": "webapp.cache.ForgivingRedisCache", "LOCATION": "redis://127.0.0.1:9/0"}  # nobody there
    }
    sign_in(client)
    assert is_signed_in(client)


def test_a_changed_password_is_told_by_mail(owner_client, owner):
    new = "another horse battery"
    form = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    owner_client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    owner_client.post(reverse("account_change_password"), form)
    (message,) = mail.outbox
    assert message.to == ["owner@example.com"]
    assert "127.0.0.1" in message.body
    assert new not in message.body


def test_changing_the_password_ends_the_other_sessions(owner, client):
    elsewhere = Client()
    sign_in(elsewhere)
    sign_in(client)
    new = "another horse battery"
    client.post(reverse("account_change_password"), {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert is_signed_in(client)
    assert not is_signed_in(elsewhere)
