from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_key, make_user, rotate_key
from tests.webapp.answers import assert_problem
from webapp.errors import Conflict
from webapp.keys import services, tokens
from webapp.keys.models import ApiKey, KeySecret
from webapp.keys.tokens import Token

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
    assert by_bearer.json()["key"] == by_header.json()["key"]
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


def test_unknown_wrong_revoked_expired_and_elsewhere_used_keys_look_the_same_but_for_the_log(client, owner, caplog):
    caplog.set_level("INFO")
    day = timedelta(days=1)
    live = make_key(owner, name="live")
    rotated = make_key(owner, name="rotated")
    rotate_key(rotated, overlap=timedelta(0))
    bad = {
        "unknown": str(tokens.new_token("zzzzzzzz")),
        "wrong secret": str(tokens.new_token(live.prefix)),
        "revoked": aged(make_key(owner, name="revoked"), revoked_at=timezone.now() + day).secret,
        "expired": aged(
            make_key(owner, name="old"), created_at=timezone.now() - 2 * day, expires_at=timezone.now() - day
        ).secret,
        "rotated out": rotated.secret,
        "network": make_key(owner, name="elsewhere", networks="203.0.113.0/24").secret,
        "owner not active": make_key(make_user("gone@example.com", is_active=False)).secret,
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
    refused = [record.msg for record in caplog.records if "api_key_refused" in record.getMessage()]
    assert [line["reason"] for line in refused] == list(bad)
    assert {line["ip"] for line in refused} == {"127.0.0.1"}
    assert not [secret for secret in bad.values() if secret in caplog.text]


def test_a_mistyped_key_is_told_apart_from_one_that_is_not_known(client, owner_key):
    for mistyped in (owner_key.secret[:-1], owner_key.secret.swapcase(), owner_key.secret + "x"):
        problem = assert_problem(client.get(ME, headers=bearer(mistyped)), 401, "not-signed-in")
        assert "mistyped" in problem["detail"]


def test_every_refused_key_costs_one_digest_and_one_constant_time_comparison(client, owner, monkeypatch):
    """Else the time an answer takes would tell which prefixes exist. What is no key at all everybody can tell."""
    compared = []
    compare = services.hmac.compare_digest
    monkeypatch.setattr(services.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    live = make_key(owner)
    for text in ("sp_zzzzzzzz_" + "a" * 43, f"sp_{live.prefix}_" + "a" * 43, live.secret):
        before = len(compared)
        client.get(ME, headers=bearer(text))
        assert len(compared) == before + 1
        assert all(len(each) == 64 for each in compared[-1])


def test_a_key_from_before_there_were_checks_works_on(client, owner_key):
    old = Token(owner_key.prefix, "a" * 43)
    KeySecret.objects.update(digest=services._digest(old), ending="")
    assert client.get(ME, headers=bearer(str(old))).status_code == 200
    assert client.get(ME, headers=bearer(owner_key.secret)).status_code == 401


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


def test_last_use_and_where_it_came_from_are_noted_at_most_once_a_minute(
    client, owner_key, django_assert_max_num_queries
):
    client.get(ME, headers=bearer(owner_key), REMOTE_ADDR="192.0.2.1")
    first = ApiKey.objects.get()
    assert (first.last_used_at is not None, first.last_used_from) == (True, "192.0.2.1")
    with django_assert_max_num_queries(1):  # no write, and not even a transaction
        client.get(ME, headers=bearer(owner_key), REMOTE_ADDR="192.0.2.2")
    assert ApiKey.objects.get().last_used_at == first.last_used_at
    aged(owner_key, last_used_at=first.last_used_at - timedelta(minutes=1))
    client.get(ME, headers=bearer(owner_key), REMOTE_ADDR="2001:db8::1:2:3:4")
    second = ApiKey.objects.get()
    assert second.last_used_at > first.last_used_at
    assert second.last_used_from == "2001:db8::/64"


def test_recognising_a_key_is_one_query(owner_key, django_assert_num_queries):
    services.recognise(owner_key.secret)
    with django_assert_num_queries(1):
        assert services.recognise(owner_key.secret) == owner_key.key


# Networks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "address", "works"),
    [
        ("", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("203.0.113.5, 192.0.2.0/24", "203.0.113.5", True),
        ("192.0.2.0/24", "::ffff:192.0.2.1", True),  # an IPv4 client of a server that listens on [::]
        ("2001:db8::/32", "2001:db8:1::7", True),
        ("2001:db8::/32", "2001:db9::7", False),
        ("2001:db8::7", "2001:db8::8", False),
        ("2001:db8::/32", "192.0.2.1", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("0.0.0.0/0", "", False),  # a local socket: from nowhere
    ],
)
def test_a_key_works_from_its_networks_only(client, owner, networks, address, works):
    key = make_key(owner, networks=networks)
    assert (client.get(ME, headers=bearer(key), REMOTE_ADDR=address).status_code == 200) == works


def test_a_forwarded_address_opens_a_network_only_behind_trusted_proxies(client, owner, settings):
    key = make_key(owner, networks="203.0.113.0/24")
    forged = {**bearer(key), "X-Forwarded-For": "203.0.113.1"}
    assert client.get(ME, headers=forged).status_code == 401
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert client.get(ME, headers=forged).status_code == 200
    behind = {**bearer(key), "X-Forwarded-For": "203.0.113.1, 198.51.100.1"}  # the proxy adds whom it saw at the end
    assert client.get(ME, headers=behind).status_code == 401
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    assert client.get(ME, headers=behind).status_code == 200
    assert client.get(ME, headers=forged).status_code == 401  # it came past one of the proxies


def test_that_a_key_was_tried_elsewhere_is_noted_for_its_owner(client, owner):
    key = make_key(owner, networks="203.0.113.0/24")
    client.get(ME, headers=bearer(key), REMOTE_ADDR="198.51.100.7")
    client.get(ME, headers=bearer(key), REMOTE_ADDR="198.51.100.8")
    noted = ApiKey.objects.get()
    assert (noted.refused_from, noted.refused_at is not None, noted.last_used_at) == ("198.51.100.7", True, None)


# Rotation -------------------------------------------------------------------------------------------------------------


def test_after_a_rotation_both_secrets_work_until_the_old_one_ends(client, owner_key):
    new = rotate_key(owner_key, overlap=timedelta(hours=1))
    assert (new.prefix, new.name, new.scopes) == (owner_key.prefix, owner_key.name, owner_key.scopes)
    assert [client.get(ME, headers=bearer(key)).status_code for key in (owner_key, new)] == [200, 200]
    KeySecret.objects.exclude(ends_at=None).update(
        created_at=timezone.now() - timedelta(hours=2), ends_at=timezone.now() - timedelta(seconds=1)
    )
    assert [client.get(ME, headers=bearer(key)).status_code for key in (owner_key, new)] == [401, 200]


def test_each_secret_says_when_it_was_last_used(client, owner_key):
    new = rotate_key(owner_key)
    client.get(ME, headers=bearer(owner_key))
    key = ApiKey.objects.get()
    assert key.old_secrets[0].last_used_at is not None
    assert key.current_secret.last_used_at is None
    client.get(ME, headers=bearer(new))  # within the same minute: another secret's use is noted all the same
    assert ApiKey.objects.get().current_secret.last_used_at is not None


def test_a_second_rotation_does_not_break_what_the_first_promised(client, owner_key):
    second = rotate_key(owner_key)
    third = rotate_key(second)
    assert [client.get(ME, headers=bearer(key)).status_code for key in (owner_key, second, third)] == [200] * 3


def test_old_secrets_do_not_pile_up(owner_key):
    for _ in range(services.MAX_OLD_SECRETS):
        rotate_key(owner_key)
    with pytest.raises(Conflict, match="End them"):
        rotate_key(owner_key)
    services.end_old_secrets(owner_key.key)
    rotate_key(owner_key)
    KeySecret.objects.exclude(ends_at=None).update(
        created_at=timezone.now() - timedelta(days=50), ends_at=timezone.now() - timedelta(days=40)
    )
    rotate_key(owner_key, overlap=timedelta(0))
    assert KeySecret.objects.count() == 2


def test_renewing_an_expired_key_does_not_revive_its_old_secret(client, owner_key):
    now, day = timezone.now(), timedelta(days=1)
    KeySecret.objects.update(created_at=now - 9 * day)
    aged(owner_key, created_at=now - 9 * day, expires_at=now - day)
    owner_key.key.refresh_from_db()
    new = rotate_key(owner_key, overlap=7 * day, expires_at=now + 90 * day)
    assert [client.get(ME, headers=bearer(key)).status_code for key in (owner_key, new)] == [401, 200]


def test_an_old_secret_ends_with_the_key_as_it_was_if_that_is_sooner(owner):
    soon = timezone.now() + timedelta(hours=2)
    key = make_key(owner, expires_at=soon)
    rotate_key(key, overlap=timedelta(days=7), expires_at=timezone.now() + timedelta(days=90))
    assert ApiKey.objects.get().old_secrets[0].ends_at == soon


def test_another_hmac_secret_kills_the_keys_and_another_secret_key_does_not(client, owner_key, settings):
    settings.SECRET_KEY = "z" * 50
    assert client.get(ME, headers=bearer(owner_key)).status_code == 200
    settings.API_KEY_HMAC_SECRET = "z" * 50
    assert client.get(ME, headers=bearer(owner_key)).status_code == 401
