"""The history page: one's own requests, to look at and to delete."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import make_key, make_record
from webapp.usage.models import ScoringRecord

PART = {"HX-Request": "true"}


def subjects(answer) -> list[str]:
    return [record.subject for record in answer.context["records"]]


def test_strangers_are_sent_to_sign_in(client, db):
    for path in ("/history/", "/history/delete"):
        assert client.get(path)["Location"].startswith("/accounts/login/")


def test_an_empty_history_has_a_page(owner_client):
    assert owner_client.get("/history/").status_code == 200


def test_only_ones_own_requests_are_shown_newest_first(owner_client, owner, stranger):
    now = timezone.now()
    make_record(owner, subject="first", created_at=now - timedelta(hours=1))
    make_record(owner, subject="second", created_at=now)
    make_record(stranger, subject="a secret of theirs")
    page = owner_client.get("/history/")
    assert subjects(page) == ["second", "first"]
    assert "a secret of theirs" not in page.text


def test_what_named_its_version_is_marked(owner_client, owner):
    make_record(owner, model="faq-javascript", version="7")
    assert "Pinned" not in owner_client.get("/history/").text
    make_record(owner, model="faq-javascript", version="8", pinned=True)
    assert "Pinned" in owner_client.get("/history/").text


def test_it_is_filtered_by_kind(owner_client, owner):
    make_record(owner, subject="a question")
    make_record(owner, subject="dog.png", kind="image")
    assert subjects(owner_client.get("/history/?kind=image")) == ["dog.png"]
    assert subjects(owner_client.get("/history/?kind=faq")) == ["a question"]
    assert len(subjects(owner_client.get("/history/?kind=nonsense"))) == 2


def test_all_kinds_of_rows_are_readable(owner_client, owner):
    key = make_key(owner, name="Nightly").key
    make_record(owner, key=key, source="api", answer=[{"id": "js-1", "question": "Copy?", "probability": 0.91}])
    make_record(
        owner, kind="image", subject="dog.png", answer=[{"id": "n02111889", "label": "Samoyed", "probability": 0.9}]
    )
    make_record(owner, subject="<b>bold</b>", outcome="scoring-timeout")
    page = owner_client.get("/history/").text
    for words in ("Nightly", "Copy?", "Samoyed", "dog.png", "&lt;b&gt;bold&lt;/b&gt;"):
        assert words in page


@pytest.mark.parametrize("kind", ["", "faq"])
def test_older_rows_follow_page_by_page_without_gap_or_repeat(owner_client, owner, kind):
    moment = timezone.now()
    # Many share a microsecond, so that the cursor must not rest on time alone.
    for number in range(120):
        make_record(owner, subject=str(number), created_at=moment - timedelta(seconds=number // 40))
    seen, cursor = [], ""
    for _ in range(3):
        answer = owner_client.get("/history/", {"kind": kind, "before": cursor}, headers=PART)
        assert "<html" not in answer.text
        seen += subjects(answer)
        cursor = answer.context["next_cursor"]
    assert cursor is None
    assert sorted(seen, key=int) == [str(number) for number in range(120)]


@pytest.mark.parametrize(
    "cursor", ["x", "1", "1-2-3", "-1", "1-9999999999999999999999", "99999999999999999999999-1", "1-x"]
)
def test_a_cursor_nobody_made_is_a_422(owner_client, cursor):
    assert owner_client.get("/history/", {"before": cursor}).status_code == 422


def test_one_row_can_be_deleted(owner_client, owner):
    gone, kept = make_record(owner), make_record(owner)
    assert owner_client.post(f"/history/{gone.pk}/delete")["Location"] == "/history/"
    assert list(ScoringRecord.objects.all()) == [kept]


def test_a_script_that_deletes_gets_nothing_to_put_in_its_place(owner_client, owner):
    answer = owner_client.post(f"/history/{make_record(owner).pk}/delete", headers=PART)
    assert (answer.status_code, answer.content) == (200, b"")


def test_somebody_elses_row_is_not_there(owner_client, stranger):
    record = make_record(stranger)
    assert owner_client.post(f"/history/{record.pk}/delete").status_code == 404
    assert ScoringRecord.objects.filter(pk=record.pk).exists()


@pytest.mark.parametrize("number", ["0", "9" * 30])
def test_a_row_that_never_was_is_a_404(owner_client, number):
    assert owner_client.post(f"/history/{number}/delete").status_code == 404


def test_deleting_all_asks_first_and_spares_others(owner_client, owner, stranger):
    make_record(owner)
    theirs = make_record(stranger)
    assert owner_client.get("/history/delete").status_code == 200
    assert ScoringRecord.objects.count() == 2
    assert owner_client.post("/history/delete")["Location"] == "/history/"
    assert list(ScoringRecord.objects.all()) == [theirs]


def test_nothing_is_deleted_by_a_link(owner_client, owner):
    record = make_record(owner)
    assert owner_client.get(f"/history/{record.pk}/delete").status_code == 405
    assert ScoringRecord.objects.exists()


def test_the_admin_sees_that_something_was_scored_but_not_what(client, admin, owner):
    record = make_record(
        owner, subject="a private matter", answer=[{"id": "x", "question": "theirs", "probability": 1}]
    )
    client.force_login(admin)
    for path in ("/admin/usage/scoringrecord/", f"/admin/usage/scoringrecord/{record.pk}/change/"):
        page = client.get(path)
        assert page.status_code == 200
        assert "owner@example.com" in page.text
        assert "a private matter" not in page.text
        assert "theirs" not in page.text
