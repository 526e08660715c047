"""Entries from a Stack Exchange data dump: which questions come, what duplicates become, and what is refused."""

import contextlib
import io
import tracemalloc

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.errors import InvalidInput
from webapp.faq.editing import Content
from webapp.faq.imports import stackexchange
from webapp.faq.models import Collection, Entry


@pytest.fixture(autouse=True)
def own_folder(settings, tmp_path):
    settings.BATCH_DIR = tmp_path / "batches"


def empty_collection(slug: str) -> Collection:
    return Collection.objects.create(slug=slug, name=slug, model_name=f"faq-{slug}")


def said(slug: str) -> dict[str, Content]:
    found = Entry.objects.filter(collection__slug=slug).prefetch_related("phrasings")
    return {f"{entry.external_id}\0{entry.answer_id}": Content.of(entry) for entry in found}


def write_dump(folder, posts, links=()):
    """posts and links: the attributes of the rows."""
    for name, rows in (("Posts", posts), ("PostLinks", links)):
        lines = "".join("<row " + " ".join(f'{key}="{row[key]}"' for key in row) + " />\n" for row in rows)
        (folder / f"{name}.xml").write_text(
            f'\ufeff<?xml version="1.0" encoding="utf-8"?>\n<rows>\n{lines}</rows>\n', encoding="utf-8"
        )


def question(number: int, title: str, tags: str = "|javascript|", accepted: int | str = "") -> dict[str, object]:
    accepts = {"AcceptedAnswerId": accepted} if accepted else {}
    return {"Id": number, "PostTypeId": 1, "Title": title, "Tags": tags, "Body": "", **accepts}


def answer(number: int, parent: int, body: str, score: int = 0) -> dict[str, object]:
    return {"Id": number, "PostTypeId": 2, "ParentId": parent, "Score": score, "Body": body}


def link(post: int, related: int, kind: int = 3) -> dict[str, object]:
    return {"Id": post, "PostId": post, "RelatedPostId": related, "LinkTypeId": kind}


def test_a_dump_becomes_entries_with_duplicates_as_other_ways_to_ask(db, tmp_path):
    empty_collection("javascript")
    write_dump(
        tmp_path,
        [
            question(1, "How do I copy an array?", accepted=3),
            answer(2, 1, "Better known", score=99),
            answer(3, 1, "&lt;p&gt;Use &lt;code&gt;slice()&lt;/code&gt;&lt;/p&gt;", score=1),
            question(4, "What is a closure?", tags="&lt;javascript&gt;&lt;scope&gt;"),
            answer(5, 4, "Low", score=1),
            answer(6, 4, "High", score=7),
            question(7, "Copying arrays", tags="|arrays|"),
            question(8, "Copy of a copy"),
            question(9, "closures?"),
            question(10, "Nobody has asked this again"),
            answer(11, 10, "Answered", score=5),
            question(12, "Of Python", tags="|python|", accepted=13),
            answer(13, 12, "Python"),
            question(14, "Also Python", tags="|python|"),
        ],
        # 8 repeats 7, which repeats 1; what is only linked is no duplicate.
        [link(7, 1), link(8, 7), link(9, 4), link(10, 4, kind=1), link(14, 12)],
    )
    call_command("import_stackexchange", str(tmp_path), "--tag", "JavaScript", "--collection", "javascript",
                 "--held-out", "0", stdout=io.StringIO())  # fmt: skip
    assert said("javascript") == {
        "1\x003": Content(
            question="How do I copy an array?",
            answer="Use `slice()`",
            tags=("javascript",),
            phrasings=("Copying arrays", "Copy of a copy"),
        ),
        "4\x006": Content(
            question="What is a closure?", answer="High", tags=("javascript", "scope"), phrasings=("closures?",)
        ),
    }


def test_duplicates_in_a_circle_end_somewhere(db, tmp_path):
    empty_collection("javascript")
    posts = [question(number, f"Question {number}?") for number in range(1, 5)]
    answers = [answer(number + 10, number, "So.") for number in range(1, 5)]
    write_dump(tmp_path, [*posts, *answers], [link(1, 2), link(2, 1), link(3, 4), link(4, 3)])
    call_command("import_stackexchange", str(tmp_path), "--tag", "javascript", stdout=io.StringIO())
    assert [name.partition("\0")[0] for name in said("javascript")] == ["1", "3"]


def test_a_dump_that_declares_entities_is_refused_before_they_grow(db, tmp_path):
    empty_collection("javascript")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><posts><row Id="&b;"/></posts>'
    (tmp_path / "Posts.xml").write_text(bomb)
    with pytest.raises(CommandError, match=r"Posts\.xml cannot be read: it declares a document type"):
        call_command("import_stackexchange", str(tmp_path), "--tag", "javascript", "--min-duplicates", "0")


@pytest.mark.parametrize(
    ("missing", "said"),
    [("Posts.xml", "There is no Posts.xml"), ("PostLinks.xml", "pass --min-duplicates 0")],
)
def test_a_dump_without_its_files_says_which(db, tmp_path, missing, said):
    empty_collection("javascript")
    write_dump(tmp_path, [])
    (tmp_path / missing).unlink()
    with pytest.raises(CommandError, match=said):
        call_command("import_stackexchange", str(tmp_path), "--tag", "javascript")


def test_the_memory_for_a_dump_does_not_grow_with_it(tmp_path):
    def peak(posts: int) -> int:
        rows = (
            row
            for number in range(1, posts, 2)
            for row in (question(number, "How?" * 20), answer(number + 1, number, "So. " * 400))
        )
        write_dump(tmp_path, rows, [link(number, number + 2) for number in range(1, posts, 20)])
        tracemalloc.start()
        try:
            assert sum(1 for _ in stackexchange.lines(tmp_path, tag="javascript")) > posts / 25
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    small = peak(1_000)
    assert peak(6_000) < 1.5 * small


DUMP = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
    b'<row Id="1" PostTypeId="1" AcceptedAnswerId="2" Title="How?" Tags="|js|" Body="&lt;p&gt;x&lt;/p&gt;" />\n'
    b'<row Id="2" PostTypeId="2" ParentId="1" Score="3" Body="&lt;p&gt;So.&lt;/p&gt;" />\n</posts>\n'
)


@given(st.binary(max_size=100), st.integers(0, len(DUMP)), st.integers(0, 20))
@settings(max_examples=150)
def test_any_bytes_as_a_dump_are_refused_or_read(tmp_path_factory, data, at, length):
    folder = tmp_path_factory.getbasetemp()
    (folder / "Posts.xml").write_bytes(DUMP[:at] + data + DUMP[at + length :])
    with contextlib.suppress(InvalidInput):
        list(stackexchange.lines(folder, tag="js", min_duplicates=0))
