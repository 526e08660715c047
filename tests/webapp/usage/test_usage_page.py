"""How much was asked: on the page, by API, as CSV; one's own, or everybody's for those who may."""

import csv
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import bearer, make_key, make_member
from webapp.keys.models import Scope
from webapp.usage.models import Use

pytestmark = pytest.mark.django_db


def today():
    return timezone.now().date()


def make_use(user, **fields):
    known = {"day": today(), "source": "api", "model": "faq-javascript", "version": "3", "requests": 2, "rows": 5}
    return Use.objects.create(user=user, **{**known, "errors": 1, "latency": {"60": 5}, **fields})


def rows_of(answer):
    return list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))


class TestThePage:
    def test_it_shows_the_persons_own_use_and_nobody_elses(self, owner_client, owner, stranger):
        make_use(owner, rows=1234)
        make_use(stranger, rows=98765)
        page = owner_client.get("/usage/").content.decode()
        assert "1,234" in page
        assert "98,765" not in page

    def test_a_person_without_the_right_sees_only_their_own_whatever_they_ask_for(self, owner_client, stranger):
        make_use(stranger, rows=98765)
        page = owner_client.get("/usage/?who=all&by=user").content.decode()
        assert "98,765" not in page
        assert stranger.email not in page

    def test_an_admin_sees_everybodys_by_person(self, client, owner):
        make_use(owner)
        make_use(None)
        client.force_login(make_member("admin"))
        page = client.get("/usage/?who=all&by=user").content.decode()
        assert owner.email in page
        assert "Deleted account" in page

    def test_what_is_chosen_stays_in_all_links(self, owner_client, owner):
        make_use(owner)
        page = owner_client.get("/usage/?days=90&model=faq-javascript&by=version").content.decode()
        assert "Version 3" in page
        assert "/usage/export.csv?days=90&amp;by=version&amp;model=faq-javascript" in page
        assert "?days=7&amp;by=version&amp;model=faq-javascript" in page

    def test_choices_that_make_no_sense_are_as_if_not_made(self, owner_client, owner):
        make_use(owner, rows=1234)
        answer = owner_client.get("/usage/?days=-1&by=weather&key=%00&model=%00nothing&version=%26&source=x&who=me")
        assert answer.status_code == 200
        assert "1,234" in answer.content.decode()

    def test_a_time_without_use_says_so(self, owner_client, owner):
        make_use(owner, day=today() - timedelta(days=60))
        assert "Nothing was asked" in owner_client.get("/usage/?days=7").content.decode()

    def test_strangers_are_sent_to_sign_in(self, client):
        assert client.get("/usage/").headers["Location"].startswith("/accounts/login/")
        assert client.get("/usage/export.csv").headers["Location"].startswith("/accounts/login/")


class TestTheFile:
    def test_it_has_a_line_for_all_that_differs(self, owner_client, owner, owner_key):
        make_use(owner, key=owner_key.key)
        make_use(owner, source="batch", rows=200, requests=0, latency={})
        head, *lines = rows_of(owner_client.get("/usage/export.csv"))
        assert head == ["day", "key", "source", "model", "version", "requests", "rows", "errors", "p50_ms", "p95_ms"]
        assert [line[1:8] for line in lines] == [
            ["", "batch", "faq-javascript", "3", "0", "200", "1"],
            [owner_key.prefix, "api", "faq-javascript", "3", "2", "5", "1"],
        ]
        assert lines[0][8:] == ["", ""]

    def test_no_cell_is_taken_for_a_formula(self, owner_client, owner):
        make_use(owner, model="=cmd|' /C calc'!A0")
        assert rows_of(owner_client.get("/usage/export.csv"))[1][3].startswith("'=")


class TestTheApi:
    @pytest.fixture
    def ask(self, client, owner_key):
        return lambda query="", key=owner_key: client.get(f"/api/v1/usage{query}", headers=bearer(key))

    def test_it_groups_by_what_is_asked(self, ask, owner, owner_key):
        make_use(owner, key=owner_key.key)
        make_use(owner, version="4", rows=10)
        answer = ask("?group_by=model,version").json()
        assert answer["total"]["rows"] == 15
        assert [(line["version"], line["rows"]) for line in answer["data"]] == [("4", 10), ("3", 5)]
        assert ask(f"?key={owner_key.prefix}").json()["total"]["rows"] == 5

    def test_versions_of_one_name_are_told_apart_by_their_models(self, ask, owner):
        make_use(owner, model="digits", version="3", rows=2)
        make_use(owner, version="3", rows=5)
        lines = ask("?group_by=version").json()["data"]
        assert [(line["model"], line["version"], line["rows"]) for line in lines] == [
            ("faq-javascript", "3", 5),
            ("digits", "3", 2),
        ]

    def test_days_are_bounded_and_in_order(self, ask):
        assert ask("?since=2026-02-01&until=2026-01-01").json()["errors"][0]["field"] == "since"
        assert ask("?since=2001-01-01").json()["errors"][0]["field"] == "since"
        assert ask("?since=yesterday").status_code == 422
        assert ask("?group_by=weather").json()["errors"][0]["field"] == "group_by"
        assert ask("?until=0001-01-01").status_code == 200

    def test_everybodys_needs_right_and_scope(self, ask, stranger):
        make_use(stranger)
        assert ask("?all=true").status_code == 403
        admin = make_member("admin")
        assert ask("?all=true", make_key(admin)).status_code == 403
        key = make_key(admin, Scope.ADMIN.value, name="Reports")
        assert ask("?all=true&group_by=user", key).json()["data"][0]["user"] == stranger.email

    def test_as_csv_too(self, client, owner, owner_key):
        make_use(owner)
        assert len(rows_of(client.get("/api/v1/usage.csv", headers=bearer(owner_key)))) == 2
