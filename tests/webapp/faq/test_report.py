"""What editors see of what was asked, what is kept of it, and what visitors are told."""

import re

import pytest
from django.test import Client

from tests.factories import make_collection, make_model, make_user, make_version
from tests.webapp.pods import Pods
from webapp.faq import asked
from webapp.faq.models import AskedQuestion, Collection, QuestionGroup
from webapp.faq.tasks import gather

REPORT, KEPT = "/faq/javascript/report/", "/faq/javascript/kept/"
NO_TERMS = {"question": [], "entry": []}


@pytest.fixture
def collection(owner, scoring: Pods) -> Collection:
    """Public; pods match "copy" with js-1, "scope" with js-2 narrowly, and nothing else."""
    scoring.faq = [("js-1", "js-1-a", 0.1, NO_TERMS)]
    scoring.by_question = {
        "copy": [("js-1", "js-1-a", 0.95, NO_TERMS)],
        "scope": [("js-2", "js-2-a", 0.85, NO_TERMS), ("js-1", "js-1-a", 0.84, NO_TERMS)],
    }
    collection = make_collection(visibility="public")
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


@pytest.fixture
def ask(client_of_nobody, collection):
    def ask(*questions: str, verdict: str = "") -> None:
        for question in questions:
            page = client_of_nobody.get("/faq/", {"q": question})
            if verdict:
                token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
                client_of_nobody.post("/feedback", {"token": token, "verdict": verdict})
        asked.write()

    return ask


def test_it_says_how_much_was_asked_and_how_well_it_was_answered(editor, ask):
    ask("copy", "copy", "scope", "how to bake bread")
    report = editor.get(REPORT).context["report"]
    assert (report.asked, report.answered, report.narrow, report.unanswered) == (4, 2, 1, 1)
    assert report.share_answered == 0.75
    assert report.asked_by_day[0].points[-1][1] == 4
    assert len(report.asked_by_day[0].points) == 30


def test_its_charts_can_be_read_as_tables(editor, ask):
    ask("copy", "how to bake bread")
    page = editor.get(REPORT, {"days": "7"}).text
    for title in ("Questions a day", "Share answered"):
        assert f'aria-label="Figures of {title}"' in page
    assert "<td>50%</td>" in re.sub(r"\s+", "", page).replace("50 %", "50%").replace("50\u202f%", "50%")


def test_it_names_what_is_asked_most_answered_worst_and_lacking(editor, ask):
    ask("copy", "copy")
    ask("scope", verdict="wrong js-2")
    ask("how to bake bread", verdict="nothing ")
    report = editor.get(REPORT).context["report"]
    assert [(line.entry.external_id, line.asked) for line in report.most_asked] == [("js-1", 2), ("js-2", 1)]
    assert [(line.entry.external_id, line.wrong) for line in report.worst_answered] == [("js-2", 1)]
    assert [item.text for item in report.gaps] == ["how to bake bread"]
    assert (report.right, report.wrong, report.nothing) == (0, 1, 1)


def test_a_report_on_nothing_says_so(editor):
    assert "Nothing was asked" in editor.get(REPORT, {"days": "1; drop"}).text


def test_an_editor_has_nothing_kept_and_what_was_kept_deleted(editor, ask):
    ask("how to bake bread", verdict="nothing ")
    editor.get(REPORT)
    assert "Delete 1 question?" in editor.post(KEPT, {"kept_days": "90"}).text
    assert AskedQuestion.objects.exists()
    page = editor.post(KEPT, {"kept_days": "90", "sure": "yes"}, follow=True)
    assert "Nothing is kept from now on, and 1 question deleted." in page.text
    assert not AskedQuestion.objects.exists()
    assert not QuestionGroup.objects.exists()
    assert page.context["report"].asked == 1
    ask("how to bake bread")
    assert not AskedQuestion.objects.exists()


def test_an_editor_says_for_how_many_days(editor, collection):
    assert editor.post(KEPT, {"keeps_questions": "on", "kept_days": "0"}).status_code == 422
    editor.post(KEPT, {"keeps_questions": "on", "kept_days": "14"})
    collection.refresh_from_db()
    assert (collection.keeps_questions, collection.kept_days) == (True, 14)


@pytest.mark.parametrize("path", [REPORT, KEPT])
def test_for_others_than_editors_they_are_not_there(client, collection, path):
    client.force_login(make_user("reader@example.com"))
    assert client.get(path).status_code == 404


def test_visitors_are_told_what_is_kept_where_they_ask_and_look(client, collection):
    asked_page = client.get("/faq/", {"q": "copy"}).text
    assert "Questions are kept for 90 days" in asked_page
    assert 'href="/privacy/"' in asked_page
    assert "questions are deleted after 90 days" in client.get("/privacy/").text
    Collection.objects.update(keeps_questions=False)
    assert "no question is kept" in client.get("/privacy/").text
    assert "not kept for others to read" in client.get("/faq/", {"q": "copy"}).text


def test_the_privacy_page_names_no_collection_that_one_may_not_ask(client, collection):
    Collection.objects.update(visibility="groups")
    assert "JavaScript" not in client.get("/privacy/").text


def test_what_accepted_phrasings_brought_is_told_by_what_was_asked_like_them(editor, ask, scoring, collection):
    model = make_model("faq-javascript")
    make_version(model, "1", "champion")
    ask("how to bake rye bread", "bake rye bread please", "rye bread bake how")
    editor.get("/faq/javascript/review/")
    group = QuestionGroup.objects.get()
    digest = AskedQuestion.objects.get(text="how to bake rye bread").digest
    editor.post(f"/faq/javascript/review/{group.pk}/", {"do": "accept", "entry": "js-2", "wording": digest})
    model.versions.update(role="", state="ready")
    make_version(model, "2", "champion")
    scoring.by_question["bake rye bread please"] = [("js-2", "js-2-a", 0.9, NO_TERMS)]
    gather()
    gather()
    learned = editor.get(REPORT).context["learned"]
    assert [(each.version, each.phrasings, each.questions, each.before, each.after) for each in learned] == [
        ("2", 1, 2, 0, 1)
    ]
    assert scoring.sent[-1].url.path == "/v2/models/faq-javascript/versions/2/infer"
    for path in (REPORT, "/faq/javascript/publish/"):
        assert "What accepted phrasings brought" in editor.get(path).text
