from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_key
from tests.webapp.answers import assert_problem
from webapp.keys import services
from webapp.keys.models import ApiKey

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"


def aged(key, **fields):
    """The key after its row was changed as time would have."""
    ApiKey.objects.filter(pk=key.key.pk).update(**fields)
    return key


def test_a_key_is_known_by_either_header(client, owner_key):
    by_bearer = client.get(ME, headers=bearer(owner_key))
    by_header = client.get(ME, headers={"X-API-Key": owner_key.secret})
    assert by_bearer.status_code == by_header.status_code == 200
    assert by_bearer.json() == by_header.json()
    assert by_bearer.json()["user"] == {"email": "owner@example.com", "name": "Olive"}


def test_me_says_what_the_key_is_and_may_do(client, owner_key):
    me = client.get(ME, headers=bearer(owner_key)).json()
    assert me["key"] == {"name": "Script", "prefix": owner_key.prefix, "expires_at": None}
    assert me["scopes"] == ["faq:read", "images:read"]
    assert me["limits"]["faq"] == {"key": 600, "user": 1200}


def test_me_works_with_a_session_too(owner_client):
    me = owner_client.get(ME).json()
    assert me["key"] is None
    assert "faq:read" in me["scopes"]


def test_the_scheme_may_be_in_any_case(client, owner_key):
    assert client.get(ME, headers={"Authorization": f"bearer  {owner_key.secret}"}).status_code == 200


GARBAGE = [
    "",
    "x",
    "sp_",
    "sp__",
    "sp_abcdefgh_",
    "sp_abcdefgh_" + "a" * 43,
    "sp_abcdefgh_" + "a" * 44,
    "sp_ABCDEFGH_" + "a" * 43,
    "sp_äöüäöüäö_" + "ä" * 43,
    "sp_٣٣٣٣٣٣٣٣_" + "a" * 43,
    "sp_abcdefgh_" + "a" * 43 + "\u0000",
    "sp_" + "a" * 100_000,
    "é" * 100,
    "sp_abcdefgh_" + "a" * 42 + "é",
]


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_a_401(client, owner_key, text):
    # As a server hands it over: bytes, read as Latin-1.
    raw = text.encode().decode("latin-1")
    assert_problem(client.get(ME, HTTP_AUTHORIZATION=f"Bearer {raw}"), 401, "not-signed-in")
    assert_problem(client.get(ME, HTTP_X_API_KEY=raw), 401, "not-signed-in")


def test_unknown_wrong_revoked_and_expired_keys_look_the_same(client, owner):
    live = make_key(owner, name="live")
    day = timedelta(days=1)
    bad = {
        "unknown": "sp_zzzzzzzz_" + "a" * 43,
        "wrong secret": live.secret[:-4] + ("aaaa" if not live.secret.endswith("aaaa") else "bbbb"),
        "another's secret": f"sp_{live.prefix}_{make_key(owner, name='other').secret.rpartition('_')[2]}",
        "revoked": aged(make_key(owner, name="revoked"), revoked_at=timezone.now() + day).secret,
        "expired": aged(
            make_key(owner, name="old"), created_at=timezone.now() - 2 * day, expires_at=timezone.now() - day
        ).secret,
    }
    answers = {why: client.get(ME, headers=bearer(secret)) for why, secret in bad.items()}
    for answer in answers.values():
        assert_problem(answer, 401, "not-signed-in")
    seen = {
        (
            str({name: value for name, value in answer.json().items() if name != "request_id"}),
            str(sorted((name, value) for name, value in answer.headers.items() if name != "X-Request-ID")),
        )
        for answer in answers.values()
    }
    assert len(seen) == 1, seen


def test_every_refused_key_costs_one_digest_and_one_constant_time_comparison(client, owner, monkeypatch):
    """Else the time an answer takes would tell which prefixes exist."""
    compared = []
    compare = services.hmac.compare_digest
    monkeypatch.setattr(services.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    live = make_key(owner)
    for text in ("garbage", "sp_zzzzzzzz_" + "a" * 43, f"sp_{live.prefix}_" + "a" * 43, live.secret):
        before = len(compared)
        client.get(ME, headers=bearer(text))
        assert len(compared) == before + 1
        assert all(len(each) == 64 for each in compared[-1])


def test_a_401_says_how_to_sign_in(client, db):
    answer = client.get(ME)
    assert_problem(answer, 401, "not-signed-in")
    assert answer["WWW-Authenticate"].startswith("Bearer")


def test_a_bad_key_is_not_made_good_by_a_session(owner_client):
    assert_problem(owner_client.get(ME, headers=bearer("sp_nope")), 401, "not-signed-in")
    assert_problem(owner_client.get(ME, headers={"Authorization": "Basic b3duZXI6eA=="}), 401, "not-signed-in")


def test_the_key_of_somebody_who_was_locked_out_opens_nothing(client, owner, owner_key):
    owner.is_active = False
    owner.save()
    assert client.get(ME, headers=bearer(owner_key)).status_code == 401


def test_without_its_scope_a_key_is_a_403_that_names_the_scope(client, owner):
    key = make_key(owner, "images:read")
    answer = client.post("/api/v1/faq/match", {"question": "why"}, "application/json", headers=bearer(key))
    assert "faq:read" in assert_problem(answer, 403, "not-allowed")["detail"]


def test_a_session_needs_the_csrf_token_for_what_is_not_a_read(owner):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    assert client.get(ME).status_code == 200
    answer = client.post("/api/v1/faq/match", {"question": "why"}, "application/json")
    assert "X-CSRFToken" in assert_problem(answer, 403, "not-allowed")["detail"]


def test_a_key_needs_no_csrf_token(owner_key):
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/api/v1/faq/match", {}, "application/json", headers=bearer(owner_key))
    assert_problem(answer, 422, "invalid-input")


def test_last_use_is_noted_at_most_once_a_minute(client, owner, owner_key):
    client.get(ME, headers=bearer(owner_key))
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    client.get(ME, headers=bearer(owner_key))
    assert ApiKey.objects.get().last_used_at == first
    aged(owner_key, last_used_at=first - timedelta(minutes=1))
    client.get(ME, headers=bearer(owner_key))
    assert ApiKey.objects.get().last_used_at > first


def test_recognising_a_key_is_one_query(owner_key, django_assert_num_queries):
    services.recognise(owner_key.secret)
    with django_assert_num_queries(1):
        assert services.recognise(owner_key.secret) == owner_key.key


def test_another_hmac_secret_kills_the_keys_and_another_secret_key_does_not(client, owner_key, settings):
    settings.SECRET_KEY = "z" * 50
    assert client.get(ME, headers=bearer(owner_key)).status_code == 200
    settings.API_KEY_HMAC_SECRET = "z" * 50
    assert client.get(ME, headers=bearer(owner_key)).status_code == 401
