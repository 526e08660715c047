import re

import pytest
from django.urls import reverse

from tests.factories import bearer, make_collection, make_key, make_model, make_plan, picture, rotate_key
from tests.webapp.answers import assert_problem
from webapp.keys.models import ApiKey

pytestmark = pytest.mark.django_db
ME = "/api/v1/me"


@pytest.fixture(autouse=True)
def small_limits(settings):
    settings.RATE_LIMITS_PER_KEY = {"requests": 20, "faq": 3, "images": 3, "other": 3}
    settings.RATE_LIMITS_PER_USER = {"requests": 30, "faq": 5, "images": 5, "other": 5}
    settings.RATE_LIMIT_BAD_KEYS = 3


def remaining(answer) -> dict[str, int]:
    return {name: int(left) for name, left in re.findall(r'"([\w-]+)";r=(\d+)', answer["RateLimit"])}


def test_each_answer_tells_the_limits_and_what_is_left(client, owner_key):
    answer = client.get(ME, headers=bearer(owner_key))
    every = '"requests-key";q=20;w=60, "requests-user";q=30;w=60'
    assert answer["RateLimit-Policy"] == f'"other-key";q=3;w=60, "other-user";q=5;w=60, {every}'
    assert remaining(answer) == {"other-key": 2, "other-user": 4, "requests-key": 19, "requests-user": 29}
    assert re.match(r'"other-key";r=2;t=\d+, "other-user";r=4;t=\d+, "requests-key";r=19;t=', answer["RateLimit"])


def test_past_the_limit_of_the_key_comes_a_429_that_says_when_to_come_back(client, owner_key):
    for _ in range(3):
        assert client.get(ME, headers=bearer(owner_key)).status_code == 200
    answer = client.get(ME, headers=bearer(owner_key))
    problem = assert_problem(answer, 429, "rate-limited")
    assert 1 <= int(answer["Retry-After"]) <= 60
    assert problem["detail"] == (
        f"The limit of this key, 3 other requests a minute, is used up. Try again in {answer['Retry-After']} s."
    )
    assert remaining(answer)["other-key"] == 0


def test_all_keys_of_a_person_share_their_limit(client, owner):
    first, second = make_key(owner, name="one"), make_key(owner, name="two")
    for key in (first, first, first, second, second):
        assert client.get(ME, headers=bearer(key)).status_code == 200
    answer = client.get(ME, headers=bearer(second))
    assert_problem(answer, 429, "rate-limited")
    assert remaining(answer)["other-user"] == 0


def test_what_a_full_key_is_refused_costs_its_owner_nothing(client, owner):
    first, second = make_key(owner, name="one"), make_key(owner, name="two")
    for _ in range(6):
        client.get(ME, headers=bearer(first))
    assert remaining(client.get(ME, headers=bearer(second)))["other-user"] == 1


def test_one_persons_limit_is_not_anothers(client, owner, stranger):
    key, other = make_key(owner), make_key(stranger)
    for _ in range(4):
        client.get(ME, headers=bearer(key))
    assert client.get(ME, headers=bearer(other)).status_code == 200


@pytest.mark.parametrize(("who", "whose"), [("key", "this key"), ("user", "your account")])
def test_every_request_counts_whatever_it_asks_for(client, owner, scoring, who, whose):
    make_collection()
    key = make_key(owner)
    make_plan(owner, **{f"requests_per_{who}": 4, f"other_per_{who}": 10})
    asks = [
        lambda: client.get(ME, headers=bearer(key)),
        lambda: client.post("/api/v1/faq/match", {"question": "how"}, "application/json", headers=bearer(key)),
        lambda: client.post("/api/v1/images/classify", {"files": [picture(), picture()]}, headers=bearer(key)),
        lambda: client.post("/score", {"input": "how"}, "application/json", headers=bearer(key)),
    ]
    for left, ask in enumerate(reversed(asks)):
        answer = ask()
        assert answer.status_code == 200
        assert remaining(answer)[f"requests-{who}"] == 3 - left
    for ask in asks:
        problem = assert_problem(ask(), 429, "rate-limited")
        assert f"The limit of {whose}, 4 requests a minute, is used up" in problem["detail"]


class TestPictures:
    """They are counted once the body is read: all of a request, or none."""

    @pytest.fixture
    def classify(self, client, owner_key, scoring):
        make_model("resnet152", kind="image", pool="gpu")

        def send(count: int, **data: object):
            files = {"files": [picture(name=f"{number}.png") for number in range(count)]}
            return client.post("/api/v1/images/classify", {**files, **data}, headers=bearer(owner_key))

        return send

    def test_what_does_not_fit_costs_no_picture_and_says_how_many_it_brings(self, classify):
        assert remaining(classify(2))["images-key"] == 1
        for _ in range(2):
            answer = classify(2)
            problem = assert_problem(answer, 429, "rate-limited")
            assert "This brings 2, and of the 3 pictures a minute of this key 1 are left" in problem["detail"]
            assert remaining(answer)["images-key"] == 1
        assert remaining(classify(1))["images-key"] == 0

    def test_more_than_ever_fits_is_called_so(self, classify):
        detail = assert_problem(classify(4), 429, "rate-limited")["detail"]
        assert detail == "This brings 4 pictures, and this key may have 3 a minute. Send less at once."

    def test_once_they_are_used_up_nothing_is_read(self, classify):
        assert classify(3).status_code == 200
        problem = assert_problem(classify(0, top_k="none"), 429, "rate-limited")
        assert "3 pictures a minute, is used up" in problem["detail"]

    def test_what_cannot_be_read_is_one_request_and_no_picture(self, classify):
        answer = classify(0)
        assert answer.status_code == 422
        assert remaining(answer) == {"images-key": 3, "images-user": 5, "requests-key": 19, "requests-user": 29}


