"""Editors import entries from files: upload, preview, their word, and all of it at once."""

import json
import uuid
from datetime import timedelta
from io import BytesIO

import pytest
import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from tests.factories import make_collection, make_user
from webapp.faq import editing, tasks
from webapp.faq.editing import Content
from webapp.faq.imports import files, services
from webapp.faq.models import Collection, Entry, Import, Revision

IMPORTS = "/faq/javascript/imports/"
TABLE = """\
id,question,answer,tags,phrasings,state
js-1,How do I copy an array?,Answer **1**,arrays,,live
js-2,What is a closure?,A function with its surroundings.,"functions, scope","closures?
why do closures keep variables",live
js-3,How do I sort?,"Use `sort()`, mind numbers.",arrays,,draft
js-4,,An answer to nothing,,,
"""


@pytest.fixture(autouse=True)
def own_folder(settings, tmp_path):
    settings.BATCH_DIR = tmp_path / "batches"


@pytest.fixture
def collection(owner) -> Collection:
    """It has js-1 and js-2, both live, and the owner as its editor."""
    collection = make_collection()
    collection.editors.add(owner)
    return collection


@pytest.fixture
def editor(owner_client, collection):
    return owner_client


@pytest.fixture
def upload(editor, work):
    """Call it to upload a file and have it looked over; it returns the import."""

    def upload(content: str | bytes, name: str = "entries.csv") -> Import:
        data = content.encode() if isinstance(content, str) else content
        answer = editor.post(IMPORTS, {"file": SimpleUploadedFile(name, data)})
        assert answer.status_code == 302, answer.context["refusal"]
        work()
        return Import.objects.get(pk=answer["Location"].rstrip("/").rpartition("/")[2])

    return upload


def page_of(client, which: Import, **query: str):
    return client.get(f"{IMPORTS}{which.pk}/", query)


def lines(client, which: Import, **query: str) -> list[tuple[str, str, str]]:
    """What the page says of each line."""
    return [
        (line.place, line.outcome, line.why or ", ".join(line.fields))
        for line, _ in page_of(client, which, **query).context["lines"]
    ]


def confirm(client, which: Import, mode: str = "all"):
    return client.post(f"{IMPORTS}{which.pk}/start/", {"mode": mode, "checked": str(which.checked)})


def said(name: str) -> Content:
    return Content.of(Entry.objects.get(external_id=name))


# What is looked over --------------------------------------------------------------------------------------------------


def test_the_preview_says_of_each_line_what_it_would_change_and_nothing_is_written(editor, upload):
    before = list(Entry.objects.values())
    which = upload(TABLE)
    assert lines(editor, which, show="all") == [
        ("Line 2", "unchanged", ""),
        ("Line 3", "changed", "answer, tags, other ways to ask"),
        ("Line 5", "new", ""),
        ("Line 6", "refused", "Line 6, question: Write the question."),
    ]
    page = page_of(editor, which, show="changed")
    assert "See the difference" in page.text
    assert "<ins>surroundings</ins>" in page.text or "surroundings.</ins>" in page.text
    assert page_of(editor, which).context["show"] == "refused", "what needs a look comes first"
    assert list(Entry.objects.values()) == before
    assert not Revision.objects.exists()


def test_all_or_nothing_is_not_to_be_had_while_a_line_is_refused(editor, upload):
    which = upload(TABLE)
    answer = confirm(editor, which, "all")
    assert answer.status_code == 409
    assert "Some lines are refused" in answer.text
    assert Entry.objects.count() == 2


