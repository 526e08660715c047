from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import bearer, make_key, make_service, rotate_key
from webapp.keys.models import ApiKey, KeySecret

pytestmark = pytest.mark.django_db
LIST = "/keys/"
WANTED = {"name": "Support bot", "scopes": ["faq:read"], "lifetime": "30"}


def test_a_new_key_works_and_is_shown_exactly_once(owner_client, client_of_nobody):
    answer = owner_client.post(LIST, WANTED)
    assert answer.status_code == 201
    secret = answer.context["new_key"].secret
    assert secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    assert secret not in owner_client.get(LIST).content.decode()
    me = client_of_nobody.get("/api/v1/me", headers=bearer(secret)).json()
    assert me["scopes"] == ["faq:read"]
    assert me["key"]["name"] == "Support bot"


def test_the_key_expires_after_the_chosen_days(owner_client):
    owner_client.post(LIST, WANTED)
    owner_client.post(LIST, {**WANTED, "name": "For ever", "lifetime": ""})
    thirty, never = ApiKey.objects.order_by("pk")
    assert 29 <= (thirty.expires_at - timezone.now()).days <= 30
    assert never.expires_at is None


def test_nothing_of_the_secret_is_kept(owner_client):
    secret = owner_client.post(LIST, WANTED).context["new_key"].secret
    stored = f"{ApiKey.objects.values_list().get()} {KeySecret.objects.values_list().get()}"
    assert secret not in stored
    assert secret.rpartition("_")[2] not in stored


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "nul\0byte"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"lifetime": "99999"}, "lifetime"),
        ({"networks": "everywhere"}, "networks"),
        ({"networks": "192.0.2.7/24"}, "networks"),
        ({"networks": "192.0.2.0/33"}, "networks"),
        ({"networks": "::ffff:192.0.2.0/120"}, "networks"),
        ({"networks": " ".join(f"192.0.2.{i}" for i in range(21))}, "networks"),
    ],
)
def test_what_will_not_do_is_named_and_what_was_typed_stays(owner_client, changed, field):
    answer = owner_client.post(LIST, {**WANTED, **changed})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert answer.context["new_key"] is None
    assert not ApiKey.objects.exists()


def test_what_few_keys_need_is_not_chosen_beforehand(owner_client):
    form = owner_client.get(LIST).context["form"]
    assert set(form["scopes"].value()) == {"faq:read", "images:read"}
    assert [value for value, _ in form.fields["scopes"].choices] == [
        "faq:read",
        "faq:write",
        "images:read",
        "batch",
        "webhooks",
        "keys:read",
        "models:pin",
    ]


def test_only_who_may_read_the_history_of_models_is_offered_its_scope(owner_client, client, admin):
    assert owner_client.post(LIST, {**WANTED, "scopes": ["admin:read"]}).status_code == 422
    client.force_login(admin)
    assert client.post(LIST, {**WANTED, "scopes": ["admin:read"]}).status_code == 201


def test_two_live_keys_cannot_have_one_name_but_a_revoked_ones_name_is_free(owner_client, owner):
    key = make_key(owner, name="Support bot").key
    assert owner_client.post(LIST, WANTED).context["form"].errors["name"]
    owner_client.post(reverse("keys:revoke", args=[key.pk]))
    assert owner_client.post(LIST, WANTED).status_code == 201


def test_the_list_shows_prefix_and_last_use(owner_client, owner, client_of_nobody):
    key = make_key(owner)
    assert "never" in owner_client.get(LIST).content.decode()
    client_of_nobody.get("/api/v1/me", headers=bearer(key))
    page = owner_client.get(LIST).content.decode()
    assert f"sp_{key.prefix}_" in page
    assert "just now" in page


def test_revoking_asks_first_and_then_ends_the_key_at_once(owner_client, owner, client_of_nobody):
    key = make_key(owner)
    page = reverse("keys:revoke", args=[key.key.pk])
    assert key.name in owner_client.get(page).content.decode()
    assert client_of_nobody.get("/api/v1/me", headers=bearer(key)).status_code == 200
    assert owner_client.post(page)["Location"] == LIST
    assert client_of_nobody.get("/api/v1/me", headers=bearer(key)).status_code == 401
    assert list(owner_client.get(LIST).context["keys"]) == []


