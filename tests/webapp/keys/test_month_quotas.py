"""What a calendar month has room for: counted, refused, given back, kept."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from tests.factories import bearer, make_collection, make_key, make_plan, picture
from tests.webapp.answers import assert_problem
from webapp.errors import QuotaExceeded
from webapp.keys import limits, month_use
from webapp.keys.models import MonthUse
from webapp.keys.month_use import Account, Use, month_of
from webapp.keys.principal import principal_of

pytestmark = pytest.mark.django_db
MATCH, CLASSIFY = "/api/v1/faq/match", "/api/v1/images/classify"
ASK = {"question": "how to copy"}


@pytest.fixture(autouse=True)
def pods(scoring):
    make_collection()
    return scoring


@pytest.fixture
def match(client, owner_key):
    def match(key=owner_key, body=ASK):
        return client.post(MATCH, body, content_type="application/json", headers=bearer(key))

    return match


@pytest.fixture
def classify(client, owner_key):
    def classify(*files, key=owner_key):
        return client.post(CLASSIFY, {"files": files}, headers=bearer(key))

    return classify


def left(answer) -> dict[str, int]:
    return {name: int(rest) for name, rest in re.findall(r'"month-([\w-]+)";r=(\d+)', answer["RateLimit"])}


def used(user, key=None) -> tuple[int, int]:
    standing = limits.month_standing(user, key)
    who = "key" if key else "user"
    return standing["requests"][who].used, standing["rows"][who].used


def written(user, key=None) -> tuple[int, int]:
    month_use.write()
    return MonthUse.objects.values_list("requests", "rows").get(user=user, key=key)


def lose_the_counters() -> None:
    """As when Redis comes back empty, or this process is started again."""
    month_use.write()
    limits._counter.cache_clear()
    month_use.forget()


def test_what_is_scored_counts_for_the_person_and_the_key(match, classify, owner, owner_key):
    assert match().status_code == 200
    assert classify(picture(), picture(name="cat.png")).status_code == 200
    assert used(owner) == used(owner, owner_key.key) == (2, 3)
    assert written(owner) == written(owner, owner_key.key) == (2, 3)


def test_each_answer_tells_the_quotas_of_the_month(match, owner):
    make_plan(owner, month_requests_per_user=100, month_rows_per_key=50)
    answer = match()
    month = month_of()
    assert f'"month-rows-key";q=50;w={month.seconds}' in answer["RateLimit-Policy"]
    assert f'"month-requests-user";q=100;w={month.seconds}' in answer["RateLimit-Policy"]
    assert left(answer) == {"rows-key": 49, "requests-user": 99}
    [reset] = re.findall(r'"month-rows-key";r=49;t=(\d+)', answer["RateLimit"])
    assert abs(int(reset) - month.seconds_left) < 60


def test_past_the_quota_comes_a_429_until_the_next_month(match, owner):
    make_plan(owner, month_requests_per_user=2)
    assert [match().status_code for _ in range(2)] == [200, 200]
    answer = match()
    problem = assert_problem(answer, 429, "quota-exceeded")
    assert "2 requests a month" in problem["detail"]
    assert "your account" in problem["detail"]
    assert abs(int(answer["Retry-After"]) - month_of().seconds_left) < 60
    assert left(answer) == {"requests-user": 0}
    assert used(owner) == (2, 2)


def test_what_does_not_fit_says_what_is_left_and_is_charged_nowhere(classify, match, owner, owner_key):
    make_plan(owner, month_rows_per_key=5)
    files = [picture(name=f"{number}.png") for number in range(4)]
    assert classify(*files).status_code == 200
    answer = classify(*[picture(name=f"{number}.png") for number in range(3)])
    assert "of the 5 a month of this key" in assert_problem(answer, 429, "quota-exceeded")["detail"]
    assert used(owner, owner_key.key) == (1, 4)
    assert left(answer) == {"rows-key": 1}
    assert match().status_code == 200


def test_a_key_that_is_spent_leaves_the_others_of_its_owner(match, owner):
    make_plan(owner, month_requests_per_key=1)
    other = make_key(owner, name="other")
    assert [match().status_code, match().status_code, match(other).status_code] == [200, 429, 200]
    assert used(owner) == (2, 2)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(httpx.ConnectError("gone"), 503), (httpx.ReadTimeout("slow"), 504)],
)
def test_what_the_pods_cannot_answer_costs_no_quota(match, pods, owner, failure, status):
    make_plan(owner, month_rows_per_user=10)
    pods.answers(*[failure] * 4)
    answer = match()
    assert answer.status_code == status
    assert left(answer) == {"rows-user": 10}
    assert used(owner) == written(owner) == (0, 0)


def test_what_is_refused_as_wrong_costs_no_quota(match, owner):
    assert match(body={"question": ""}).status_code == 422
    assert match(body={"question": "?", "collection": "none"}).status_code in {404, 422}
    assert used(owner) == (0, 0)


def test_pictures_that_failed_among_others_cost_nothing(classify, owner):
    answer = classify(picture(), SimpleUploadedFile("notes.txt", b"not a picture"), picture(name="cat.png"))
    assert [bool(each["error"]) for each in answer.json()["results"]] == [False, True, False]
    assert used(owner) == (1, 2)


def test_pages_and_the_reference_address_count_too(owner_client, client, owner, owner_key, pods):
    assert owner_client.get(reverse("faq:search"), {"q": "how to copy"}).status_code == 200
    assert owner_client.post(reverse("images:classify"), {"files": [picture()]}).status_code == 200
    assert used(owner) == (2, 2)
    assert client.post("/score", {"input": "how"}, "application/json", headers=bearer(owner_key)).status_code == 200
    assert client.post("/score", {"a": picture()}, headers=bearer(owner_key)).status_code == 200
    assert used(owner) == (4, 4)
    pods.answers(*[httpx.ConnectError("gone")] * 8)
    assert owner_client.get(reverse("faq:search"), {"q": "how to copy it"}).status_code == 503
    assert client.post("/score", {"a": picture()}, headers=bearer(owner_key)).status_code == 503
    assert used(owner) == (4, 4)


def test_what_is_only_accepted_is_left_to_the_batch_that_scores_it(rf, owner):
    request = rf.post(MATCH)
    request.user = owner
    limits.charge(request, principal_of(request), "faq")
    assert used(owner) == (1, 1)
    limits.settle(request, 202)
    assert used(owner) == (0, 0)


def test_what_scores_nothing_counts_in_no_month(client, owner_client, owner, owner_key):
    client.get("/api/v1/me", headers=bearer(owner_key))
    owner_client.get(reverse("keys:list"))
    assert used(owner) == (0, 0)


def test_a_spent_quota_stays_spent_when_the_counters_are_lost(match, owner, owner_key):
    make_plan(owner, month_requests_per_user=3, month_rows_per_key=3)
    assert [match().status_code for _ in range(2)] == [200, 200]
    lose_the_counters()
    assert used(owner) == used(owner, owner_key.key) == (2, 2)
    assert [match().status_code for _ in range(2)] == [200, 429]
    lose_the_counters()
    assert match().status_code == 429


def test_a_new_month_begins_with_nothing_used(match, owner, owner_key):
    before = month_of(timezone.now() - timedelta(days=32))
    make_plan(owner, month_rows_per_user=5)
    Account(before, owner.pk, owner_key.key.pk).add(Use(5, 5))
    assert match().status_code == 200
    assert used(owner) == (1, 1)


def test_months_are_the_calendars_in_utc():
    december = month_of(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert str(december) == "2026-12"
    assert december.ends_at == datetime(2027, 1, 1, tzinfo=UTC)
    assert december.seconds == 31 * 86_400
    assert december.seconds_left > 0 or timezone.now() > december.ends_at
    assert str(month_of(datetime.fromisoformat("2027-01-01T00:30:00+01:00"))) == "2026-12"
    assert month_of(datetime(2024, 2, 29, tzinfo=UTC)).seconds == 29 * 86_400


def test_me_tells_limits_and_what_is_left(client, match, owner, owner_key, settings):
    make_plan(owner, name="Gold", faq_per_key=10, month_rows_per_user=100)
    match()
    me = client.get("/api/v1/me", headers=bearer(owner_key)).json()
    assert me["plan"] == "Gold"
    assert me["limits"]["faq"] == {"key": 10, "user": settings.RATE_LIMITS_PER_USER["faq"]}
    assert me["left"]["faq"] == {"key": 9, "user": settings.RATE_LIMITS_PER_USER["faq"] - 1}
    assert me["month"] == {
        "ends_at": month_of().ends_at.isoformat().replace("+00:00", "Z"),
        "requests": {who: {"used": 1, "quota": None, "left": None} for who in ("key", "user")},
        "rows": {"key": {"used": 1, "quota": None, "left": None}, "user": {"used": 1, "quota": 100, "left": 99}},
    }


def test_me_tells_a_session_of_its_person_alone(owner_client, settings):
    me = owner_client.get("/api/v1/me").json()
    assert me["plan"] is None
    assert set(me["left"]["faq"]) == set(me["month"]["rows"]) == {"user"}
    settings.REDIS_URL = "redis://127.0.0.1:9/0"  # nobody listens there
    me = owner_client.get("/api/v1/me").json()
    assert me["left"] == {}
    assert me["month"]["rows"]["user"]["used"] == 0


def test_the_account_page_shows_the_use_of_the_month(owner_client, owner):
    page = owner_client.get(reverse("accounts:profile")).content.decode()
    assert "Use this month" in page
    assert 'role="meter"' not in page
    make_plan(owner, name="Gold", month_rows_per_user=20_000, month_requests_per_user=0)
    count(owner, 5_000)
    page = owner_client.get(reverse("accounts:profile")).content.decode()
    assert "Your plan is Gold." in page
    assert "<strong>5,000</strong> of 20,000" in page
    assert 'width="25.0%"' in page
    assert "<strong>0</strong> of 0" in page


# Batches --------------------------------------------------------------------------------------------------------------


def count(user, rows: int, key=None, *, batch: UUID | None = None, **options) -> None:
    """Has a batch, or a new one, count so many rows."""
    with limits.month_transaction():
        limits.count_batch(user, key, batch=batch or uuid4(), rows=rows, **options)


def test_a_batch_counts_its_rows_and_in_the_end_those_that_it_scored(owner, owner_key):
    make_plan(owner, month_rows_per_user=1000)
    batch = uuid4()
    count(owner, 600, owner_key.key, batch=batch)
    assert used(owner) == used(owner, owner_key.key) == (0, 600)
    count(owner, 450, owner_key.key, batch=batch, before=600)
    assert used(owner) == written(owner) == written(owner, owner_key.key) == (0, 450)
    lose_the_counters()
    assert used(owner) == (0, 450)


def test_a_batch_that_does_not_fit_counts_nothing(owner):
    make_plan(owner, month_rows_per_user=1000)
    count(owner, 600)
    with pytest.raises(QuotaExceeded, match="counts 401 rows, and of the 1,000 a month of your account 400 are left"):
        count(owner, 401)
    assert used(owner) == written(owner) == (0, 600)
    count(owner, 400)
    with pytest.raises(QuotaExceeded) as refused:
        count(owner, 1)
    assert refused.value.retry_after == pytest.approx(month_of().seconds_left, abs=60)


def test_a_batch_whose_transaction_comes_to_nothing_counts_nothing(owner):
    batch = uuid4()

    def fail() -> None:
        with limits.month_transaction():
            limits.count_batch(owner, None, batch=batch, rows=600)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert used(owner) == (0, 0)
    count(owner, 600, batch=batch)
    assert used(owner) == written(owner) == (0, 600)


def test_what_another_process_has_counted_is_seen_by_a_batch(owner):
    make_plan(owner, month_rows_per_user=1000)
    count(owner, 100)
    MonthUse.objects.update(rows=900)  # as the site did meanwhile, beside this worker
    with pytest.raises(QuotaExceeded):
        count(owner, 101)


def test_rows_go_back_to_the_month_they_came_from(owner):
    long_ago, batch = timezone.now() - timedelta(days=40), uuid4()
    count(owner, 50, batch=batch, at=long_ago)
    count(owner, 10)
    count(owner, 0, batch=batch, before=50, at=long_ago)
    assert used(owner) == (0, 10)
    assert MonthUse.objects.get(month=month_of(long_ago).begins).rows == 0


def test_nothing_falls_below_zero(owner):
    count(owner, 10)
    count(owner, 0, before=50)
    assert used(owner) == written(owner) == (0, 0)


# What lasts -----------------------------------------------------------------------------------------------------------


def test_counting_asks_the_database_once(owner, owner_key, django_assert_num_queries):
    count(owner, 1, owner_key.key)
    limits.month_standing(owner, owner_key.key)
    with django_assert_num_queries(0):
        standing = limits.month_standing(owner, owner_key.key)
    assert standing["rows"]["key"].used == 1


def test_use_adds_up_over_processes_and_writes(owner):
    month = month_of()
    for requests in (1, 2):
        Account(month, owner.pk, None).add(Use(requests, 10))
        month_use.write()
    Account(month, owner.pk, None).add(Use(4, 0))
    assert Account(month, owner.pk, None).used() == {"user": Use(7, 20)}
    assert written(owner) == (7, 20)


def test_what_the_database_did_not_take_is_kept(owner, monkeypatch):
    from django.db import OperationalError

    def away(*_arguments: object, **_options: object) -> None:
        raise OperationalError("gone")

    Account(month_of(), owner.pk, None).add(Use(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(connections["default"], "cursor", away)
        with pytest.raises(OperationalError):
            month_use.write()
    Account(month_of(), owner.pk, None).add(Use(1, 1))
    assert written(owner) == (2, 2)


def test_use_goes_with_its_owner(owner, owner_key):
    Account(month_of(), owner.pk, owner_key.key.pk).add(Use(1, 1))
    month_use.write()
    assert MonthUse.objects.count() == 2
    owner.delete()
    assert not MonthUse.objects.exists()


def test_old_months_are_deleted(owner):
    for days in (10, 200, 500):
        Account(month_of(timezone.now() - timedelta(days=days)), owner.pk, None).add(Use(1, 1))
    month_use.write()
    month_use.prune()
    assert MonthUse.objects.count() == 2


def test_while_the_store_is_away_use_is_still_kept(match, owner, settings):
    make_plan(owner, month_requests_per_user=1)
    settings.REDIS_URL = "redis://127.0.0.1:9/0"  # nobody listens there
    assert [match().status_code for _ in range(3)] == [200, 200, 200]
    assert used(owner) == written(owner) == (3, 3)
