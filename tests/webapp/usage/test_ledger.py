"""Who asked how much of what: counted for each person, key, model and version, by day."""

from datetime import date, timedelta

import httpx2 as httpx
import pytest
from django.utils import timezone

from tests.factories import bearer, make_collection, make_key, picture
from webapp.keys.principal import principal_of_key
from webapp.usage import ledger
from webapp.usage.ledger import Wanted
from webapp.usage.models import Use

TERMS = {"question": [], "entry": []}
pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(client, scoring):
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]

    def ask(key, question="how to copy"):
        body = {"question": question}
        return client.post("/api/v1/faq/match", body, content_type="application/json", headers=bearer(key))

    return ask


def wanted(user, days=7, **wishes) -> Wanted:
    ledger.write()
    today = timezone.now().date()
    return Wanted(user, today - timedelta(days=days - 1), today, **wishes)


def figures(counts):
    return counts.requests, counts.rows, counts.errors


def make_use(user=None, *, day=None, rows=1, **fields):
    day = day or timezone.now().date()
    return Use.objects.create(
        user=user, day=day, rows=rows, **{"source": "api", "model": "digits", "version": "1", "requests": 1, **fields}
    )


class TestWhatIsCounted:
    def test_each_person_has_their_own(self, ask, owner, owner_key, stranger):
        ask(owner_key)
        ask(owner_key)
        ask(make_key(stranger))
        assert figures(ledger.total(wanted(owner))) == (2, 2, 0)
        assert figures(ledger.total(wanted(stranger))) == (1, 1, 0)
        assert figures(ledger.total(wanted(None))) == (3, 3, 0)

    def test_several_pictures_are_one_request_with_several_rows(self, client, owner, owner_key, scoring):
        files = [picture(name=f"{name}.png") for name in "abc"]
        client.post("/api/v1/images/classify", {"files": files}, headers=bearer(owner_key))
        assert figures(ledger.total(wanted(owner))) == (1, 3, 0)

    def test_a_failure_is_an_error_and_keeps_its_latency(self, ask, owner, owner_key, scoring):
        scoring.answers(httpx.ReadTimeout("slow"))
        assert ask(owner_key).status_code == 504
        found = ledger.total(wanted(owner))
        assert figures(found) == (1, 1, 1)
        assert found.error_rate == 1.0
        assert found.p95_ms is not None

    def test_pages_and_keys_are_told_apart(self, ask, owner, owner_key, owner_client):
        ask(owner_key)
        owner_client.get("/faq/?q=copy")
        by_key = {line.names: line.counts.rows for line in ledger.lines(wanted(owner), ["source", "key"])}
        assert by_key == {("api", owner_key.prefix): 1, ("page", ""): 1}

    def test_a_batch_counts_its_rows_and_no_latency(self, owner, owner_key):
        who = principal_of_key(owner_key.key)
        ledger.note(who, source="batch", model="digits", version="1", requests=0, rows=200, errors=3)
        found = ledger.total(wanted(owner))
        assert (*figures(found), found.p50_ms) == (0, 200, 3, None)


class TestReading:
    def test_days_without_use_are_there_too(self, owner):
        today = timezone.now().date()
        make_use(owner, day=today - timedelta(days=2), rows=5)
        days = ledger.by_day(wanted(owner, days=4))
        assert [(day, counts.rows) for day, counts in days] == [
            (today - timedelta(days=ago), rows) for ago, rows in ((3, 0), (2, 5), (1, 0), (0, 0))
        ]

    def test_wishes_leave_out_the_rest(self, owner, owner_key):
        make_use(owner, key=owner_key.key, rows=1)
        make_use(owner, model="faq", version="2", rows=10)
        make_use(owner, model="faq", version="10", source="page", rows=100)
        assert ledger.total(wanted(owner, model="faq")).rows == 110
        assert ledger.total(wanted(owner, model="faq", version="2")).rows == 10
        assert ledger.total(wanted(owner, key=owner_key.prefix)).rows == 1
        assert ledger.total(wanted(owner, source="page")).rows == 100
        choices = ledger.choices(wanted(owner))
        assert choices.models == ["digits", "faq"]
        assert choices.versions == ["1", "2", "10"]
        assert choices.keys == [(owner_key.prefix, "Script")]

    def test_groups_come_by_their_rows_or_by_day(self, owner):
        today = timezone.now().date()
        make_use(owner, version="1", rows=1)
        make_use(owner, version="2", rows=2)
        make_use(owner, version="2", rows=2, day=today - timedelta(days=1))
        assert [line.names for line in ledger.lines(wanted(owner), ["model", "version"])] == [
            ("digits", "2"),
            ("digits", "1"),
        ]
        assert [line.names[0] for line in ledger.lines(wanted(owner), ["day"])] == [
            (today - timedelta(days=1)).isoformat(),
            today.isoformat(),
        ]

    def test_what_somebody_used_outlives_the_account(self, ask, owner, owner_key):
        ask(owner_key)
        ledger.write()
        owner.delete()
        assert ledger.total(wanted(None)).rows == 1
        assert [line.names for line in ledger.lines(wanted(None), ["user"])] == [("",)]

    def test_somebody_who_has_just_left_spoils_nothing(self, ask, owner, owner_key, stranger):
        ask(owner_key)
        ask(make_key(stranger))
        owner.delete()
        assert ledger.total(wanted(None)).rows == 2
        assert ledger.total(wanted(stranger)).rows == 1


class TestMerging:
    def test_the_figures_stay_and_the_rows_become_few(self, owner, stranger):
        for number in range(10):
            make_use(owner, errors=number % 2, latency={"50": 1})
            make_use(stranger)
        make_use(None)
        before = figures(ledger.total(wanted(None)))
        ledger.merge()
        assert Use.objects.count() == 3
        for _ in range(2):
            make_use(owner, latency={"50": 1})
            ledger.merge()
        assert Use.objects.count() == 3
        assert figures(ledger.total(wanted(None))) == tuple(sum(each) for each in zip(before, (2, 2, 0), strict=True))
        assert Use.objects.get(user=owner).latency == {"50": 12}

    def test_many_are_merged_in_parts(self, owner, monkeypatch):
        monkeypatch.setattr(ledger, "MERGED_AT_ONCE", 3)
        for _ in range(10):
            make_use(owner)
        ledger.merge()
        assert [(row.requests, row.merged) for row in Use.objects.all()] == [(10, True)]

    def test_what_is_very_old_is_forgotten(self, owner):
        make_use(owner, day=date(2020, 1, 1))
        make_use(owner)
        ledger.prune()
        assert Use.objects.count() == 1
