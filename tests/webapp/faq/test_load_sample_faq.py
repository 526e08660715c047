"""`manage.py load_sample_faq`."""

import json

import pytest
from django.core.management import CommandError, call_command

from webapp.faq.models import Collection, Entry, Phrasing

pytestmark = pytest.mark.django_db

LINE = {
    "id": "js-1",
    "answer_id": "js-1-a",
    "question": "How do I copy an array?",
    "answer": "Use **spread**.",
    "tags": ["arrays"],
    "phrasings": ["duplicate a list"],
    "test_phrasings": ["clone array"],
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def load(folder, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "entries.jsonl").write_text(text, encoding="utf-8")
    call_command("load_sample_faq", folder=folder, verbosity=0)


def test_the_sample_that_comes_with_the_site_loads():
    call_command("load_sample_faq", verbosity=0)
    collection = Collection.objects.get(slug="javascript")
    assert collection.is_default
    assert collection.entries.count() >= 100
    assert all(entry.phrasings.filter(held_out=True).count() == 2 for entry in collection.entries.all())


def test_an_entry_is_loaded_with_all_that_belongs_to_it(folder):
    load(folder, LINE, {"unanswerable": "How do I bake bread?"}, "")
    entry = Entry.objects.get()
    assert (entry.external_id, entry.answer_id, entry.question) == ("js-1", "js-1-a", "How do I copy an array?")
    assert (entry.answer, entry.tags) == ("Use **spread**.", ["arrays"])
    assert dict(entry.phrasings.values_list("text", "held_out")) == {"duplicate a list": False, "clone array": True}


def test_loading_again_changes_nothing(folder):
    load(folder, LINE)
    before = Entry.objects.get()
    load(folder, LINE)
    assert Entry.objects.get() == before
    assert Phrasing.objects.count() == 2


def test_what_was_edited_since_stays_while_the_files_are_the_same(folder):
    load(folder, LINE)
    Entry.objects.update(answer="Edited")
    load(folder, LINE)
    assert Entry.objects.get().answer == "Edited"


def test_new_files_replace_the_entries(folder):
    load(folder, LINE, {**LINE, "id": "js-2", "question": "Gone soon"})
    kept = Entry.objects.get(external_id="js-1").pk
    load(folder, {**LINE, "answer": "New", "phrasings": ["another"], "test_phrasings": []})
    entry = Entry.objects.get()
    assert (entry.pk, entry.answer) == (kept, "New")
    assert list(entry.phrasings.values_list("text", flat=True)) == ["another"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2: "),
        ("[1]", "line 2: Expected `object`"),
        ({**LINE, "id": "js-2", "question": ""}, "line 2: Expected `str` of length >= 1 - at `$.question`"),
        ({**LINE, "id": "js-2", "tags": "arrays"}, "line 2: Expected `array`, got `str` - at `$.tags`"),
        ({"id": "js-2"}, "line 2: Object missing required field `answer_id`"),
        (LINE, "line 2: the id 'js-1' was already used in entries.jsonl, line 1"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_loaded(folder, line, reason):
    with pytest.raises(CommandError) as error:
        load(folder, LINE, line)
    assert str(error.value).startswith("entries.jsonl, ")
    assert reason in str(error.value)
    assert not Entry.objects.exists()


def test_a_folder_without_files_is_refused(folder):
    with pytest.raises(CommandError, match=r"No \*\.jsonl file"):
        call_command("load_sample_faq", folder=folder)


def test_a_default_collection_that_is_there_stays_the_default(folder):
    Collection.objects.create(slug="python", name="Python", model_name="faq-python", is_default=True)
    load(folder, LINE)
    assert not Collection.objects.get(slug="javascript").is_default
