"""From a question that was not answered well to a phrasing: asked, marked, gathered, decided by an editor."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_collection, make_user
from tests.webapp.pods import Pods
from webapp.faq import asked, review
from webapp.faq.models import AskedQuestion, Collection, Entry, Mark, QuestionDay, QuestionGroup, Revision
from webapp.usage.models import Feedback

QUEUE = "/faq/javascript/review/"
NO_TERMS = {"question": [], "entry": []}
NONE = [("js-1", "js-1-a", 0.2, NO_TERMS), ("js-2", "js-2-a", 0.1, NO_TERMS)]
SURE = [("js-1", "js-1-a", 0.95, NO_TERMS), ("js-2", "js-2-a", 0.1, NO_TERMS)]
NARROW = [("js-1", "js-1-a", 0.85, NO_TERMS), ("js-2", "js-2-a", 0.82, NO_TERMS)]


@pytest.fixture
def collection(owner, scoring: Pods) -> Collection:
    """Public; it has js-1 and js-2, and the owner as its editor. Pods find no match."""
    scoring.faq = NONE
    collection = make_collection(visibility="public")
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


@pytest.fixture
def visitor(client_of_nobody, collection) -> Client:
    return client_of_nobody


def ask(client, question: str, **more: str):
    page = client.get("/faq/", {"q": question, **more})
    asked.write()
    return page


def mark(client, page, verdict: str):
    token = re.search(r'name="token" value="([^"]+)"', page.text)[1]
    return client.post("/feedback", {"token": token, "verdict": verdict})


def groups(client, state: str = "open") -> list[tuple[str, int]]:
    """What the queue shows: the text of each group, and how often it was asked."""
    page = client.get(QUEUE, {"state": state})
    return [(item.text, item.group.asked) for item in page.context["queue"].items]


def decide(client, do: str, *, entry: str = "js-1", wordings: list[str] | None = None, pk: int | None = None):
    group = pk or QuestionGroup.objects.get(state="open").pk
    known = AskedQuestion.objects.filter(group=group).values_list("digest", flat=True)
    body = {"do": do, "entry": entry, "wording": list(set(known)) if wordings is None else wordings}
    return client.post(f"{QUEUE}{group}/", body, follow=True)


class TestWhatIsKept:
    def test_a_question_without_a_match_stands_in_the_queue(self, editor, visitor):
        ask(visitor, "how to bake bread")
        assert groups(editor) == [("how to bake bread", 1)]

    def test_one_that_was_answered_stands_there_once_it_is_called_wrong(self, editor, visitor, scoring):
        scoring.faq = SURE
        page = ask(visitor, "how to bake bread")
        assert groups(editor) == []
        mark(visitor, page, "wrong js-1")
        assert groups(editor) == [("how to bake bread", 1)]
        assert "Called wrong" in editor.get(QUEUE).text
        mark(visitor, page, "none js-1")
        assert groups(editor) == []

    def test_a_narrow_match_stands_there_too(self, editor, visitor, scoring):
        scoring.faq = NARROW
        page = ask(visitor, "how to bake bread")
        assert "Narrow" in editor.get(QUEUE).text
        assert editor.get(QUEUE).context["queue"].items[0].chosen == "js-1"
        mark(visitor, page, "wrong js-1")
        assert editor.get(QUEUE).context["queue"].items[0].chosen == ""

    @pytest.mark.parametrize(
        ("threshold", "probabilities"), [(0.5, (0.995, 0.97)), (0.97, (0.995, 0.5)), (0.9, (0.96, 0.5))]
    )
    def test_who_has_the_question_itself_or_is_well_above_a_high_threshold_matches_not_narrowly(
        self, editor, visitor, scoring, threshold, probabilities
    ):
        Collection.objects.update(threshold=threshold)
        scoring.faq = [(f"js-{n}", f"js-{n}-a", each, NO_TERMS) for n, each in enumerate(probabilities, 1)]
        ask(visitor, "how to bake bread")
        assert groups(editor) == []

    def test_a_mark_that_is_there_before_its_question_is_not_lost(self, editor, visitor, scoring):
        scoring.faq = SURE
        mark(visitor, visitor.get("/faq/", {"q": "how to bake bread"}), "nothing ")
        assert not AskedQuestion.objects.exists()
        asked.write()
        assert groups(editor) == [("how to bake bread", 1)]

    def test_a_visitor_has_one_vote_for_each_request_and_match_and_may_change_it(self, visitor):
        page = ask(visitor, "how to bake bread")
        for verdict in ("wrong js-1", "right js-1", "wrong js-2"):
            assert mark(visitor, page, verdict).status_code == 200
        assert sorted(Mark.objects.values_list("item", "right")) == [("js-1", True), ("js-2", False)]
        assert not Feedback.objects.exists()  # nobody's votes judge a version

    def test_votes_of_visitors_are_limited(self, visitor, settings):
        page = ask(visitor, "how to bake bread")
        settings.RATE_LIMIT_VISITORS = 0
        assert mark(visitor, page, "wrong js-1").status_code == 429

    def test_a_persons_page_is_of_no_use_to_a_visitor(self, editor, visitor):
        answer = mark(visitor, ask(editor, "how to bake bread"), "wrong js-1")
        assert "/accounts/login/" in answer["Location"]
        assert not Mark.objects.exists()

    def test_none_of_these_is_said_by_page_and_api(self, editor, owner_key, client_of_nobody):
        page = ask(editor, "how to bake bread")
        assert "You said that none of these matches is right" in mark(editor, page, "nothing ").text
        body = {"question": "how to bake bread by api"}
        match = client_of_nobody.post(
            "/api/v1/faq/match", body, content_type="application/json", headers=bearer(owner_key)
        )
        said = {"request_id": match.json()["request_id"], "verdict": "nothing"}
        answer = client_of_nobody.post(
            "/api/v1/feedback", said, content_type="application/json", headers=bearer(owner_key)
        )
        assert (answer.status_code, answer.json()["verdict"], answer.json()["id"]) == (200, "nothing", "")
        groups(editor)
        assert set(AskedQuestion.objects.values_list("verdict", flat=True)) == {"wrong"}

    def test_what_is_typed_letter_by_letter_is_one_question(self, visitor):
        for text in ("how to", "how to bake", "how to bake bread"):
            ask(visitor, text, live="1", typing="abc")
        ask(visitor, "how to bake bread", typing="abc")
        assert list(AskedQuestion.objects.values_list("text", "live")) == [("how to bake bread", False)]
        assert QuestionDay.objects.get().none == 1

    def test_a_page_that_is_loaded_again_asks_nothing_new_and_can_be_marked(self, editor):
        ask(editor, "how to bake bread")
        mark(editor, ask(editor, "how to bake bread"), "nothing ")
        ask(editor, "how to bake bread")
        assert list(AskedQuestion.objects.values_list("text", "verdict")) == [("how to bake bread", "wrong")]
        assert QuestionDay.objects.get().none == 1

    def test_a_key_press_that_another_process_tells_late_changes_nothing(self, visitor):
        ask(visitor, "how to bake bread", live="1", typing="abc")
        AskedQuestion.objects.update(at=timezone.now() + timedelta(seconds=2))
        ask(visitor, "how to", live="1", typing="abc")
        assert list(AskedQuestion.objects.values_list("text", flat=True)) == ["how to bake bread"]
        assert QuestionDay.objects.get().none == 1

    def test_what_is_still_being_typed_waits(self, editor, visitor):
        ask(visitor, "how to bake", live="1", typing="abc")
        assert groups(editor) == []
        AskedQuestion.objects.update(at=timezone.now() - timedelta(minutes=1))
        assert groups(editor) == [("how to bake", 1)]

    @pytest.mark.parametrize(
        ("question", "kept"),
        [
            ("why is jo.e+x@mail.example.com told nothing", "why is [e-mail] told nothing"),
            ("card 4111 1111 1111 1111 refused", "card [number] refused"),
            ("call +49 (170) 123-4567 on 2026-11-27", "call [number] on 2026-11-27"),
            ("order 123456 of 2026 in ES6", "order [number] of 2026 in ES6"),
            ("card 4111\u00a01111\u00a01111\u00a01111, call 555 - 123 - 4567", "card [number], call [number]"),
            ("a@" * 3000, ("a@" * 3000)[:1000]),
        ],
    )
    def test_addresses_and_long_numbers_are_masked(self, visitor, question, kept):
        ask(visitor, question)
        assert AskedQuestion.objects.get().text == kept

    def test_a_collection_that_keeps_none_only_counts(self, editor, visitor):
        ask(visitor, "before")
        Collection.objects.update(keeps_questions=False)
        ask(visitor, "how to bake bread")
        assert list(AskedQuestion.objects.values_list("text", flat=True)) == ["before"]
        assert QuestionDay.objects.get().none == 2
        asked.prune()
        assert not AskedQuestion.objects.exists()
        assert "keeps no questions" in editor.get(QUEUE).text

    def test_questions_are_deleted_after_their_days(self, editor, visitor):
        page = ask(visitor, "old one")
        mark(visitor, page, "nothing ")
        ask(visitor, "new one")
        groups(editor)
        AskedQuestion.objects.filter(text="old one").update(at=timezone.now() - timedelta(days=91))
        Mark.objects.update(at=timezone.now() - timedelta(days=91))
        asked.prune()
        assert groups(editor) == [("new one", 1)]
        assert not Mark.objects.exists()
        assert QuestionDay.objects.get().none == 2

    def test_a_persons_questions_go_with_the_account_and_from_the_history(self, editor, collection):
        person = make_user("asker@example.com")
        theirs = Client()
        theirs.force_login(person)
        for question in ("first of mine", "second of mine", "a third"):
            mark(theirs, ask(theirs, question), "nothing ")
        record = person.scoring_records.get(subject="a third")
        mark(theirs, ask(theirs, "a third"), "nothing ")  # loaded again, which is the same row of the history
        theirs.post(f"/history/{record.pk}/delete")
        assert not AskedQuestion.objects.filter(text="a third").exists()
        assert Mark.objects.count() == 2
        theirs.post("/history/delete")
        assert not AskedQuestion.objects.exists()
        ask(theirs, "once more")
        groups(editor)
        person.delete()
        asked.prune()
        assert groups(editor) == []
        assert not QuestionGroup.objects.exists()


class TestTheQueue:
    def test_much_the_same_is_one_group_and_the_most_frequent_first(self, editor, visitor):
        for question in (
            "install node on windows",
            "how to bake rye bread",
            "bake rye bread?",
            "baking: rye bread bake",
        ):
            ask(visitor, question)
        assert [count for _, count in groups(editor)] == [3, 1]

    def test_it_is_brought_up_to_date_by_a_worker_too(self, visitor, work, collection):
        from webapp.faq.tasks import gather

        ask(visitor, "how to bake bread")
        gather()
        assert QuestionGroup.objects.get().asked == 1

    def test_an_accepted_wording_is_a_phrasing_with_a_history(self, editor, visitor, owner):
        ask(visitor, "how to bake rye bread")
        ask(visitor, "bake rye bread please")
        groups(editor)
        page = decide(editor, "accept", entry="js-2")
        assert "Accepted: 2 new phrasings" in page.text
        entry = Entry.objects.get(external_id="js-2")
        assert {each.text for each in entry.phrasings.all()} == {"how to bake rye bread", "bake rye bread please"}
        revision = Revision.objects.get(external_id="js-2", version=entry.version)
        assert (revision.kind, revision.actor) == ("changed", owner.email)
        assert groups(editor) == []
        assert [count for _, count in groups(editor, "accepted")] == [2]

    def test_only_the_ticked_wordings_are_accepted(self, editor, visitor):
        ask(visitor, "how to bake rye bread")
        ask(visitor, "bake rye bread please")
        groups(editor)
        digest = AskedQuestion.objects.get(text="how to bake rye bread").digest
        decide(editor, "accept", wordings=[digest])
        assert [each.text for each in Entry.objects.get(external_id="js-1").phrasings.all()] == [
            "how to bake rye bread"
        ]

    def test_nothing_ticked_or_chosen_changes_nothing_and_says_why(self, editor, visitor):
        ask(visitor, "how to bake bread")
        groups(editor)
        assert "Tick at least one wording" in decide(editor, "accept", wordings=[]).text
        assert "Choose the entry" in decide(editor, "accept", entry="js-9").text
        assert "Choose what to do" in decide(editor, "burn").text
        assert Entry.objects.get(external_id="js-1").version == 1

    def test_the_entry_that_somebody_called_right_is_suggested_first(self, editor, visitor):
        mark(visitor, ask(visitor, "how to bake bread"), "right js-2")
        item = editor.get(QUEUE).context["queue"].items[0]
        assert [each.entry.external_id for each in item.suggestions] == ["js-2", "js-1"]
        assert item.chosen == "js-2"
        assert "called right once" in editor.get(QUEUE).text

    def test_another_entry_is_found_by_its_words(self, editor, visitor):
        ask(visitor, "how to bake bread")
        groups(editor)
        page = editor.get(f"{QUEUE}{QuestionGroup.objects.get().pk}/", {"q": "closure"})
        assert [entry.external_id for entry in page.context["found"]] == ["js-2"]

    def test_a_new_entry_begins_with_what_was_asked(self, editor, visitor):
        for question in ("how to bake rye bread", "how to bake rye bread", "bake rye bread please"):
            ask(Client(), question)
        groups(editor)
        pk = QuestionGroup.objects.get().pk
        form = editor.get(f"{QUEUE}{pk}/new/").context["form"]
        assert form["question"].value() == "how to bake rye bread"
        assert form["phrasings"].value() == "bake rye bread please"
        body = {name: form[name].value() or "" for name in form.fields} | {"answer": "With time.", "state": "live"}
        assert editor.post(f"{QUEUE}{pk}/new/", body)["Location"] == QUEUE
        assert Entry.objects.get(question="how to bake rye bread").phrasings.get().text == "bake rye bread please"
        assert groups(editor) == []

    def test_a_dismissed_question_stays_away_until_it_is_put_back(self, editor, visitor):
        ask(visitor, "how to bake bread")
        groups(editor)
        pk = QuestionGroup.objects.get().pk
        decide(editor, "dismiss")
        ask(visitor, "how to bake bread?")
        assert groups(editor) == []
        assert groups(editor, "dismissed")[0][1] == 2
        decide(editor, "reopen", pk=pk)
        assert groups(editor)[0][1] == 2

    def test_an_accepted_question_comes_back_once_a_newer_version_does_not_match_it(self, editor, visitor, scoring):
        ask(visitor, "how to bake bread")
        groups(editor)
        decide(editor, "accept")
        ask(visitor, "how to bake bread")
        assert groups(editor) == []
        AskedQuestion.objects.update(version="0")
        QuestionGroup.objects.update(version="0")
        ask(visitor, "how to bake bread")
        assert groups(editor) == [("how to bake bread", 1)]

    def test_two_editors_do_not_decide_the_same_twice(self, editor, visitor):
        ask(visitor, "how to bake bread")
        groups(editor)
        pk = QuestionGroup.objects.get().pk
        decide(editor, "dismiss", pk=pk)
        page = decide(editor, "accept", pk=pk)
        assert page.status_code == 409
        assert "dealt with these questions meanwhile" in unescape(page.text)
        assert Entry.objects.get(external_id="js-1").version == 1

    @pytest.mark.parametrize("path", ["", "1/", "1/new/"])
    def test_for_others_than_editors_it_is_not_there(self, client, collection, path):
        client.force_login(make_user("reader@example.com"))
        assert client.get(QUEUE + path).status_code == 404

    def test_thousands_of_questions_come_a_page_at_a_time(self, editor, collection):
        texts = [f"how about topic{number % 350} and thing{number % 350}" for number in range(1_050)]
        AskedQuestion.objects.bulk_create(
            AskedQuestion(
                collection=collection, text=text, digest=asked.digest_of(text), outcome="none", for_review=True
            )
            for text in texts
        )
        review.gather_all()
        page = editor.get(QUEUE).context["queue"]
        assert (page.counts["open"], len(page.items), page.has_next) == (350, 20, True)
        assert {item.group.asked for item in page.items} == {3}
        assert not {item.text for item in page.items} & {text for text, _ in groups_on(editor, 2)}


def groups_on(client, number: int) -> list[tuple[str, int]]:
    page = client.get(QUEUE, {"page": number})
    return [(item.text, item.group.asked) for item in page.context["queue"].items]
