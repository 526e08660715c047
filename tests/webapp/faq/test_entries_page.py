"""Editors look after entries on the site: list, form, many at once."""

import re

import pytest
from django.test import Client

from tests.factories import bearer, make_collection, make_key, make_member, make_user
from tests.webapp.pods import Pods
from webapp.faq import editing
from webapp.faq.models import Collection, Entry, Phrasing

LIST = "/faq/javascript/entries/"
TERMS = {"question": ["copy"], "entry": ["copy"]}
WRITTEN = {
    "question": "How do I sort a list?",
    "answer": "Use `sort()`.",
    "phrasings": "order an array\r\nput numbers in order\r\n\r\norder an array",
    "test_phrasings": "sorted list please",
    "tags": "arrays, sorting , ",
    "state": "live",
}


@pytest.fixture
def collection(owner) -> Collection:
    """It has js-1 and js-2, both live, and the owner as its editor."""
    collection = make_collection()
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


@pytest.fixture
def first(collection) -> Entry:
    return Entry.objects.get(external_id="js-1")


def address(entry: Entry) -> str:
    return f"{LIST}{entry.pk}/"


def form_of(client, entry: Entry, **changed: str) -> dict[str, str]:
    """What the entry's form holds when it is opened, with some of it changed."""
    form = client.get(address(entry)).context["form"]
    return {name: form[name].value() for name in form.fields} | changed


def listed(page) -> list[str]:
    return [entry.external_id for entry in page.context["entries"]]


# Who may --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["entries/", "entries/new/", "entries/1/", "entries/many/?do=delete&entry=1", "history/", "history/1/"]
)
def test_for_others_than_editors_the_pages_are_not_there(client, collection, path):
    assert "/accounts/login/" in client.get(f"/faq/javascript/{path}")["Location"]
    client.force_login(make_user("reader@example.com"))
    assert client.get(f"/faq/javascript/{path}").status_code == 404
    assert "Edit entries" not in client.get("/faq/").text


def test_the_search_page_leads_editors_to_the_entries(editor):
    assert f'href="{LIST}"' in editor.get("/faq/").text


def test_editors_see_their_collection_whoever_else_may(editor, collection):
    Collection.objects.update(visibility="groups")
    assert editor.get(LIST).status_code == 200
    assert editor.get("/faq/javascript/").status_code == 200


def test_an_admin_may_edit_all_collections_with_a_second_factor_as_in_the_admin(client, collection, settings):
    client.force_login(make_member("admin"))
    settings.ADMIN_MFA_REQUIRED = False
    assert client.get(LIST).status_code == 200
    settings.ADMIN_MFA_REQUIRED = True
    assert client.get(LIST)["Location"] == f"/account/second-factor?next={LIST.replace('/', '%2F')}"


def test_a_viewer_of_the_admin_may_not_edit(client, collection, settings):
    settings.ADMIN_MFA_REQUIRED = False
    client.force_login(make_member("viewer"))
    assert client.get(LIST).status_code == 404


# The list -------------------------------------------------------------------------------------------------------------


def test_the_list_finds_words_in_question_answer_phrasings_and_id(editor, first):
    Phrasing.objects.create(entry=first, text="duplicate a sequence")
    for words, found in {
        "closure": ["js-2"],
        "answer **1**": ["js-1"],
        "sequence duplicate": ["js-1"],
        "js-2": ["js-2"],
        "copy closure": [],
        "100%": [],
        "_": [],
        "": ["js-2", "js-1"],
    }.items():
        assert (
            listed(editor.get(LIST, {"q": words})) == found
            if found
            else "Nothing found" in editor.get(LIST, {"q": words}).text
        )


def test_the_list_is_filtered_by_state_and_tag(editor, first, owner):
    editing.set_state(Entry.objects.filter(pk=first.pk), Entry.State.DRAFT, by=owner)
    editing.add_tag(Entry.objects.filter(pk=first.pk), "größe", by=owner)
    assert listed(editor.get(LIST, {"state": "draft"})) == ["js-1"]
    assert listed(editor.get(LIST, {"state": "live"})) == ["js-2"]
    assert listed(editor.get(LIST, {"tag": "größe"})) == ["js-1"]
    assert set(listed(editor.get(LIST, {"tag": "arrays"}))) == {"js-1", "js-2"}
    assert "Nothing found" in editor.get(LIST, {"tag": "array"}).text
    page = editor.get(LIST)
    assert page.context["tags"] == [("arrays", 2), ("größe", 1)]


