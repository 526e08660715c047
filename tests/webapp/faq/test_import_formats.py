"""Whatever bytes come, an import refuses them clearly or reads them rightly; what was exported comes back as it was."""

import contextlib
import csv
import gzip
import io
import json
import re
from itertools import count

import pytest
import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.factories import make_collection
from webapp.errors import InvalidInput
from webapp.faq import editing
from webapp.faq.editing import Content
from webapp.faq.imports import reading, reference
from webapp.faq.imports.markdown import from_html
from webapp.faq.models import Collection, Entry, Import
from webapp.faq.rendering import answer_html

FORMATS = ["csv", "tsv", "xlsx", "jsonl"]
numbers = count()


@pytest.fixture(autouse=True)
def own_folder(settings, tmp_path):
    settings.BATCH_DIR = tmp_path / "batches"


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A file that may be written again and again."""
    return tmp_path_factory.mktemp("imports") / "file"


def empty_collection(slug: str = "") -> Collection:
    slug = slug or f"c{next(numbers)}"
    return Collection.objects.create(slug=slug, name=slug, model_name=f"faq-{slug}")


def said(slug: str) -> dict[str, Content]:
    found = Entry.objects.filter(collection__slug=slug).prefetch_related("phrasings")
    return {f"{entry.external_id}\0{entry.answer_id}": Content.of(entry) for entry in found}


# Any bytes ------------------------------------------------------------------------------------------------------------

ROWS = [["id", "question", "answer", "tags"], ["1", "Größe?", "So\n**groß**", "a, b"], ["2", "=1+1", "-2", ""]]


def valid(form: str) -> bytes:
    """A good file of that form."""
    if form == "jsonl":
        return b"".join(json.dumps(dict(zip(ROWS[0], row, strict=True))).encode() + b"\n" for row in ROWS[1:])
    if form == "xlsx":
        book = io.BytesIO()
        with xlsxwriter.Workbook(book) as written:
            sheet = written.add_worksheet()
            for number, row in enumerate(ROWS):
                sheet.write_row(number, 0, row)
        return book.getvalue()
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if form == "tsv" else ",").writerows(ROWS)
    return text.getvalue().encode()


VALID = {form: valid(form) for form in FORMATS}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file of which some bytes are others, or gone."""
    data = bytearray(VALID[draw(st.sampled_from(FORMATS))])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


ANY = st.one_of(
    st.binary(max_size=400),
    damaged(),
    st.text(max_size=200).map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.text(alphabet='",;\t\n\rid=question{}[]:0', max_size=200).map(lambda text: b"question,answer\n" + text.encode()),
)
NAMES = st.sampled_from(["a.csv", "a.tsv", "a.xlsx", "a.jsonl", "a.txt", "a"])


@given(ANY, NAMES)
@settings(max_examples=300)
def test_any_bytes_are_refused_or_read(scratch, data, name):
    scratch.write_bytes(data)
    try:
        how = reading.detect(scratch, name)
        found = list(reading.lines(scratch, how))
    except InvalidInput:
        return
    for line in found:
        assert line.error or all(isinstance(value, str | list) for value in line.values.values())
        json.dumps(line.values).encode()
        assert not re.search("[\0\ud800-\udfff]", f"{line.error}{line.values}")


@pytest.mark.django_db
@given(ANY, NAMES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_upload_is_refused_or_looked_over_and_writes_no_entry(owner_client, owner, work, data, name):
    collection = Collection.objects.filter(slug="any").first() or empty_collection("any")
    collection.editors.add(owner)
    answer = owner_client.post("/faq/any/imports/", {"file": SimpleUploadedFile(name, data)})
    assert answer.status_code in {302, 422}
    work()
    assert not Import.objects.exclude(state__in=["ready", "failed"]).exists()
    for which in Import.objects.all():
        assert owner_client.get(f"/faq/any/imports/{which.pk}/").status_code == 200
        assert "error of ours" not in which.reason
    Import.objects.all().delete()
    assert not Entry.objects.exists()


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: f"1\t2\t{text}\n".encode("utf-8", "replace")))
@settings(max_examples=100)
def test_any_bytes_as_the_references_files_are_refused_or_read(scratch, data):
    scratch.write_bytes(data)
    with_refusal(lambda: list(reference.lines(scratch, scratch, scratch)))


def with_refusal(read):
    with contextlib.suppress(InvalidInput):
        read()


# There and back -------------------------------------------------------------------------------------------------------

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
FORMULA = st.sampled_from(["=1+1", "'=1", "-x", "＝1", "''+", "[1]", '["a"]', "a\n=b", "_x000D_", "\x0b.", "\ufeff"])
SAID = st.fixed_dictionaries(
    {
        "question": TEXT | FORMULA,
        "answer": TEXT | FORMULA,
        "tags": st.lists(TEXT | FORMULA, max_size=3),
        "phrasings": st.lists(TEXT | FORMULA, max_size=3),
        "test_phrasings": st.lists(TEXT, max_size=2),
        "state": st.sampled_from(["live", "draft"]),
    }
)
IDS = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() != ""
)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    try:
        return Content.checked(draw(SAID))
    except InvalidInput:
        assume(False)
        raise


