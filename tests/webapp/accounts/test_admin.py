import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib import admin as django_admin
from django.urls import reverse

from tests.factories import make_key, make_member, make_service, rotate_key
from webapp.accounts.models import User
from webapp.batch.models import Job
from webapp.keys.models import ApiKey
from webapp.webhooks.models import Endpoint

pytestmark = pytest.mark.django_db


def test_the_admin_signs_in_where_everybody_does(client):
    answer = client.get("/admin/login/?next=/admin/")
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


def test_the_admin_is_closed_to_people_without_the_right(owner_client):
    assert owner_client.get("/admin/", follow=True).status_code == 403


def test_every_list_in_the_admin_opens(client, admin):
    client.force_login(admin)
    for model, model_admin in django_admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert client.get(reverse(f"{name}_changelist"), follow=True).status_code == 200, name
        if model_admin.has_add_permission(type("Request", (), {"user": admin})()):
            assert client.get(reverse(f"{name}_add"), follow=True).status_code == 200, name


def test_the_other_pages_of_the_admin_open_too(client, admin, owner):
    client.force_login(admin)
    for app in {model._meta.app_label for model in django_admin.site._registry}:
        assert client.get(reverse("admin:app_list", args=[app])).status_code == 200, app
    for page in ("change", "history", "delete"):
        assert client.get(reverse(f"admin:accounts_user_{page}", args=[owner.pk])).status_code == 200, page
    assert client.get(reverse("admin:auth_user_password_change", args=[owner.pk])).status_code == 200
    assert client.get("/admin/no/such/page/").status_code == 404


def test_a_person_can_be_deleted_with_all_that_is_theirs(client, admin, owner):
    make_key(owner)
    Job.objects.create(owner=owner, kind="faq", name="Mine", format="csv", model="faq-javascript")
    Endpoint.objects.create(owner=owner, url="https://example.com/hooks", events="batch.completed")
    client.force_login(admin)
    page = reverse("admin:accounts_user_delete", args=[owner.pk])
    assert "your account doesn" not in client.get(page).text
    assert client.post(page, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=owner.pk).exists()
    assert not Job.objects.exists()


def test_the_secret_of_a_second_factor_is_shown_to_nobody(client, admin, owner):
    authenticator = totp.TOTP.activate(owner, totp.generate_totp_secret()).instance
    client.force_login(admin)
    page = client.get(reverse("admin:mfa_authenticator_change", args=[authenticator.pk])).content.decode()
    assert owner.email in page
    assert authenticator.data["secret"] not in page
    client.post(reverse("admin:mfa_authenticator_delete", args=[authenticator.pk]), {"post": "yes"})
    assert not Authenticator.objects.filter(user=owner).exists()


def test_a_person_opens_with_their_rights(client, admin, owner):
    client.force_login(admin)
    page = client.get(reverse("admin:accounts_user_change", args=[owner.pk])).content.decode()
    assert owner.email in page
    assert owner.password not in page


def test_the_admin_shows_a_key_without_its_digests_and_can_only_revoke_it(client, admin, owner):
    made = make_key(owner, networks="192.0.2.0/24")
    rotated, key = rotate_key(made), made.key
    client.force_login(admin)
    page = client.get(reverse("admin:keys_apikey_change", args=[key.pk])).content.decode()
    assert key.prefix in page
    assert "192.0.2.0/24" in page
    for secret, shown in zip(key.secrets.order_by("pk"), (made.secret, rotated.secret), strict=True):
        assert secret.ending in page
        assert secret.digest not in page
        assert shown.rpartition("_")[2] not in page
    client.post(
        reverse("admin:keys_apikey_changelist"), {"action": "revoke_selected", "_selected_action": [str(key.pk)]}
    )
    assert ApiKey.objects.get().revoked_at is not None
    assert client.get(reverse("admin:keys_apikey_add")).status_code == 403


def test_an_administrator_adds_a_person(client, admin):
    client.force_login(admin)
    password = "correct horse battery"
    client.post(
        reverse("admin:accounts_user_add"),
        {"email": "added@example.com", "usable_password": "true", "password1": password, "password2": password},
    )
    client.logout()
    client.post(reverse("account_login"), {"login": "added@example.com", "password": password})
    assert client.get(reverse("accounts:profile")).status_code == 200


# Service accounts -----------------------------------------------------------------------------------------------------


def test_an_admin_makes_a_service_account_and_hands_it_over(client, owner, stranger):
    client.force_login(make_member("admin"))
    add = reverse("admin:accounts_serviceaccount_add")
    assert client.post(add, {"name": "Night bot", "responsible": owner.pk}).status_code == 302
    bot = User.objects.get(is_service=True)
    assert (bot.name, bot.email, bot.responsible, bot.has_usable_password()) == (
        "Night bot", "night-bot@service.invalid", owner, False,
    )  # fmt: skip
    page = reverse("admin:accounts_serviceaccount_change", args=[bot.pk])
    client.post(page, {"name": "Night bot", "responsible": stranger.pk, "is_active": "on"})
    assert User.objects.get(pk=bot.pk).responsible == stranger
    people = client.get(reverse("admin:accounts_user_changelist")).context["cl"].queryset
    assert bot not in people
    assert client.get(reverse("admin:auth_user_password_change", args=[bot.pk])).status_code in {302, 404}


def test_two_service_accounts_cannot_be_taken_for_each_other_and_none_answers_for_another(client, admin, owner):
    bot = make_service(owner, "Night bot")
    client.force_login(admin)
    add = reverse("admin:accounts_serviceaccount_add")
    answer = client.post(add, {"name": "Night-Bot", "responsible": owner.pk})
    assert "already" in str(answer.context["adminform"].form.errors["name"])
    answer = client.post(add, {"name": "Day bot", "responsible": bot.pk})
    assert answer.context["adminform"].form.errors["responsible"]
    assert User.objects.filter(is_service=True).count() == 1


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_neither_see_nor_make_service_accounts(client, role):
    client.force_login(make_member(role))
    assert client.get(reverse("admin:accounts_serviceaccount_changelist")).status_code == 403
    assert client.get(reverse("admin:accounts_serviceaccount_add")).status_code == 403