def test_the_list_comes_in_pages_that_keep_the_search(editor, collection):
    for number in range(60):
        Entry.objects.create(collection=collection, external_id=f"more-{number}", question="Q", answer="A")
    first = editor.get(LIST, {"q": "more"})
    assert len(listed(first)) == 50
    older = re.search(r'href="(\?q=more&amp;before=[^"]+)" rel="next"', first.text)
    assert older
    assert len(listed(editor.get(LIST + older[1].replace("&amp;", "&")))) == 10


def test_a_collection_without_entries_offers_to_write_the_first(editor):
    Entry.objects.all().delete()
    assert "Write the first" in editor.get(LIST).text


# One entry ------------------------------------------------------------------------------------------------------------


def test_a_new_entry_is_kept_as_it_was_written(editor):
    answer = editor.post(f"{LIST}new/", WRITTEN)
    entry = Entry.objects.get(question="How do I sort a list?")
    assert answer["Location"] == address(entry)
    assert (entry.answer, entry.tags, entry.state, entry.version) == ("Use `sort()`.", ["arrays", "sorting"], "live", 1)
    assert list(entry.phrasings.values_list("text", "held_out")) == [
        ("order an array", False),
        ("put numbers in order", False),
        ("sorted list please", True),
    ]
    assert entry.external_id == entry.answer_id != ""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"question": " "}, "This field is required"),
        ({"answer": ""}, "This field is required"),
        ({"question": "x" * 10_001}, "At most 10,000 characters"),
        ({"tags": "x" * 61}, "a tag has at most 60"),
        ({"tags": ",".join(map(str, range(31)))}, "At most 30 tags"),
        ({"phrasings": "the same", "test_phrasings": "the same"}, "cannot test the model"),
        ({"state": "hidden"}, "not one of the available choices"),
    ],
)
def test_what_will_not_do_is_said_at_the_field_and_nothing_typed_is_lost(editor, changed, words):
    answer = editor.post(f"{LIST}new/", {**WRITTEN, **changed})
    assert answer.status_code == 422
    assert words in answer.text
    form = answer.context["form"]
    assert {name: form[name].value() for name in WRITTEN} == {**WRITTEN, **changed}
    assert Entry.objects.count() == 2


def test_a_change_makes_a_new_version_and_no_change_makes_none(editor, first):
    assert editor.post(address(first), form_of(editor, first, answer="Better **now**"))["Location"] == address(first)
    first.refresh_from_db()
    assert (first.answer, first.version) == ("Better **now**", 2)
    editor.post(address(first), form_of(editor, first))
    first.refresh_from_db()
    assert first.version == 2


def test_a_phrasing_of_several_lines_stays_so_when_something_else_is_changed(editor, first):
    Phrasing.objects.create(entry=first, text="copy\n  this")
    editor.post(address(first), form_of(editor, first, answer="Other"))
    assert list(first.phrasings.values_list("text", flat=True)) == ["copy\n  this"]


def test_the_second_of_two_editors_is_told_and_nothing_is_lost(editor, first, collection):
    other = make_user("other@example.com")
    collection.editors.add(other)
    theirs = Client()
    theirs.force_login(other)
    opened, opened_too = form_of(editor, first, answer="Mine"), form_of(theirs, first, answer="Theirs")
    assert theirs.post(address(first), opened_too).status_code == 302
    refused = editor.post(address(first), opened)
    assert refused.status_code == 409
    assert "Changed meanwhile by other@example.com" in refused.text
    assert "<del>Theirs</del><ins>Mine</ins>" in refused.text
    first.refresh_from_db()
    assert first.answer == "Theirs"
    form = refused.context["form"]
    again = {name: form[name].value() for name in form.fields}
    assert again["answer"] == "Mine"
    assert editor.post(address(first), again).status_code == 302
    first.refresh_from_db()
    assert (first.answer, first.version) == ("Mine", 3)


def test_what_was_written_on_an_entry_that_is_gone_can_be_saved_as_a_new_one(editor, first, owner):
    opened = form_of(editor, first, answer="Mine")
    editing.delete(first, by=owner, version=None)
    refused = editor.post(address(first), opened)
    assert refused.status_code == 409
    assert "deleted this entry meanwhile" in refused.text
    assert f'action="{LIST}new/"' in refused.text
    assert refused.context["form"]["answer"].value() == "Mine"


def test_the_preview_is_what_visitors_get(editor):
    shown = editor.post(f"{LIST}preview/", {"answer": "**bold** <script>alert(1)</script>"}).text
    assert "<strong>bold</strong>" in shown
    assert "<script>" not in shown
    without_script = editor.post(f"{LIST}new/", {**WRITTEN, "answer": "*seen*", "preview": "1"})
    assert "<em>seen</em>" in without_script.text
    assert Entry.objects.count() == 2