def test_good_rows_are_imported_as_one_act_and_the_page_says_so(editor, upload, work, owner):
    which = upload(TABLE)
    assert confirm(editor, which, "good").status_code == 302
    assert "faq.work_on_import" in work()
    assert said("js-2") == Content(
        question="What is a closure?",
        answer="A function with its surroundings.",
        tags=("functions", "scope"),
        phrasings=("closures?", "why do closures keep variables"),
    )
    assert said("js-3").state == "draft"
    assert Entry.objects.get(external_id="js-1").version == 1, "what says the same is left as it is"
    page = page_of(editor, which)
    assert "1 new and 1 changed entries imported" in page.text
    assert f'href="/faq/javascript/history/?import={which.pk}"' in page.text

    history = editor.get("/faq/javascript/history/")
    assert [found.pk if found else None for _, found in history.context["rows"]] == [which.pk]
    assert "2 entries from entries.csv" in history.text
    made = editor.get("/faq/javascript/history/", {"import": which.pk}).context["revisions"]
    assert {(each.external_id, each.kind, each.actor) for each in made} == {
        ("js-2", "imported", owner.email),
        ("js-3", "imported", owner.email),
    }


def test_the_same_file_again_changes_nothing(editor, upload, work):
    confirm(editor, upload(TABLE), "good")
    work()
    again = upload(TABLE)
    assert again.counts == {"new": 0, "changed": 0, "unchanged": 3, "refused": 1}
    assert confirm(editor, again, "good").status_code == 409


def test_what_the_file_says_nothing_of_stays(editor, upload, work):
    confirm(editor, upload("id;answer\njs-1;Nur die Antwort\n"))
    work()
    assert said("js-1") == Content(question="How do I copy an array?", answer="Nur die Antwort", tags=("arrays",))


def test_without_ids_a_line_is_about_the_entry_with_its_question(editor, upload, work):
    table = "Frage\tAntwort\nWhat is a closure?\tA function.\nUnd was ist das?\tNeu.\nUnd was ist das?\tNochmal.\n"
    which = upload(table, "faq.tsv")
    assert [outcome for _, outcome, _ in lines(editor, which, show="all")] == ["changed", "new", "refused"]
    confirm(editor, which, "good")
    work()
    assert said("js-2").answer == "A function."
    assert Entry.objects.count() == 3
    assert upload(table, "faq.tsv").unchanged == 2


def test_an_id_that_comes_twice_is_refused_the_second_time(editor, upload):
    which = upload("id,question,answer\nx,A?,1\nx,B?,2\n")
    assert lines(editor, which) == [
        ("Line 3", "refused", "Line 3 has the id 'x' of a line before it. Leave one of the two out.")
    ]


def test_lines_come_in_pages(editor, upload):
    which = upload("question,answer\n" + "".join(f"Question {number}?,Answer\n" for number in range(120)))
    assert [place for place, _, _ in lines(editor, which, show="new", page="3")][:2] == ["Line 102", "Line 103"]
    assert len(lines(editor, which, show="new", page="3")) == 20
    assert page_of(editor, which, page="999999").context["page"] == 3


# How it is read -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "Windows-1252"), ("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16")]
)
def test_the_encoding_is_detected_and_named(editor, upload, encoding, name):
    which = upload("question;answer\nWie groß ist „groß“?;So groß — €\n".encode(encoding))
    page = page_of(editor, which)
    assert name in page.context["described"]
    assert "Wie groß ist „groß“?" in page.text


def test_columns_and_encoding_can_be_chosen_otherwise(editor, upload, work):
    which = upload("alpha,beta\nПривет?,Да\n".encode("cp1251"))
    address = f"{IMPORTS}{which.pk}/read/"
    form = page_of(editor, which).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"encoding": "cp1251", "header": "yes"}
    assert editor.post(address, sent).status_code == 302
    work()
    sent |= {"column_question": "0", "column_answer": "1"}
    assert editor.post(address, sent).status_code == 302
    work()
    which.refresh_from_db()
    [(line, _)] = page_of(editor, which).context["lines"]
    assert (line.content["question"], line.content["answer"]) == ("Привет?", "Да")


def test_another_encoding_than_the_files_own_refuses_lines_and_breaks_nothing(editor, upload, work):
    which = upload(TABLE)
    form = page_of(editor, which).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"encoding": "utf-16"}
    assert editor.post(f"{IMPORTS}{which.pk}/read/", sent).status_code in {302, 422}
    work()
    assert page_of(editor, which).status_code == 200


