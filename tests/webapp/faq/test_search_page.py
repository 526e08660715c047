"""The search page, whole and in part."""

import re
from datetime import timedelta

import httpx2 as httpx
import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from tests.factories import make_collection
from tests.webapp.pods import Pods, refusal
from webapp.faq.models import Collection, Entry, Phrasing
from webapp.faq.queries import example_questions
from webapp.usage.models import ScoringRecord

PART = {"HX-Request": "true", "HX-Target": "results"}
TERMS = {"question": ["copy"], "entry": ["copy", "array"]}


@pytest.fixture
def pods(db, scoring: Pods) -> Pods:
    make_collection()
    scoring.faq = [("js-1", "js-1-a", 0.912, TERMS), ("js-2", "js-2-a", 0.1, TERMS)]
    return scoring


@pytest.fixture
def search(owner_client, pods):
    def search(question, headers=None, **parameters):
        return owner_client.get("/faq/", {"q": question, **parameters}, headers=headers or {})

    return search


def test_a_stranger_is_sent_to_sign_in_and_back(client, db):
    answer = client.get("/faq/?q=copy")
    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/faq/%3Fq%3Dcopy"


def test_the_page_offers_examples_before_a_question_is_asked(owner_client, pods):
    Phrasing.objects.create(
        entry=Entry.objects.get(external_id="js-1"), text="duplicate a list of things", held_out=True
    )
    answer = owner_client.get("/faq/")
    assert answer.status_code == 200
    assert "duplicate a list of things" in answer.text
    assert not pods.sent
    assert not ScoringRecord.objects.exists()


def test_a_question_in_the_address_is_answered_in_the_page(search):
    page = search("how to copy")
    assert page.status_code == 200
    assert page.templates[0].name == "faq/search.html"
    assert 'value="how to copy"' in page.text
    assert "How do I <mark>copy</mark> an <mark>array</mark>?" in page.text
    assert "91.2" in page.text
    assert "Answer <strong>1</strong>" in page.text


@pytest.mark.parametrize(
    ("matched", "line"),
    [
        (["copy", "??"], "how to <mark>copy</mark> === ??</span>”"),
        (["...", "==", "==="], "how to copy <mark>===</mark> ??</span>”"),
        (["!?"], None),
    ],
)
def test_a_match_marks_the_words_of_the_question_it_was_made_on_and_no_punctuation(search, pods, matched, line):
    pods.faq = [("js-1", "js-1-a", 0.912, {"question": matched, "entry": []})]
    page = search("how to copy === ??").text
    assert "Answer <strong>1</strong>" in page
    assert (line or "") in page
    assert ("Why: you asked" in page) == bool(line)


def test_a_question_sent_by_the_form_gets_an_address_to_share(owner_client, pods):
    answer = owner_client.post("/faq/", {"q": "how to copy?"})
    assert answer.status_code == 302
    assert answer["Location"] == "/faq/?q=how+to+copy%3F"
    assert not pods.sent


def test_a_question_too_long_for_an_address_is_answered_where_it_was_sent(owner_client, pods):
    answer = owner_client.post("/faq/", {"q": "世" * 10_000})
    assert answer.status_code == 200
    assert answer.context["outcome"].question == "世" * 10_000


def test_matches_below_the_threshold_are_kept_apart(search):
    outcome = search("how to copy").context["outcome"]
    assert [match.id for match in outcome.matches] == ["js-1"]
    assert [match.id for match in outcome.less_likely] == ["js-2"]
    assert outcome.answered


def test_no_good_match_is_said_plainly(search, pods):
    pods.faq = [("js-1", "js-1-a", 0.2, TERMS)]
    page = search("how to bake bread")
    assert page.status_code == 200
    assert "No good match" in page.text
    assert re.search(r'<details class="nearest" id="nearest">\s*<summary>The nearest 1,', page.text)


@pytest.mark.parametrize(
    ("first", "second", "asked"), [(0.72, 0.65, True), (0.72, 0.6, False), (0.993, 0.97, False), (0.55, 0.48, False)]
)
def test_where_two_are_about_as_probable_the_page_asks_which_was_meant(search, pods, first, second, asked):
    pods.faq = [("js-1", "js-1-a", first, TERMS), ("js-2", "js-2-a", second, TERMS)]
    page = search("how to copy")
    assert ("Which did you mean?" in page.text) == asked
    assert ("<details open>" in page.text) != asked
    assert page.context["outcome"].ambiguous == asked


def test_a_script_gets_the_results_alone(search):
    part = search("how to copy", headers=PART)
    assert "faq/search.html" not in [template.name for template in part.templates]
    assert "<html" not in part.text
    assert "HX-Request" in part["Vary"]


def test_going_back_brings_the_whole_page(search):
    page = search("how to copy", headers={**PART, "HX-History-Restore-Request": "true"})
    assert "<html" in page.text