# Many at once ---------------------------------------------------------------------------------------------------------


def many(client, do: str, *entries: Entry, **fields: str):
    query = "&".join([f"do={do}", *(f"entry={entry.pk}" for entry in entries)])
    asked = client.get(f"{LIST}many/?{query}")
    assert asked.status_code == 200
    return client.post(f"{LIST}many/?{query}", fields)


def test_nothing_is_done_to_many_entries_before_it_is_confirmed(editor, first):
    asked = editor.get(f"{LIST}many/", {"do": "delete", "entry": first.pk})
    assert "Delete 1 entry?" in asked.text
    assert "How do I copy an array?" in asked.text
    assert Entry.objects.count() == 2
    assert many(editor, "delete", first)["Location"] == f"{LIST}?"
    assert [entry.external_id for entry in Entry.objects.all()] == ["js-2"]


def test_many_entries_become_drafts_are_published_and_tagged(editor):
    both = list(Entry.objects.all())
    many(editor, "draft", *both)
    assert set(Entry.objects.values_list("state", flat=True)) == {"draft"}
    many(editor, "publish", *both)
    assert set(Entry.objects.values_list("state", flat=True)) == {"live"}
    many(editor, "tag", both[0], tag=" new ")
    assert [entry.tags for entry in Entry.objects.order_by("pk")] == [["arrays", "new"], ["arrays"]]


def test_a_tag_that_is_none_is_refused_where_it_was_typed(editor, first):
    refused = many(editor, "tag", first, tag="one, two")
    assert refused.status_code == 422
    assert 'value="one, two"' in refused.text


def test_all_that_were_found_can_be_meant_beyond_the_page(editor, collection):
    for number in range(60):
        Entry.objects.create(collection=collection, external_id=f"more-{number}", question="More?", answer="A")
    path = f"{LIST}many/?do=draft&all=1&q=more&back=q%3Dmore"
    assert "Make drafts of 60 entries?" in editor.get(path).text
    assert editor.post(path)["Location"] == f"{LIST}?q=more"
    assert Entry.objects.filter(state="draft").count() == 60


def test_entries_of_another_collection_are_out_of_reach(editor, first):
    other = make_collection(slug="python", name="Python", model_name="faq-python", is_default=False)
    theirs = other.entries.get(external_id="js-1")
    assert editor.get(f"{LIST}{theirs.pk}/").status_code == 404
    editor.post(f"{LIST}many/?do=delete&entry={theirs.pk}&entry={first.pk}")
    assert list(Entry.objects.filter(external_id="js-1")) == [theirs]


@pytest.mark.parametrize("query", ["do=delete", "do=delete&entry=x&entry=-1&entry=99999999999999999999"])
def test_nothing_selected_is_said(editor, query):
    answer = editor.get(f"{LIST}many/?{query}", follow=True)
    assert "No entry was selected" in answer.text
    assert editor.get(f"{LIST}many/?do=burn").status_code == 422


# What visitors get ----------------------------------------------------------------------------------------------------


def test_a_draft_is_nobodys_answer_and_the_next_best_takes_its_place(editor, first, owner, scoring: Pods):
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS), ("js-2", "js-2-a", 0.8, TERMS)]
    editing.set_state(Entry.objects.filter(pk=first.pk), Entry.State.DRAFT, by=owner)
    asked = {"question": "copy", "top_k": 1}
    found = editor.post(
        "/api/v1/faq/match", asked, content_type="application/json", headers=bearer(make_key(owner, "faq:read"))
    )
    assert [match["id"] for match in found.json()["matches"]] == ["js-2"]
    scored = editor.post(
        "/score", {"input": "copy"}, content_type="application/json", headers=bearer(make_key(owner, name="Two"))
    )
    assert [each[0] for each in scored.json()] == ["js-2"]


def test_another_wording_of_the_answer_counts_at_once(editor, first, scoring: Pods):
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]
    editor.post(address(first), form_of(editor, first, answer="Brand **new**"))
    assert "Brand <strong>new</strong>" in editor.get("/faq/", {"q": "copy"}).text


def test_a_model_that_knows_only_what_was_deleted_since_has_no_match(editor, first, owner, scoring: Pods):
    scoring.faq = [("js-1", "js-1-a", 0.9, TERMS)]
    editing.delete(first, by=owner, version=None)
    page = editor.get("/faq/", {"q": "copy"})
    assert page.status_code == 200
    assert page.context["outcome"].scored == []
