"""manage.py export_faq"""

import pytest
from django.core.management import CommandError, call_command

from tests.factories import make_collection
from webapp.faq import editing
from webapp.faq.editing import Content
from webapp.faq.importing import read_entries, replace_entries
from webapp.faq.models import Entry


def test_what_is_exported_can_be_loaded_again_and_says_the_same(owner, tmp_path):
    collection = make_collection()
    said = Content(
        question="Wie groß?", answer="So\n**groß**", tags=("a",), phrasings=("p", "q"), test_phrasings=("t",)
    )
    editing.create(collection, said, by=owner, external_id="size", answer_id="size-a")
    call_command("export_faq", "javascript", "--to", str(tmp_path / "entries.jsonl"))
    copy = make_collection(slug="copy", model_name="faq-copy", is_default=False)
    replace_entries(copy, read_entries([tmp_path / "entries.jsonl"]))
    again = copy.entries.get(external_id="size")
    assert (Content.of(again), again.answer_id) == (said, "size-a")
    assert copy.entries.count() == 3


def test_drafts_are_left_out(owner, tmp_path):
    collection = make_collection()
    editing.set_state(Entry.objects.filter(external_id="js-1"), Entry.State.DRAFT, by=owner)
    call_command("export_faq", collection.slug, "--to", str(tmp_path / "entries.jsonl"))
    assert [line.id for line in read_entries([tmp_path / "entries.jsonl"])] == ["js-2"]


def test_a_collection_that_is_not_there_is_named_with_those_that_are(db):
    make_collection()
    with pytest.raises(CommandError, match=r"no collection python\. There are: javascript\."):
        call_command("export_faq", "python")
