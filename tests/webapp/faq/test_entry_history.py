"""Each version of an entry is kept: who, when, what changed; and can be brought back."""

import pytest
from django.db import Error as DatabaseError
from django.db import transaction
from django.test import Client

from tests.factories import make_collection
from webapp.faq import editing
from webapp.faq.editing import Content
from webapp.faq.importing import EntryLine, replace_entries
from webapp.faq.models import Collection, Entry, Revision

HISTORY = "/faq/javascript/history/"


@pytest.fixture
def collection(owner) -> Collection:
    collection = make_collection()
    Entry.objects.all().delete()
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


@pytest.fixture
def entry(collection, owner) -> Entry:
    """Written as "One", then changed to "Two"."""
    entry = editing.create(collection, Content(question="Q?", answer="One", tags=("a",)), by=owner)
    return editing.change(entry, Content(question="Q?", answer="Two", phrasings=("p",)), by=owner, version=1)


def test_the_history_says_who_did_what(editor, entry, owner):
    editing.delete(entry, by=owner, version=2)
    page = editor.get(HISTORY)
    assert [(each.version, each.kind, each.actor) for each in page.context["revisions"]] == [
        (3, "deleted", owner.email),
        (2, "changed", owner.email),
        (1, "created", owner.email),
    ]
    assert editor.get(HISTORY, {"entry": entry.external_id}).context["revisions"] == page.context["revisions"]
    assert editor.get(HISTORY, {"entry": "another"}).context["revisions"] == []


def test_a_version_shows_what_changed_with_it(editor, entry):
    page = editor.get(f"{HISTORY}{Revision.objects.get(version=2).pk}/").text
    assert "<del>One</del><ins>Two</ins>" in page
    assert "<del>a</del>" in page
    assert "<ins>p</ins>" in page
    assert "Restore this version" not in page  # it is what the entry says now


def test_what_changed_is_shown_as_text(editor, entry, owner):
    editing.change(entry, Content(question="<script>alert(1)</script>", answer="Two"), by=owner, version=2)
    page = editor.get(f"{HISTORY}{Revision.objects.get(version=3).pk}/").text
    assert "<script>alert" not in page


def test_an_old_version_comes_back_as_the_newest(editor, entry, owner):
    old = Revision.objects.get(version=1)
    editor.post(f"{HISTORY}{old.pk}/restore/")
    entry.refresh_from_db()
    assert (entry.answer, entry.tags, entry.version, entry.phrasings.count()) == ("One", ["a"], 3, 0)
    assert Revision.objects.get(version=3).kind == "restored"
    assert Revision.objects.get(version=2).content["answer"] == "Two"


def test_a_deleted_entry_comes_back_under_its_id_and_its_numbers_go_on(editor, entry, owner):
    editing.delete(entry, by=owner, version=2)
    editor.post(f"{HISTORY}{Revision.objects.get(version=2).pk}/restore/")
    back = Entry.objects.get()
    assert (back.external_id, back.answer, back.version) == (entry.external_id, "Two", 4)
    assert [each.text for each in back.phrasings.all()] == ["p"]


def test_changes_of_many_are_kept_one_by_one(collection, owner):
    for number in range(3):
        editing.create(collection, Content(question=f"Q{number}?", answer="A"), by=owner)
    assert editing.set_state(collection.entries.all(), Entry.State.DRAFT, by=owner) == 3
    assert editing.set_state(collection.entries.all(), Entry.State.DRAFT, by=owner) == 0
    assert editing.delete_many(collection.entries.all(), by=owner) == 3
    assert Revision.objects.filter(version=2, content__state="draft").count() == 3
    assert Revision.objects.filter(version=3, kind="deleted").count() == 3


def test_loading_a_file_keeps_what_it_changes_and_only_that(collection):
    line = EntryLine(id="one", answer_id="a", question="Q?", answer="A", phrasings=["p"])
    replace_entries(collection, [line, EntryLine(id="two", answer_id="b", question="R?", answer="B")])
    replace_entries(collection, [line, EntryLine(id="three", answer_id="c", question="S?", answer="C")])
    kept = sorted(Revision.objects.values_list("external_id", "version", "kind"))
    assert kept == [("one", 1, "imported"), ("three", 1, "imported"), ("two", 1, "imported"), ("two", 2, "deleted")]


def test_nobody_can_alter_the_history(entry):
    for alter in (lambda: Revision.objects.update(actor="somebody"), lambda: Revision.objects.all().delete()):
        with pytest.raises(DatabaseError, match="cannot be altered"), transaction.atomic():
            alter()


def test_the_history_outlives_its_collection(collection, entry):
    collection.delete()
    assert Revision.objects.count() == 2


def test_the_versions_of_another_collection_are_out_of_reach(editor, owner):
    other = make_collection(slug="python", model_name="faq-python", is_default=False)
    editing.create(other, Content(question="Q?", answer="A"), by=owner)
    theirs = Revision.objects.get()
    assert editor.get(f"{HISTORY}{theirs.pk}/").status_code == 404
    assert editor.post(f"{HISTORY}{theirs.pk}/restore/").status_code == 404