def test_a_column_cannot_hold_two_fields(editor, upload):
    which = upload(TABLE)
    form = page_of(editor, which).context["form"]
    sent = {name: form[name].value() or "" for name in form.fields} | {"column_answer": "1"}
    answer = editor.post(f"{IMPORTS}{which.pk}/read/", sent)
    assert answer.status_code == 422
    assert "is chosen for another field already" in answer.text


def test_a_workbook_and_json_lines_are_read_too(editor, upload):
    book = BytesIO()
    with xlsxwriter.Workbook(book) as written:
        sheet = written.add_worksheet("Fragen")
        sheet.write_row(0, 0, ["id", "question", "answer", "tags"])
        sheet.write_row(1, 0, [7, "How?", "So.", "a, b"])
    which = upload(book.getvalue(), "faq.xlsx")
    assert page_of(editor, which).context["described"] == "Excel workbook, sheet “Fragen”"
    assert [line.id for line in files.lines_of(which)] == ["7"]
    objects = [
        {"id": 8, "question": "How?", "answer": "So.", "tags": ["a"], "phrasings": ["two\nlines"]},
        {"unanswerable": "Who?"},
        {"question": ["no text"], "answer": "So."},
        {"id": "9", "question": "What?", "answer": "That.", "tags": [1]},
    ]
    which = upload("\n".join(map(json.dumps, objects)) + "\n{broken\n", "faq.jsonl")
    assert [(line.place, line.outcome) for line in files.lines_of(which)] == [
        ("Line 1", "new"),
        ("Line 3", "refused"),
        ("Line 4", "refused"),
        ("Line 5", "refused"),
    ]
    assert next(files.lines_of(which)).wanted.phrasings == ("two\nlines",)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("faq.csv", b"", "The file is empty"),
        ("faq.xls", b"\xd0\xcf\x11\xe0 old", "old or a protected Office file"),
        ("faq.pdf", b"%PDF-1.7", "This is a PDF"),
        ("faq.zip", b"PK\x05\x06" + bytes(18), "no workbook"),
        ("faq.json", b'[{"question": "How?"}]', "Write one object a line"),
        ("faq.bin", bytes(range(32)) * 9, "This is no text"),
    ],
)
def test_a_file_that_is_none_of_them_is_refused_at_once(editor, name, content, said):
    answer = editor.post(IMPORTS, {"file": SimpleUploadedFile(name, content)})
    assert answer.status_code == 422
    assert said in answer.text
    assert not Import.objects.exists()
    assert not list(files.root().iterdir()), "nothing of it is kept"


def test_a_file_that_cannot_be_read_to_its_end_fails_and_says_where(editor, upload):
    which = upload('question,answer\nHow?,So.\n"Where?,There.\n' + "x,y\n" * 3)
    page = page_of(editor, which)
    assert which.state == "failed"
    assert "Line 3: a quotation mark opens a cell there and none closes it" in page.text


def test_limits_on_bytes_and_lines_are_named(editor, upload, settings):
    settings.FAQ_IMPORT_LINES = 2
    which = upload("question,answer\n" + "".join(f"Q{number}?,A\n" for number in range(3)))
    assert which.reason == "The file has more than 2 lines, the most of one import. Send it as several."
    settings.FAQ_IMPORT_BYTES = 10
    answer = editor.post(IMPORTS, {"file": SimpleUploadedFile("faq.csv", b"question,answer\n")})
    assert answer.status_code == 413
    assert "more than 10 bytes" in answer.text


# Who may --------------------------------------------------------------------------------------------------------------


def test_for_others_than_editors_imports_are_not_there(client, upload):
    which = upload(TABLE)
    client.force_login(make_user("reader@example.com"))
    for path in ("", f"{which.pk}/"):
        assert client.get(f"{IMPORTS}{path}").status_code == 404
    assert client.post(IMPORTS, {"file": SimpleUploadedFile("faq.csv", b"question\n")}).status_code == 404
    assert confirm(client, which, "good").status_code == 404


