import re

import pytest
from django.core import mail
from django.urls import reverse

from tests.factories import PASSWORD, make_user
from webapp.accounts.models import User

pytestmark = pytest.mark.django_db
NEW = {"email": "new@example.com", "password1": PASSWORD}


def sign_up(client, **changed):
    return client.post(reverse("account_signup"), {**NEW, **changed})


def link_in(message):
    return re.search(r"http://127\.0\.0\.1:8000(\S+)", message.body).group(1)


def test_signing_up_signs_in_and_mails_a_link_that_confirms_the_address(client):
    answer = sign_up(client)
    assert answer.status_code == 302
    assert answer["Location"] == reverse("faq:search")
    (message,) = mail.outbox
    assert message.to == ["new@example.com"]
    link = link_in(message)
    assert client.get(link).status_code == 200
    client.post(link)
    assert User.objects.get(email="new@example.com").emailaddress_set.get().verified


def test_where_addresses_must_be_confirmed_nobody_gets_in_before(client, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    assert sign_up(client)["Location"] == reverse("account_email_verification_sent")
    assert client.get(reverse("keys:list")).status_code == 302
    client.post(link_in(mail.outbox[0]))
    client.post(reverse("account_login"), {"login": NEW["email"], "password": PASSWORD})
    assert client.get(reverse("keys:list")).status_code == 200


def test_signing_up_with_a_known_address_tells_its_owner_and_nobody_else(client, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    make_user("known@example.com")
    unknown = sign_up(client)
    known = sign_up(client, email="Known@example.com")
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert User.objects.filter(email__iexact="known@example.com").count() == 1
    assert "already" in mail.outbox[1].body


@pytest.mark.parametrize("password", ["short", "password123", "12345678901234", "new@example.com"])
def test_a_weak_password_is_refused_with_the_reason(client, password):
    answer = sign_up(client, password1=password)
    assert answer.status_code == 200
    assert answer.context["form"].errors["password1"]
    assert not User.objects.exists()


def test_two_people_cannot_share_an_address_in_other_letters(db):
    from django.db import IntegrityError

    make_user("ada@example.com")
    with pytest.raises(IntegrityError):
        User.objects.create_user("ADA@example.com", PASSWORD)
