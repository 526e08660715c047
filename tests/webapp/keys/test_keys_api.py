from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import bearer, make_key, make_service, rotate_key
from tests.webapp.answers import assert_problem
from webapp.keys.models import ApiKey

pytestmark = pytest.mark.django_db
KEYS = "/api/v1/keys"


def test_one_lists_ones_keys_by_all_but_their_secrets(client, owner):
    key = make_key(owner, "keys:read", name="Reader", networks="127.0.0.0/8")
    new = rotate_key(key)
    answer = client.get(KEYS, headers=bearer(new))
    [shown] = answer.json()["data"]
    assert shown["prefix"] == key.prefix
    assert shown["owner"] == {"email": "owner@example.com", "name": "Olive"}
    assert (shown["scopes"], shown["networks"], shown["state"]) == (["keys:read"], ["127.0.0.0/8"], "live")
    assert shown["last_used_from"] == "127.0.0.1"
    assert [secret["ending"] for secret in shown["secrets"]] == [new.secret[-4:], key.secret[-4:]]
    assert [secret["ends_at"] is None for secret in shown["secrets"]] == [True, False]
    kept = [digest for key in ApiKey.objects.all() for digest in key.secrets.values_list("digest", flat=True)]
    assert not [text for text in (key.secret, new.secret, *kept) if text in answer.content.decode()]


def test_keys_of_service_accounts_are_listed_for_who_is_responsible_and_for_themselves(client, owner, stranger):
    bot = make_service(owner, "Night bot")
    of_bot = make_key(bot, "keys:read", name="Nightly")
    mine, others = make_key(owner, "keys:read", name="Mine"), make_key(stranger, "keys:read", name="Other")
    seen = {
        who: [key["name"] for key in client.get(KEYS, headers=bearer(key)).json()["data"]]
        for who, key in (("bot", of_bot), ("owner", mine), ("stranger", others))
    }
    assert seen == {"bot": ["Nightly"], "owner": ["Mine", "Nightly"], "stranger": ["Other"]}


def test_revoked_keys_are_left_out_and_expired_ones_say_so(client, owner):
    reader = make_key(owner, "keys:read", name="Reader")
    old, gone = make_key(owner, name="Old").key, make_key(owner, name="Gone").key
    now = timezone.now()
    ApiKey.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=2), expires_at=now - timedelta(days=1))
    ApiKey.objects.filter(pk=gone.pk).update(revoked_at=now + timedelta(days=1))
    listed = client.get(KEYS, headers=bearer(reader)).json()["data"]
    assert {key["name"]: key["state"] for key in listed} == {"Reader": "live", "Old": "expired"}


def test_a_long_list_comes_a_page_at_a_time_in_few_queries(client, owner, django_assert_max_num_queries):
    reader = make_key(owner, "keys:read", name="0")
    for number in range(1, 5):
        make_key(owner, name=str(number))
    with django_assert_max_num_queries(8):
        first = client.get(KEYS, {"limit": 3}, headers=bearer(reader)).json()
    rest = client.get(KEYS, {"cursor": first["next_cursor"]}, headers=bearer(reader)).json()
    assert [key["name"] for key in first["data"] + rest["data"]] == ["4", "3", "2", "1", "0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_it_needs_its_scope_or_a_session(client, owner_key, owner_client):
    assert "keys:read" in assert_problem(client.get(KEYS, headers=bearer(owner_key)), 403, "not-allowed")["detail"]
    assert owner_client.get(KEYS).status_code == 200