def test_an_import_belongs_to_its_collection(editor, upload, owner):
    which = upload(TABLE)
    other = make_collection(slug="other", model_name="faq-other", is_default=False)
    other.editors.add(owner)
    assert editor.get(f"/faq/other/imports/{which.pk}/").status_code == 404


# What happens meanwhile -----------------------------------------------------------------------------------------------


def test_what_somebody_has_changed_meanwhile_is_not_overwritten(editor, upload, work, owner):
    which = upload(TABLE)
    entry = Entry.objects.get(external_id="js-2")
    editing.change(entry, Content(question="What is a closure?", answer="Theirs."), by=owner, version=None)
    confirm(editor, which, "good")
    work()
    which.refresh_from_db()
    assert which.state == "ready"
    assert "Somebody has changed the entry &#x27;js-2&#x27; meanwhile" in page_of(editor, which).text
    assert said("js-2").answer == "Theirs."
    assert Entry.objects.count() == 2, "nothing of it was imported"


def test_a_word_for_another_check_than_the_last_does_not_count(editor, upload):
    which = upload(TABLE)
    which.checked = uuid.uuid4()
    assert confirm(editor, which, "good").status_code == 409
    assert Import.objects.get().state == "ready"


def test_a_worker_that_ends_in_the_middle_leaves_nothing_half_imported(editor, upload, monkeypatch):
    which = upload("question,answer\n" + "".join(f"Question {number}?,Answer\n" for number in range(700)))
    confirm(editor, which)

    def killed(_which: Import, done: int) -> None:
        assert Entry.objects.count() > 2, "some are written by now"
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(files, "note_progress", killed)
        with pytest.raises(SystemExit):
            tasks.work_on_import(which.pk)
    assert Entry.objects.count() == 2
    which.refresh_from_db()
    assert which.state == "importing"
    assert not services.work_on(which.pk), "its worker may live"
    Import.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    monkeypatch.setattr(files, "heard_of", lambda _which: 0.0)
    assert services.work_on(which.pk), "another takes it up"
    assert Entry.objects.count() == 702


def test_a_worker_that_was_thought_dead_writes_nothing(editor, upload, monkeypatch):
    which = upload(TABLE)
    confirm(editor, which, "good")

    def overtaken(_which: Import, _done: int) -> None:
        Import.objects.update(token=uuid.uuid4())

    monkeypatch.setattr(files, "note_progress", overtaken)
    services.work_on(which.pk)
    assert Entry.objects.count() == 2


def test_after_three_workers_have_ended_over_it_it_fails(editor, upload):
    which = upload(TABLE)
    confirm(editor, which, "good")
    Import.objects.update(attempts=3)
    services.work_on(which.pk)
    assert "3 workers ended" in page_of(editor, which).text
    assert Entry.objects.count() == 2


def test_an_import_that_nobody_attends_to_is_sent_again(editor, upload, work):
    which = upload(TABLE)
    Import.objects.update(state="checking", created_at=timezone.now() - timedelta(minutes=1))
    tasks.watch_imports()
    assert work() == ["faq.work_on_import"]
    which.refresh_from_db()
    assert which.state == "ready"


def test_what_is_discarded_is_gone_and_what_is_not_confirmed_within_a_day_too(editor, upload):
    which = upload(TABLE)
    assert editor.post(f"{IMPORTS}{which.pk}/discard/").status_code == 302
    assert not Import.objects.exists()
    which = upload(TABLE)
    tasks.forget_imports()
    assert page_of(editor, which).status_code == 200
    Import.objects.update(created_at=timezone.now() - timedelta(hours=25))
    tasks.forget_imports()
    assert not Import.objects.exists()
    assert not list(files.root().iterdir())


def test_after_a_week_an_import_is_known_and_its_lines_are_not(editor, upload, work):
    which = upload(TABLE)
    confirm(editor, which, "good")
    work()
    Import.objects.update(ended_at=timezone.now() - timedelta(days=8))
    tasks.forget_imports()
    page = page_of(editor, which)
    assert "1 new and 1 changed" in page.text
    assert "no longer kept" in page.text
