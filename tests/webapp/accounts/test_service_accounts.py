"""Owners of keys that are no persons: nothing lets them in."""

import pytest
from django.core import mail
from django.db import IntegrityError, transaction
from django.urls import reverse

from tests.factories import PASSWORD, bearer, make_key, make_service
from webapp.accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture
def bot(owner) -> User:
    return make_service(owner)


def test_a_service_account_has_no_session_however_it_came_by_one(client, bot):
    client.force_login(bot)
    assert client.get(reverse("accounts:profile"))["Location"].startswith(reverse("account_login"))


def test_nobody_signs_in_with_its_address(client, bot):
    for password in (PASSWORD, "!", bot.password):
        client.post(reverse("account_login"), {"login": bot.email, "password": password})
        assert client.get(reverse("accounts:profile")).status_code == 302


def test_its_password_cannot_be_reset(client, bot):
    answer = client.post(reverse("account_reset_password"), {"email": bot.email.upper()})
    assert "service account" in str(answer.context["form"].errors["email"])
    assert mail.outbox == []


@pytest.mark.parametrize("address", ["support-bot@service.invalid", "other@Service.Invalid"])
def test_nobody_signs_up_with_an_address_like_its_own_or_adds_one(client_of_nobody, owner_client, bot, address):
    sent = client_of_nobody.post(reverse("account_signup"), {"email": address, "password1": PASSWORD})
    assert "service account" in str(sent.context["form"].errors["email"])
    added = owner_client.post(reverse("account_email"), {"email": address, "action_add": ""})
    assert "service account" in str(added.context["form"].errors["email"])


@pytest.mark.parametrize(
    "change",
    [{"password": "md5$x$y"}, {"is_staff": True}, {"is_superuser": True}, {"responsible": None}, {"is_service": False}],
    ids=str,
)
def test_the_database_refuses_what_would_let_it_in_or_leave_it_to_nobody(bot, change):
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=bot.pk).update(**change)


def test_its_keys_work_and_say_whose_they_are(client, bot):
    me = client.get("/api/v1/me", headers=bearer(make_key(bot))).json()
    assert me["user"] == {"email": "support-bot@service.invalid", "name": "Support bot"}


def test_its_keys_work_on_without_its_responsible_but_not_when_it_is_switched_off(client, bot, owner):
    key = make_key(bot)
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert client.get("/api/v1/me", headers=bearer(key)).status_code == 200
    User.objects.filter(pk=bot.pk).update(is_active=False)
    assert client.get("/api/v1/me", headers=bearer(key)).status_code == 401


def test_who_is_responsible_for_one_cannot_delete_the_account_before_it_is_handed_over(owner_client, bot, stranger):
    answer = owner_client.post(reverse("accounts:delete"), {"password": PASSWORD})
    assert answer.status_code == 403
    assert "responsible for a service account" in answer.content.decode()
    User.objects.filter(pk=bot.pk).update(responsible=stranger)
    assert owner_client.post(reverse("accounts:delete"), {"password": PASSWORD}).status_code == 302