def test_revoking_twice_keeps_the_first_moment(owner_client, owner):
    key = make_key(owner).key
    page = reverse("keys:revoke", args=[key.pk])
    owner_client.post(page)
    first = ApiKey.objects.get().revoked_at
    owner_client.post(page)
    assert ApiKey.objects.get().revoked_at == first


@pytest.mark.parametrize("page", ["revoke", "rotate", "end-old", "change"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_strangers_key_is_not_found(client, stranger, owner, method, page):
    key = make_key(owner)
    rotate_key(key)
    before = list(ApiKey.objects.values()), list(KeySecret.objects.values())
    client.force_login(stranger)
    assert getattr(client, method)(reverse(f"keys:{page}", args=[key.key.pk])).status_code == 404
    assert (list(ApiKey.objects.values()), list(KeySecret.objects.values())) == before
    assert list(client.get(LIST).context["keys"]) == []


def test_a_key_with_an_impossible_number_is_not_found(owner_client):
    assert owner_client.get(f"/keys/{10**30}/revoke").status_code == 404


def test_there_is_an_end_to_how_many_keys_one_can_have(owner_client, owner, monkeypatch):
    from webapp.keys import services

    monkeypatch.setattr(services, "MAX_LIVE_KEYS", 1)
    make_key(owner, name="First")
    assert "Revoke one" in str(owner_client.post(LIST, WANTED).context["form"].errors)


# Networks -------------------------------------------------------------------------------------------------------------


def test_networks_are_kept_as_they_are_meant_and_shown(owner_client):
    page = owner_client.post(LIST, {**WANTED, "networks": "192.0.2.0/24,\n198.51.100.7/32  2001:DB8:0::/32"})
    assert ApiKey.objects.get().network_list == ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"]
    assert "192.0.2.0/24, 198.51.100.7, 2001:db8::/32" in page.content.decode()


def test_a_wrong_network_says_how_it_should_be(owner_client):
    said = owner_client.post(LIST, {**WANTED, "networks": "192.0.2.7/24"}).content.decode()
    assert "192.0.2.0/24 for all of it" in said


def test_the_form_says_where_one_is_so_that_nobody_shuts_themselves_out(owner_client):
    assert "You are at <code>192.0.2.9</code> now" in owner_client.get(LIST, REMOTE_ADDR="192.0.2.9").content.decode()


def test_name_and_networks_can_be_changed_later(owner_client, owner):
    key = make_key(owner, networks="192.0.2.0/24").key
    make_key(owner, name="Taken")
    page = reverse("keys:change", args=[key.pk])
    assert "192.0.2.0/24" in owner_client.get(page).content.decode()
    taken = owner_client.post(page, {"name": "Taken", "networks": ""})
    assert (taken.status_code, list(taken.context["form"].errors)) == (422, ["name"])
    assert owner_client.post(page, {"name": "New name", "networks": "2001:db8::/32"})["Location"] == LIST
    key.refresh_from_db()
    assert (key.name, key.networks) == ("New name", "2001:db8::/32")


@pytest.mark.parametrize("page", ["change", "rotate"])
def test_what_a_dialog_shows_on_the_list_has_no_id_that_is_there_already(owner_client, owner, page):
    key = make_key(owner).key
    ids = [
        {field.id_for_label for field in owner_client.get(path).context["form"]}
        for path in (LIST, reverse(f"keys:{page}", args=[key.pk]))
    ]
    assert not ids[0] & ids[1]


# Rotation -------------------------------------------------------------------------------------------------------------


def rotation_of(client, key) -> dict[str, object]:
    """The form as the browser would send it."""
    form = client.get(reverse("keys:rotate", args=[key.pk])).context["form"]
    return {name: value for name, value in ((each.name, each.value()) for each in form) if value is not None}


def test_a_rotation_shows_the_new_secret_once_and_lets_the_old_one_work_for_a_day(
    owner_client, owner, client_of_nobody
):
    old = make_key(owner)
    page = reverse("keys:rotate", args=[old.key.pk])
    answer = owner_client.post(page, rotation_of(owner_client, old.key))
    assert answer.status_code == 201
    new = answer.context["new_key"].secret
    assert new in answer.content.decode()
    assert new not in owner_client.get(LIST).content.decode()
    assert "no-store" in answer["Cache-Control"]
    [ending] = ApiKey.objects.get().old_secrets
    assert 23.9 < (ending.ends_at - timezone.now()).total_seconds() / 3600 <= 24
    for secret in (old.secret, new):
        assert client_of_nobody.get("/api/v1/me", headers=bearer(secret)).status_code == 200
    shown = owner_client.get(LIST).content.decode()
    assert f"…{old.secret[-4:]}" in shown
    assert f"…{new[-4:]}" in shown


def test_sending_the_same_rotation_again_does_nothing_twice(owner_client, owner):
    key = make_key(owner).key
    page, form = reverse("keys:rotate", args=[key.pk]), rotation_of(owner_client, key)
    assert owner_client.post(page, form).status_code == 201
    again = owner_client.post(page, form, follow=True)
    assert "a moment ago" in again.content.decode()
    assert KeySecret.objects.count() == 2


def test_old_secrets_are_ended_at_once_after_asking(owner_client, owner, client_of_nobody):
    old = make_key(owner)
    new = rotate_key(old)
    page = reverse("keys:end-old", args=[old.key.pk])
    assert f"…{old.secret[-4:]}" in owner_client.get(page).content.decode()
    owner_client.post(page)
    assert [client_of_nobody.get("/api/v1/me", headers=bearer(key)).status_code for key in (old, new)] == [401, 200]
    assert "no old secret any more" in owner_client.post(page, follow=True).content.decode()


def test_a_key_that_ends_soon_is_offered_a_new_end_and_another_keeps_its_own(owner_client, owner):
    soon = make_key(owner, name="soon", expires_at=timezone.now() + timedelta(days=5)).key
    late = make_key(owner, name="late", expires_at=timezone.now() + timedelta(days=50)).key
    assert rotation_of(owner_client, soon)["lifetime"] == "90"
    owner_client.post(reverse("keys:rotate", args=[late.pk]), rotation_of(owner_client, late))
    expires_at = late.expires_at
    late.refresh_from_db()
    assert late.expires_at == expires_at


def test_a_revoked_key_is_not_rotated(owner_client, owner):
    key = make_key(owner).key
    form = rotation_of(owner_client, key)
    owner_client.post(reverse("keys:revoke", args=[key.pk]))
    answer = owner_client.post(reverse("keys:rotate", args=[key.pk]), form, follow=True)
    assert "is revoked" in answer.content.decode()
    assert KeySecret.objects.count() == 1


# Service accounts -----------------------------------------------------------------------------------------------------


def test_who_is_responsible_for_a_service_account_looks_after_its_keys(owner_client, owner, client_of_nobody):
    bot = make_service(owner, "Night bot")
    new = owner_client.post(LIST, {**WANTED, "owner": bot.pk}).context["new_key"]
    assert new.key.owner == bot
    assert "Night bot, service account" in owner_client.get(LIST).content.decode()
    owner_client.post(reverse("keys:revoke", args=[new.key.pk]))
    assert client_of_nobody.get("/api/v1/me", headers=bearer(new)).status_code == 401


def test_nobody_else_makes_or_sees_them(client, owner, stranger, admin):
    bot = make_service(owner, "Night bot")
    key = make_key(bot, name="Nightly").key
    for other in (stranger, admin):
        client.force_login(other)
        assert list(client.get(LIST).context["keys"]) == []
        assert client.get(reverse("keys:rotate", args=[key.pk])).status_code == 404
        client.post(LIST, {**WANTED, "owner": bot.pk})
    assert [each.owner for each in ApiKey.objects.exclude(pk=key.pk).order_by("pk")] == [stranger, admin]


def test_who_has_no_service_account_is_not_asked_whose_key_it_is(owner_client):
    assert "owner" not in owner_client.get(LIST).context["form"].fields