@pytest.mark.django_db
@pytest.mark.parametrize("form", FORMATS)
@given(st.dictionaries(IDS, st.tuples(contents(), IDS), min_size=1, max_size=4))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
def test_what_is_exported_comes_back_as_it_was(tmp_path, form, entries):
    there, back = empty_collection(), empty_collection()
    editing.write_imported(there, entries, {}, by=None, act=None)
    file = tmp_path / f"entries.{form}"
    call_command("export_faq", there.slug, "--to", str(file), "--drafts")
    call_command("import_faq", back.slug, str(file), stdout=io.StringIO())
    assert said(back.slug) == said(there.slug)
    told = io.StringIO()
    call_command("import_faq", there.slug, str(file), stdout=told)
    assert f"{len(entries)} unchanged" in told.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_the_sample_comes_back_from_each_format_of_the_page(owner_client, owner, tmp_path, form):
    call_command("load_sample_faq", verbosity=0)
    Collection.objects.get().editors.add(owner)
    answer = owner_client.get(f"/faq/javascript/export/{form}/")
    file = tmp_path / f"faq.{form}"
    file.write_bytes(answer.getvalue())
    assert f".{form}" in answer["Content-Disposition"]
    told = io.StringIO()
    call_command("import_faq", "javascript", str(file), "--dry-run", stdout=told)
    assert "0 new, 0 changed, 112 unchanged, 0 refused." in told.getvalue()


def test_formulas_are_harmless_in_a_spreadsheet(owner_client, owner):
    collection = make_collection("=HYPERLINK(1)", "@x")
    collection.editors.add(owner)
    table = owner_client.get("/faq/javascript/export/csv/").getvalue().decode("utf-8-sig")
    questions = [row["question"] for row in csv.DictReader(io.StringIO(table))]
    assert questions == ["'=HYPERLINK(1)", "'@x"]


def test_what_a_workbook_cannot_hold_is_refused_and_names_the_entry(owner_client, owner):
    make_collection("How?").editors.add(owner)
    Entry.objects.update(answer="a" * 40_000)
    answer = owner_client.get("/faq/javascript/export/xlsx/")
    assert answer.status_code == 422
    assert "The answer of the entry &#x27;js-1&#x27; has 40,000 characters" in answer.text


def test_nobody_but_editors_exports(owner_client):
    make_collection()
    assert owner_client.get("/faq/javascript/export/csv/").status_code == 404


# Commands -------------------------------------------------------------------------------------------------------------


def test_the_command_writes_all_or_nothing_unless_it_is_told_otherwise(db, tmp_path):
    empty_collection("faq")
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\nHow?,So.\nWhy?,\n")
    told = io.StringIO()
    with pytest.raises(CommandError, match="Nothing was imported"):
        call_command("import_faq", "faq", str(file), stdout=told)
    assert "Line 3, answer: Write the answer." in told.getvalue()
    assert not Entry.objects.exists()
    assert not Import.objects.exists()
    call_command("import_faq", "faq", str(file), "--good-only", "--drafts", stdout=told)
    assert Entry.objects.get().state == "draft"
    assert Import.objects.get().state == "done"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch", "x.csv"], "There is no collection nosuch"),
        (["faq"], "Name one file of entries, or all of"),
        (["faq", "missing.csv"], "No such file"),
        (["faq", "--questions", "q.tsv"], "Name one file"),
    ],
)
def test_the_command_says_what_it_needs(db, arguments, said):
    empty_collection("faq")
    with pytest.raises(CommandError, match=said):
        call_command("import_faq", *arguments)


def test_the_references_three_files_become_entries(db, tmp_path):
    empty_collection("faq")
    files = {
        "questions": "11\t21\tHow do I copy? <p>An array.</p>\t2010-01-01\n12\t22\tWhat is it?<p>x</p>\t2010-01-02\n",
        "duplicates": "".join(
            f"{number}\t21\tCopy number {number} <p>please</p>\t2011-01-01\n" for number in range(40)
        ),
        "answers": "21\t<p>Use <code>slice()</code>.</p>\n",
    }
    arguments = []
    for name, text in files.items():
        path = tmp_path / f"{name}.tsv.gz"
        path.write_bytes(gzip.compress(text.encode()))
        arguments += [f"--{name}", str(path)]
    told = io.StringIO()
    call_command("import_faq", "faq", *arguments, "--good-only", stdout=told)
    assert "questions.tsv.gz, line 2: there is no answer '22'." in told.getvalue()
    entry = Entry.objects.get()
    content = Content.of(entry)
    assert (entry.external_id, entry.answer_id, content.question) == ("11", "21", "How do I copy?")
    assert content.answer == "Use `slice()`."
    assert len(content.phrasings) + len(content.test_phrasings) == 40
    assert 4 <= len(content.test_phrasings) <= 16


# HTML -----------------------------------------------------------------------------------------------------------------

MARKDOWN = st.text(alphabet="ab1. \n*_`[]()<>#+-=~|\\!&;:\"'/x0", max_size=60)


@given(MARKDOWN)
@settings(max_examples=300)
def test_a_text_is_the_same_text_after_html_and_markdown(text):
    words = " ".join(text.split())
    escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    html = answer_html(from_html(f"<p>{escaped}</p>"))
    shown = re.sub(r"<[^>]*>", "", html)
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&nbsp;", "\xa0"), ("&amp;", "&")):
        shown = shown.replace(entity, letter)
    assert " ".join(shown.split()) == words
    assert not re.search(r"<(?!/?p>)", html), "nothing of it became Markdown"


TAGS = ["p", "pre", "code", "b", "em", "ul", "ol", "li", "blockquote", "a", "h1", "br", "hr", "img", "table", "div"]
PIECES = st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["<a href='javascript:x'>"])


@given(st.lists(PIECES | MARKDOWN, max_size=12).map("".join) | st.text(max_size=60))
@settings(max_examples=200)
def test_any_html_becomes_markdown_that_shows_safely(html):
    shown = answer_html(from_html(html))
    assert "<script" not in shown
    assert "javascript:x" not in re.sub(r">[^<]*<", "><", shown)