def test_a_limit_of_nothing_says_so(client, owner):
    make_plan(owner, faq_per_key=0)
    answer = client.post("/api/v1/faq/match", {}, "application/json", headers=bearer(make_key(owner)))
    detail = assert_problem(answer, 429, "rate-limited")["detail"]
    assert detail == "The limit of this key is 0 questions a minute."


def test_a_page_past_the_limit_is_a_designed_429(owner_client):
    for _ in range(5):
        owner_client.get(reverse("usage:use-csv"))
    answer = owner_client.get(reverse("usage:use-csv"))
    assert answer.status_code == 429
    assert answer["Content-Type"].startswith("text/html")
    assert "Too many requests" in answer.content.decode()
    assert int(answer["Retry-After"]) >= 1


def test_what_people_change_counts_too(owner_client, owner):
    key = make_key(owner).key
    changes = [reverse("keys:rotate", args=[key.pk]), "/history/1/delete", "/history/delete"]
    for path in [*changes, "/history/1/delete", "/history/delete"]:
        assert owner_client.post(path, {"overlap": "for ever"}).status_code in {302, 404, 422}
    for path in [*changes, "/keys/"]:
        assert owner_client.post(path).status_code == 429, path


def test_a_key_that_has_used_up_its_owners_limit_can_be_ended(client, owner_client, owner):
    runaway = rotate_key(make_key(owner))
    make_plan(owner, other_per_user=2, requests_per_user=2)
    statuses = [client.get(ME, headers=bearer(runaway)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert owner_client.get(reverse("keys:list")).status_code == 200
    for page in ("keys:end-old", "keys:revoke"):
        path = reverse(page, args=[runaway.key.pk])
        assert [owner_client.get(path).status_code, owner_client.post(path).status_code] == [200, 302]
    assert not ApiKey.objects.get().is_live


def test_many_bad_keys_from_one_address_are_a_429_while_good_ones_go_on(client, owner_key):
    bad = [client.get(ME, headers=bearer(f"sp_zzzzzzzz_{i:043}")).status_code for i in range(5)]
    assert bad == [401, 401, 401, 429, 429]
    problem = assert_problem(client.get(ME, headers=bearer("sp_nope")), 429, "rate-limited")
    assert "from your network with keys that do not work. Check the key" in problem["detail"]
    assert client.get(ME, headers=bearer(owner_key)).status_code == 200
    elsewhere = client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="198.51.100.7")
    assert elsewhere.status_code == 401


def test_a_forged_forwarding_header_does_not_move_a_client_elsewhere(client, db):
    for i in range(3):
        client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": f"203.0.113.{i}"})
    answer = client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": "203.0.113.99"})
    assert_problem(answer, 429, "rate-limited")


def test_behind_a_trusted_proxy_clients_are_told_apart(client, settings, db):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for _ in range(4):
        client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": "203.0.113.1"})
    answer = client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": "203.0.113.2"})
    assert answer.status_code == 401


def test_only_what_the_trusted_proxy_has_written_counts(client, settings, owner_key):
    """It adds whom it saw at the end; what stands before is whatever the client has sent."""
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    sent = [f"203.0.113.{i}, 198.51.100.1" for i in range(4)]
    statuses = [client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": each}).status_code for each in sent]
    assert statuses == [401, 401, 401, 429]
    victim = client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": "203.0.113.0"})
    assert victim.status_code == 401  # nobody was locked out by it
    good = client.get(ME, headers={**bearer(owner_key), "X-Forwarded-For": sent[0]})
    assert good.status_code == 200


@pytest.mark.parametrize("forwarded", ["", "nonsense", "203.0.113.1", "203.0.113.1:4711, ", "[2001:db8::1]:80, x"])
def test_a_forwarding_header_that_makes_no_sense_is_no_error(client, settings, owner_key, forwarded):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    assert client.get(ME, headers={**bearer("sp_nope"), "X-Forwarded-For": forwarded}).status_code == 401
    assert client.get(ME, headers={**bearer(owner_key), "X-Forwarded-For": forwarded}).status_code == 200


def test_ipv4_clients_of_a_server_that_listens_on_both_are_told_apart(client, db):
    for _ in range(4):
        client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="::ffff:192.0.2.1")
    assert client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="192.0.2.1").status_code == 429
    assert client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="::ffff:192.0.2.2").status_code == 401


def test_addresses_of_one_ipv6_network_count_together(client, db):
    for i in range(3):
        client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR=f"2001:db8::{i + 1}")
    assert client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="2001:db8::ffff").status_code == 429
    assert client.get(ME, headers=bearer("sp_nope"), REMOTE_ADDR="2001:db8:1::1").status_code == 401


def test_without_its_store_everything_is_let_through_with_a_warning(client, owner_key, settings, caplog):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"  # nobody listens there
    answers = [client.get(ME, headers=bearer(owner_key)) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit" not in answers[0]
    warnings = [record for record in caplog.records if "rate_limits_unavailable" in record.getMessage()]
    assert len(warnings) == 1  # and then it waits before it asks again