def test_what_was_typed_is_shown_as_text(search):
    page = search("<script>alert(1)</script>")
    assert "<script>alert(1)" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text


@pytest.mark.parametrize("question", ["", "   "])
def test_an_empty_question_shows_the_start(search, pods, question):
    page = search(question)
    assert page.status_code == 200
    assert page.context["error"] is None
    assert not pods.sent


@pytest.mark.parametrize(
    ("question", "words"), [("x" * 10_001, "at most 10,000 characters"), ("a\0b", "a character that is not text")]
)
def test_a_question_that_will_not_do_is_explained_in_the_page(search, pods, question, words):
    page = search(question)
    assert page.status_code == 422
    assert words in page.text
    assert not pods.sent


@pytest.mark.parametrize(
    "failure",
    [
        (httpx.ConnectError("refused"), 503, "cannot be reached"),
        (httpx.ReadTimeout("slow"), 504, "gave no answer within"),
        (refusal(503, "full", **{"Retry-After": "3"}), 503, "has no room"),
        (refusal(500, "broken"), 502, "answered with an error"),
        (refusal(400, "input 'question', row 0: there is no word in it"), 422, "There is no word in it"),
        (httpx.Response(200, content=b"not the protocol"), 502, "cannot be read"),
    ],
)
@pytest.mark.parametrize("headers", [{}, PART], ids=["page", "part"])
def test_what_fails_is_said_in_the_page_with_what_was_typed(search, pods, failure, headers):
    cause, status, words = failure
    pods.answers(cause)
    page = search("how to copy", headers=headers)
    assert page.status_code == status
    assert words in page.text
    assert page.context["question"] == "how to copy"
    assert (status == 503) == ("Retry-After" in page)
    assert ScoringRecord.objects.get().outcome.startswith("scoring-")


def test_too_many_questions_are_refused_in_the_page(search, settings):
    settings.RATE_LIMITS_PER_USER = {**settings.RATE_LIMITS_PER_USER, "faq": 1}
    assert search("how to copy").status_code == 200
    page = search("how to paste")
    assert page.status_code == 429
    assert "used up" in page.text
    assert "Retry-After" in page


def test_a_site_without_a_collection_has_a_page_all_the_same(owner_client, scoring):
    page = owner_client.get("/faq/", {"q": "copy"})
    assert page.status_code == 200
    assert page.context["collection"] is None


def test_typing_letter_by_letter_leaves_one_row_in_the_history(search):
    for text in ("how", "how to", "how to copy"):
        search(text, headers=PART, live="1")
    assert [record.subject for record in ScoringRecord.objects.all()] == ["how to copy"]
    search("how to copy")
    record = ScoringRecord.objects.get()
    assert (record.live, record.source) == (False, "page")


def test_a_page_loaded_again_leaves_one_row_in_the_history(search, pods):
    search("how to copy")
    search("how to copy")
    search("how to paste")
    assert [record.subject for record in ScoringRecord.objects.all()] == ["how to paste", "how to copy"]


def test_asking_again_later_or_with_another_outcome_is_a_row_of_its_own(search, pods):
    search("how to copy")
    ScoringRecord.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    search("how to copy")
    pods.answers(refusal(500, "broken"))
    search("how to copy")
    assert [record.outcome for record in ScoringRecord.objects.all()] == ["scoring-failed", "ok", "ok"]


def test_going_back_adds_nothing_to_the_history(search):
    search("how to copy")
    ScoringRecord.objects.update(created_at=timezone.now() - timedelta(hours=1))
    search("how to copy", headers={**PART, "HX-History-Restore-Request": "true"})
    assert ScoringRecord.objects.count() == 1


def test_an_answer_is_worth_more_than_its_place_in_the_history(search, monkeypatch):
    def lost(*_args, **_options):
        raise DatabaseError("disk full")

    monkeypatch.setattr(ScoringRecord, "save", lost)
    assert "Answer <strong>1</strong>" in search("how to copy").text


def test_a_search_asks_the_database_few_questions(search, django_assert_max_num_queries):
    search("warm up")
    most = 10 if connection.vendor == "postgresql" else 9  # one says that the history need not wait for the disk
    with django_assert_max_num_queries(most):
        search("how to copy", headers=PART, live="1")


def test_examples_are_questions_from_all_over_the_collection(pods):
    collection = Collection.objects.get()
    for number in range(40):
        entry = Entry.objects.create(collection=collection, external_id=f"more-{number:02}", question="Q", answer="A")
        Phrasing.objects.create(entry=entry, text=f"what about thing number {number:02}?", held_out=True)
        Phrasing.objects.create(entry=entry, text=f"error message number {number:02}", held_out=True)
        Phrasing.objects.create(entry=entry, text=f"what was trained on {number:02}?", held_out=False)
    examples = example_questions(collection)
    assert examples == [f"what about thing number {number:02}?" for number in (0, 10, 20, 30)]
