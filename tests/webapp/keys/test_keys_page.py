import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import bearer, make_key
from webapp.keys.models import ApiKey

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
    stored = " ".join(map(str, ApiKey.objects.values_list().get()))
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
    assert [value for value, _ in form.fields["scopes"].choices] == ["faq:read", "images:read", "batch", "models:pin"]


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


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_strangers_key_is_not_found(client, stranger, owner, method):
    key = make_key(owner).key
    client.force_login(stranger)
    assert getattr(client, method)(reverse("keys:revoke", args=[key.pk])).status_code == 404
    assert ApiKey.objects.get().revoked_at is None
    assert list(client.get(LIST).context["keys"]) == []


def test_a_key_with_an_impossible_number_is_not_found(owner_client):
    assert owner_client.get(f"/keys/{10**30}/revoke").status_code == 404


def test_there_is_an_end_to_how_many_keys_one_can_have(owner_client, owner, monkeypatch):
    from webapp.keys import services

    monkeypatch.setattr(services, "MAX_LIVE_KEYS", 1)
    make_key(owner, name="First")
    assert "Revoke one" in str(owner_client.post(LIST, WANTED).context["form"].errors)
