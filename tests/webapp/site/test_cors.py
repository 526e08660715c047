"""Pages of other sites may call the API from a browser where the operator has named them."""

import pytest

from tests.factories import bearer
from tests.webapp.answers import assert_problem

pytestmark = pytest.mark.django_db
FRIEND, STRANGER = "https://app.example.org", "https://elsewhere.example.net"
ALLOWED = "Access-Control-Allow-Origin"


@pytest.fixture(autouse=True)
def a_friend(settings):
    settings.CORS_ALLOWED_ORIGINS = [FRIEND]
    settings.RATE_LIMITS_PER_KEY = {"requests": 1, "faq": 1, "images": 1, "other": 1}


def preflight(client, path: str, origin: str = FRIEND, **headers: str):
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", **headers}
    return client.options(path, headers=asked)


@pytest.mark.parametrize("path", ["/api/v1/faq/match", "/score"])
def test_a_preflight_needs_no_key_and_counts_in_no_limit(client, path):
    for _ in range(5):
        answer = preflight(client, path, **{"Access-Control-Request-Headers": "authorization,idempotency-key,prefer"})
        assert answer.status_code == 200
        assert answer[ALLOWED] == FRIEND
        allowed = answer["Access-Control-Allow-Headers"].split(", ")
        assert {"authorization", "x-api-key", "content-type", "idempotency-key", "prefer", "if-none-match"} <= set(
            allowed
        )
        assert "RateLimit" not in answer
        assert "Access-Control-Allow-Credentials" not in answer


def test_an_answer_can_be_read_with_the_headers_that_matter(client, owner_key):
    answer = client.get("/api/v1/me", headers={**bearer(owner_key), "Origin": FRIEND})
    assert answer[ALLOWED] == FRIEND
    assert "origin" in answer["Vary"].lower()
    exposed = set(answer["Access-Control-Expose-Headers"].split(", "))
    assert {"X-Request-ID", "RateLimit", "Retry-After", "Location", "ETag", "Link", "Idempotency-Replayed"} <= exposed
    assert {"X-Model", "X-Model-Version"} <= exposed


def test_so_can_an_error_and_a_refusal_of_the_limit(client, owner_key):
    assert_problem(client.get("/api/v1/me", headers={"Origin": FRIEND}), 401, "not-signed-in")
    answers = [client.get("/api/v1/me", headers={**bearer(owner_key), "Origin": FRIEND}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert {answer[ALLOWED] for answer in answers} == {FRIEND}


def test_others_are_not_let_in(client, owner_key):
    assert ALLOWED not in preflight(client, "/api/v1/me", STRANGER)
    assert ALLOWED not in client.get("/api/v1/me", headers={**bearer(owner_key), "Origin": STRANGER})


@pytest.mark.parametrize("path", ["/", "/keys/", "/accounts/login/", "/health/live", "/api/docs"])
def test_pages_are_not_opened_to_anybody(client, path):
    assert ALLOWED not in client.get(path, headers={"Origin": FRIEND})
    assert ALLOWED not in preflight(client, path)


def test_all_may_be_let_in_which_gives_away_no_cookies(client, settings, owner_key):
    settings.CORS_ALLOW_ALL_ORIGINS = True
    answer = client.get("/api/v1/me", headers={**bearer(owner_key), "Origin": STRANGER})
    assert answer[ALLOWED] == "*"
    assert "Access-Control-Allow-Credentials" not in answer


def test_nobody_is_let_in_by_default(client, settings):
    settings.CORS_ALLOWED_ORIGINS = []
    assert ALLOWED not in preflight(client, "/api/v1/me")
