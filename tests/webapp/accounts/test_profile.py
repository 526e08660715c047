import pytest
from django.urls import reverse

from tests.factories import PASSWORD, make_admin, make_key
from webapp.accounts.models import User
from webapp.keys.models import ApiKey
from webapp.usage.models import ScoringRecord

pytestmark = pytest.mark.django_db


def test_the_profile_keeps_a_new_name(owner_client, owner):
    answer = owner_client.post(reverse("accounts:profile"), {"name": "Ólafur"})
    assert answer["Location"] == reverse("accounts:profile")
    owner.refresh_from_db()
    assert owner.name == "Ólafur"


def test_a_name_that_is_too_long_stays_in_the_form(owner_client, owner):
    answer = owner_client.post(reverse("accounts:profile"), {"name": "x" * 121})
    assert answer.status_code == 422
    assert "x" * 121 in answer.content.decode()
    owner.refresh_from_db()
    assert owner.name == "Olive"


def test_the_profile_cannot_change_rights_or_address(owner_client, owner):
    owner_client.post(
        reverse("accounts:profile"), {"name": "O", "is_staff": "on", "is_superuser": "on", "email": "x@example.com"}
    )
    owner.refresh_from_db()
    assert not owner.is_staff
    assert not owner.is_superuser
    assert owner.email == "owner@example.com"


def test_deleting_the_account_takes_keys_and_history_along_and_nobody_elses(owner_client, owner, stranger):
    for user in (owner, stranger):
        make_key(user)
        ScoringRecord.objects.create(user=user, kind="faq", source="page", subject="Why?", duration_ms=1)
    answer = owner_client.post(reverse("accounts:delete"), {"password": PASSWORD})
    assert answer["Location"] == reverse("home")
    assert list(User.objects.all()) == [stranger]
    assert ApiKey.objects.get().owner == stranger
    assert ScoringRecord.objects.get().user == stranger
    assert owner_client.get(reverse("accounts:profile")).status_code == 302


def test_deleting_the_account_needs_the_password_again(owner_client, owner):
    assert owner_client.get(reverse("accounts:delete")).status_code == 200
    answer = owner_client.post(reverse("accounts:delete"), {"password": "not this one"})
    assert answer.status_code == 422
    assert answer.context["form"].errors["password"]
    assert User.objects.filter(pk=owner.pk).exists()


def test_passwords_cannot_be_guessed_for_ever(owner_client, owner):
    page = reverse("accounts:delete")
    guesses = [owner_client.post(page, {"password": f"guess {number}"}).status_code for number in range(11)]
    assert guesses == [422] * 10 + [429]
    assert owner_client.post(page, {"password": PASSWORD}).status_code == 429
    assert User.objects.filter(pk=owner.pk).exists()
    elsewhere = owner_client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    assert elsewhere.status_code == 429


def test_a_key_of_a_deleted_account_opens_nothing(owner_client, owner, client):
    key = make_key(owner)
    owner_client.post(reverse("accounts:delete"), {"password": PASSWORD})
    assert client.get("/api/v1/me", headers={"Authorization": f"Bearer {key.secret}"}).status_code == 401


def test_the_last_administrator_cannot_delete_themselves(client, admin):
    client.force_login(admin)
    answer = client.post(reverse("accounts:delete"), {"password": PASSWORD})
    assert answer.status_code == 403
    assert "last administrator" in answer.content.decode()
    make_admin("second@example.com")
    assert client.post(reverse("accounts:delete"), {"password": PASSWORD})["Location"] == reverse("home")
