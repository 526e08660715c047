"""The pages of batches, as their owner and a stranger find them."""

import html
import re
import zipfile
from datetime import timedelta
from io import BytesIO

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.factories import make_collection, make_model, make_service, make_version, picture
from tests.webapp.batch.conftest import after, results
from webapp.batch import checking, files, queries, services
from webapp.batch.models import Job

LIST, NEW = "/batches/", "/batches/new"
NOBODYS = "6b1c6d0e-9f0f-4f53-9a55-8d0c9c1f1b8a"  # no batch has this id
PART = {"X-Requested-With": "fetch"}
TICKETS = "Ticket;Frage;question\n1;Wie?;How do I copy an array?\n2;Was?;What is a closure?\n3;;\n"


def sent(text: str = TICKETS, name: str = "tickets.csv", encoding: str = "utf-8") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(encoding))


def page(job: Job, name: str = "batch") -> str:
    return reverse(f"batch:{name}", args=[job.pk])


def words(answer) -> str:
    """What the page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode())).split())


@pytest.fixture
def draft(owner_client, collection):
    """Call it with a file to have it uploaded; it returns the draft."""

    def make(file: SimpleUploadedFile | None = None) -> Job:
        answer = owner_client.post(NEW, {"file": file or sent()})
        assert answer.status_code == 302, words(answer)
        return Job.objects.get(pk=answer["Location"].split("/")[2])

    return make


def options(**changed: object) -> dict[str, object]:
    """What the form of the preview sends."""
    read = {"format": "csv", "encoding": "utf-8", "delimiter": ";", "header": "yes"}
    return {
        **read,
        "name": "Tickets",
        "column": "2",
        "collection": "javascript",
        "version": "",
        "top_k": "3",
        **changed,
    }


# Upload ---------------------------------------------------------------------------------------------------------------


def test_the_limits_are_said_before_anything_is_sent(owner_client, settings):
    settings.BATCH_ROWS, settings.BATCH_BYTES, settings.BATCH_KEPT_DAYS = 12_345, 5_000_000_000, 7
    said = words(owner_client.get(NEW))
    assert "up to 12,345 rows" in said
    assert "Up to 5 GB. Your batches hold 0 MB of 5 GB." in said
    assert "deleted 7 days after the end" in said


def test_a_script_is_told_where_the_preview_is(owner_client, collection):
    answer = owner_client.post(NEW, {"file": sent()}, headers=PART)
    assert answer.status_code == 201
    assert answer.json() == {"location": page(Job.objects.get())}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("letter.pdf", "%PDF-1.7", "PDF"), ("empty.csv", "", "empty"), (None, None, "Choose a file")],
)
def test_what_cannot_be_read_is_refused_at_once_and_not_kept(owner_client, batch_dir, name, content, said):
    answer = owner_client.post(NEW, {"file": sent(content, name)} if name else {})
    assert answer.status_code == 422
    assert said in words(answer)
    refused = owner_client.post(NEW, {"file": sent(content, name)} if name else {}, headers=PART)
    assert refused.status_code == 422
    assert said in refused.json()["detail"]
    assert not Job.objects.exists()
    assert [path for path in batch_dir.rglob("*") if path.is_file()] == []


def test_several_pictures_become_one_batch(draft, owner_client, scoring):
    answer = owner_client.post(NEW, {"file": [picture(name="a.png"), picture(name="b.png")]})
    job = Job.objects.get()
    assert (job.kind, job.format) == ("image", "zip")
    said = words(owner_client.get(answer["Location"]))
    assert "2 pictures" in said
    assert "a.png" in said


def test_an_upload_for_which_there_is_no_room_is_refused_before_it_is_read(owner_client, draft, settings):
    draft()
    settings.BATCH_BYTES = 10
    answer = owner_client.post(NEW, {"file": sent()}, headers=PART)
    assert answer.status_code == 409
    assert "Delete some" in answer.json()["detail"]
    assert Job.objects.count() == 1


def test_another_sites_form_uploads_nothing(owner, collection, batch_dir):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    assert browser.post(NEW, {"file": sent()}).status_code == 403
    token = re.search('csrfmiddlewaretoken" value="(.*?)"', browser.get(NEW).content.decode()).group(1)
    foreign = browser.post(
        NEW, {"file": sent(), "csrfmiddlewaretoken": token}, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    assert not Job.objects.exists()
    assert [path for path in batch_dir.rglob("*") if path.is_file()] == []
    assert browser.post(NEW, {"file": sent(), "csrfmiddlewaretoken": token}).status_code == 302


# Preview --------------------------------------------------------------------------------------------------------------


def test_the_preview_shows_what_was_recognised_and_the_first_rows(owner_client, draft):
    job = draft(sent(encoding="cp1252", text=TICKETS.replace("Wie?", "Geht’s?")))
    answer = owner_client.get(page(job))
    how = answer.context["how"]
    assert [how[name].value() for name in ("format", "encoding", "delimiter", "header")] == [
        "csv", "cp1252", ";", "yes",
    ]  # fmt: skip
    assert answer.context["form"].chosen_column == 2
    said = words(answer)
    for text in ("Ticket", "Frage", "Geht’s?", "What is a closure?"):
        assert text in said


def test_read_otherwise_the_rows_follow_and_what_was_filled_in_stays(owner_client, draft):
    job = draft()
    asked = {"format": "csv", "encoding": "utf-8", "delimiter": ";", "header": "no"}
    answer = owner_client.post(page(job, "read"), options(name="Mine", top_k="9", column="1") | asked, headers=PART)
    assert answer.status_code == 200
    assert "<html" not in answer.content.decode()
    assert answer.context["rows"][0] == ["Ticket", "Frage", "question"]
    assert [name for _, name in answer.context["columns"]] == ["Column 1", "Column 2", "Column 3"]
    form = answer.context["form"]
    assert [form[name].value() for name in ("name", "top_k")] == ["Mine", "9"]
    assert form.chosen_column == 1
    # It is the draft that is read like that, so a reload shows the same.
    assert owner_client.get(page(job)).context["rows"][0] == ["Ticket", "Frage", "question"]


def test_a_table_may_be_a_text_after_all_and_back(owner_client, draft):
    job = draft()
    now = {"encoding": "utf-8", "delimiter": ";", "header": "yes"}
    answer = owner_client.post(page(job, "read"), {**now, "format": "txt"})
    assert answer.context["rows"][0] == ["Ticket;Frage;question"]
    assert "column" not in answer.context["form"].fields
    answer = owner_client.post(page(job, "read"), {"format": "csv", "encoding": "utf-8"})
    assert answer.context["how"]["delimiter"].value() == ";"
    assert len(answer.context["columns"]) == 3


def test_a_file_that_cannot_be_read_like_that_stays_as_it_was(owner_client, draft):
    job = draft(sent('[{"question": "a"},\n {"question": "b"}]\n', "list.txt"))
    answer = owner_client.post(page(job, "read"), {"format": "jsonl", "encoding": "utf-8"})
    assert answer.status_code == 422
    assert list(answer.context["how"].errors) == ["format"]
    assert after(job).format == "txt"


def test_it_starts_with_what_was_chosen_and_is_scored(owner_client, answering, draft, work):
    job = draft()
    answer = owner_client.post(page(job, "start"), options())
    assert answer["Location"] == page(job)
    work()
    job = after(job)
    assert (job.name, job.column, job.top_k, job.collection) == ("Tickets", "question", 3, "javascript")
    assert (job.state, job.total, job.completed, job.failed) == ("completed", 3, 2, 1)


def test_what_is_said_of_the_reading_holds_when_it_is_started_without_a_script(owner_client, answering, draft, work):
    job = draft()
    assert owner_client.post(page(job, "start"), options(header="no"))["Location"] == page(job)
    work()
    assert (after(job).state, after(job).column, after(job).total) == ("completed", "Column 3", 4)


def test_read_with_other_columns_it_is_shown_before_it_is_started(owner_client, answering, draft, work):
    """The column was chosen among those that were shown."""
    text = "a|b;question\nx|What is this?;one\ny|What is that?;two\n"
    job = draft(sent(text))
    answer = owner_client.post(page(job, "start"), options(delimiter="|", column="1"))
    assert (answer.status_code, after(job).state) == (422, "draft")
    assert "read in another way now" in words(answer)
    assert answer.context["rows"][-1] == ["y", "What is that?;two"]
    answer = owner_client.post(page(job, "start"), options(delimiter="", column="1"))
    assert (answer.status_code, len(answer.context["columns"])) == (422, 1)
    assert owner_client.post(page(job, "start"), options(delimiter="", column="0"))["Location"] == page(job)
    work()
    assert results(after(job))[0].question == "x|What is this?;one"


def test_what_cannot_be_read_as_said_is_not_started(owner_client, draft):
    job = draft(sent('[{"question": "a"},\n {"question": "b"}]\n', "list.txt"))
    answer = owner_client.post(page(job, "start"), options(format="jsonl"))
    assert (answer.status_code, after(job).state) == (422, "draft")
    assert list(answer.context["how"].errors) == ["format"]


def test_read_otherwise_meanwhile_in_another_window_it_is_shown_again(owner_client, draft, monkeypatch):
    job = draft()
    real = queries.job_of

    def job_of(*arguments):
        found = real(*arguments)
        monkeypatch.undo()
        owner_client.post(page(job, "read"), options(header="no"))
        return found

    monkeypatch.setattr(queries, "job_of", job_of)
    answer = owner_client.post(page(job, "start"), options())
    assert (answer.status_code, after(job).state) == (409, "draft")
    assert "has been read in another way meanwhile" in words(answer)
    assert answer.context["how"]["header"].value() == "no"


def test_started_meanwhile_in_another_window_the_batch_is_shown(owner_client, draft, monkeypatch):
    for name in ("read", "start"):
        job = draft()
        real = queries.job_of

        def job_of(*arguments, job=job, real=real):
            found = real(*arguments)
            monkeypatch.undo()
            owner_client.post(page(job, "start"), options())
            return found

        monkeypatch.setattr(queries, "job_of", job_of)
        assert owner_client.post(page(job, name), options(header="no"))["Location"] == page(job)


@pytest.mark.parametrize(("changed", "field"), [({"top_k": "0"}, "top_k"), ({"top_k": "x"}, "top_k")])
def test_what_will_not_do_is_named_and_what_was_filled_in_stays(owner_client, draft, changed, field):
    job = draft()
    answer = owner_client.post(page(job, "start"), options(**changed))
    assert answer.status_code == 422
    form = answer.context["form"]
    assert list(form.errors) == [field]
    assert form["name"].value() == "Tickets"
    assert after(job).state == "draft"


def test_versions_that_may_be_pinned_are_offered_for_the_chosen_collection(owner_client, draft):
    make_version(make_model("faq-javascript"), "7", "champion")
    make_version(make_model("faq-python"), "3", "champion")
    make_collection("How?", slug="python", name="Python", model_name="faq-python", is_default=False)
    job = draft()
    offered = owner_client.get(page(job)).context["form"].fields["version"].choices
    assert offered == [("", "Whichever serves (now 7)"), ("7", "Version 7")]
    answer = owner_client.post(page(job, "read"), options(collection="python", version="7"))
    form = answer.context["form"]
    assert [name for name, _ in form.fields["version"].choices] == ["", "3"]
    assert form["version"].value() == ""


def test_while_no_model_for_pictures_is_there_a_draft_says_so_and_waits(owner_client, scoring):
    scoring.models["gpu"] = []
    owner_client.post(NEW, {"file": picture()})
    job = Job.objects.get()
    assert owner_client.get(page(job)).status_code == 200
    answer = owner_client.post(page(job, "start"), {"name": "x", "top_k": "5", "version": ""})
    assert answer.status_code == 422
    assert "There is no model for pictures right now" in words(answer)


def test_a_limit_of_open_batches_is_said_at_the_start(owner_client, draft, create, settings):
    settings.BATCH_OPEN_JOBS = 1
    create(3)
    job = draft()
    assert "as many as may be at once" in words(owner_client.get(NEW))
    answer = owner_client.post(page(job, "start"), options())
    assert answer.status_code == 409
    assert "as many as you may at once" in words(answer)
    assert after(job).state == "draft"


def test_a_draft_is_discarded_with_its_file(owner_client, draft, batch_dir):
    job = draft()
    assert owner_client.post(page(job, "delete"))["Location"] == LIST
    assert not Job.objects.exists()
    assert not files.folder(job).exists()


def test_the_addresses_that_its_form_is_sent_to_lead_back_to_it(owner_client, draft):
    job = draft()
    for name in ("read", "start"):
        assert owner_client.get(page(job, name))["Location"] == page(job)


def test_started_twice_it_is_one_batch(owner_client, draft):
    job = draft()
    for name in ("start", "start", "read"):
        assert owner_client.post(page(job, name), options())["Location"] == page(job)
    assert Job.objects.count() == 1


# One batch ------------------------------------------------------------------------------------------------------------


def test_while_it_is_at_work_the_page_looks_again_and_then_no_more(owner_client, answering, create, work):
    job = create(450)
    answer = owner_client.get(page(job))
    assert 'data-every="2"' in answer.content.decode()
    assert "Reading the file" in words(answer)
    work()
    answer = owner_client.get(page(job), headers={"HX-Request": "true"})
    assert "data-every" not in answer.content.decode()
    assert "<html" not in answer.content.decode()
    assert "Completed" in words(answer)


def test_results_come_in_pages_in_the_order_of_the_file(owner_client, answering, create, work):
    job = create(450)
    work()
    answer = owner_client.get(page(job))
    shown = answer.context["page"]
    assert [row.number for row in shown.rows] == list(range(1, 21))
    assert "91 %" in words(answer)
    assert "How do I copy an array?" in words(answer)
    later = owner_client.get(page(job), {"after": 440}).context["page"]
    assert [row.number for row in later.rows] == list(range(441, 451))
    assert later.next_after is None


def test_failed_rows_have_their_own_tab_with_reasons(owner_client, answering, create, work):
    answering.refused["Question 7?"] = "it is nothing but noise"
    job = create([f"Question {number}?" for number in range(9)] + [""])
    work()
    answer = owner_client.get(page(job), {"tab": "failed"})
    rows = answer.context["page"].rows
    assert [row.number for row in rows] == [8, 10]
    assert "nothing but noise" in words(answer)
    assert "has no question" in words(answer)
    assert "Rows that were refused when the file was read stay out" in words(answer)
    again = owner_client.post(page(job, "retry"))
    new = Job.objects.exclude(pk=job.pk).get()
    assert again["Location"] == page(new)
    assert new.retry_of == job


def test_rows_that_would_be_refused_again_are_not_offered_to_be_tried_again(owner_client, answering, create, work):
    job = create(["Question 0?", ""])
    work()
    assert after(job).failed == 1
    answer = owner_client.get(page(job), {"tab": "failed"})
    assert "Retry" not in words(answer)
    assert "These were refused when the file was read, and would be again" in words(answer)


def test_the_overview_tells_how_certain_it_was_and_who_answered(owner_client, answering, create, work):
    job = create(450)
    work()
    answer = owner_client.get(page(job), {"tab": "overview"})
    assert "version 1: 450 rows" in words(answer)
    counts = [count for _, _, count in answer.context["page"].confidences[0].bins]
    assert (counts[18], sum(counts)) == (450, 450)
    assert "How certain the best answers are" in words(answer)


def test_each_version_that_answered_is_named_however_few_rows_it_had(
    owner_client, answering, create, work, monkeypatch
):
    monkeypatch.setitem(checking.ROWS_A_CHUNK, "faq", 2)
    answering.refused["Question 3?"] = "it is nothing but noise"

    def canary(request):
        if b"Question 83?" in request.content:
            address = str(request.url).replace("/infer", "/versions/2/infer")
            request = httpx.Request("POST", address, headers=request.headers, content=request.content)
        return answering.behave(request)

    answering.answers(canary)
    job = create(200)
    work()
    said = words(owner_client.get(page(job), {"tab": "overview"}))
    assert "version 1: 197 rows, version 2: 2 rows" in said


def test_cancelling_asks_first_and_what_is_scored_stays(owner_client, answering, create, work):
    job = create(450)
    work()
    Job.objects.update(state="in_progress", completed=200, ended_at=None)
    job.chunks.exclude(number=0).update(state="waiting", completed=0, result="")
    assert "200 of 450 rows" in words(owner_client.get(page(job, "cancel")))
    assert after(job).state == "in_progress"
    assert owner_client.post(page(job, "cancel"))["Location"] == page(job)
    assert after(job).state == "cancelled"
    answer = owner_client.get(page(job))
    assert "Not scored 250" in words(answer)
    assert "Retry what has no answer" in words(answer)
    late = owner_client.post(page(job, "cancel"), follow=True)
    assert late.status_code == 200  # to cancel it again does no harm


def test_deleting_asks_first(owner_client, answering, create, work):
    job = create(3)
    answer = owner_client.post(page(job, "delete"), follow=True)
    assert "still at work" in words(answer)
    work()
    assert "cannot be undone" in words(owner_client.get(page(job, "delete")))
    assert owner_client.post(page(job, "delete"))["Location"] == LIST
    assert not Job.objects.exists()


def test_a_batch_that_failed_says_why(owner_client, answering, create, work):
    job = create(["", " "])
    work()
    answer = owner_client.get(page(job))
    assert after(job).state == "failed"
    assert "Not one of its 2 rows can be scored" in words(answer)
    assert "Send another file" in words(answer)


def test_it_says_why_it_waits(owner_client, create):
    job = create(3)
    Job.objects.update(state="in_progress", total=3, problem="No pod of faq-javascript answers.")
    assert "It waits: No pod of faq-javascript answers." in words(owner_client.get(page(job)))


def test_until_when_results_are_kept_is_said_and_afterwards_that_they_are_gone(owner_client, answering, create, work):
    job = create(3)
    work()
    assert "are kept until" in words(owner_client.get(page(job)))
    files.delete(job)
    job.chunks.all().delete()
    Job.objects.update(deleted_at=timezone.now() - timedelta(hours=3))
    answer = owner_client.get(page(job))
    assert answer.status_code == 200
    assert "were deleted 3 hours ago" in words(answer)
    assert "Retry" not in words(answer)


def test_files_that_cannot_be_read_are_said_and_the_page_is_still_there(owner_client, answering, create, work):
    job = create(3)
    work()
    files.delete(job)
    for tab in ("results", "failed", "overview"):
        assert owner_client.get(page(job), {"tab": tab}).status_code == 200
    assert "The rows cannot be shown" in words(owner_client.get(page(job)))


@pytest.mark.parametrize("asked", [{"tab": "nonsense"}, {"after": "-1"}, {"after": "9" * 30}, {"after": "x"}])
def test_addresses_that_nobody_links_to_show_the_page(owner_client, answering, create, work, asked):
    job = create(3)
    work()
    assert owner_client.get(page(job), asked).status_code == 200


def test_a_picture_has_its_small_copy(owner_client, client_of_nobody, stranger, collection):
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as pictures:
        pictures.writestr("a.png", picture().read())
    owner_client.post(NEW, {"file": SimpleUploadedFile("pictures.zip", packed.getvalue())})
    job = Job.objects.get()
    small = files.thumbnail(job, 0)
    small.parent.mkdir()
    small.write_bytes(b"\xff\xd8\xff small")
    address = reverse("batch:thumbnail", args=[job.pk, 0])
    answer = owner_client.get(address)
    assert answer["Content-Type"] == "image/jpeg"
    assert b"".join(answer) == b"\xff\xd8\xff small"
    assert owner_client.get(reverse("batch:thumbnail", args=[job.pk, 1])).status_code == 404
    client_of_nobody.force_login(stranger)
    assert client_of_nobody.get(address).status_code == 404


# The list -------------------------------------------------------------------------------------------------------------


def test_before_the_first_the_list_says_what_batches_are(owner_client):
    answer = owner_client.get(LIST)
    assert "No batches yet" in words(answer)
    assert NEW in answer.content.decode()


def test_the_list_looks_again_while_something_is_at_work(owner_client, answering, create, work):
    create(3)
    assert 'data-every="3"' in owner_client.get(LIST).content.decode()
    work()
    part = owner_client.get(LIST, headers={"HX-Request": "true"}).content.decode()
    assert "data-every" not in part
    assert "<html" not in part


def test_the_list_can_be_narrowed_down(owner_client, answering, create, draft, work):
    done = create(3)
    work()
    waiting, unstarted = create(3), draft()

    def shown(state: str) -> set[Job]:
        return {job for job, _ in owner_client.get(LIST, {"state": state}).context["jobs"]}

    assert shown("") == shown("nonsense") == {done, waiting, unstarted}
    assert (shown("completed"), shown("open"), shown("draft")) == ({done}, {waiting}, {unstarted})
    assert shown("failed") == set()
    assert "None of your batches is in this state" in words(owner_client.get(LIST, {"state": "failed"}))


def test_older_batches_are_on_further_pages(owner_client, owner):
    Job.objects.bulk_create(Job(owner=owner, kind="faq", name=f"{n}", format="csv", model="m") for n in range(25))
    first = owner_client.get(LIST)
    assert len(first.context["jobs"]) == 20
    older = owner_client.get(LIST, {"before": first.context["next_cursor"]})
    assert len(older.context["jobs"]) == 5


# Strangers ------------------------------------------------------------------------------------------------------------


def test_a_stranger_finds_nothing(client_of_nobody, stranger, create, draft):
    jobs = [create(3), draft()]
    client_of_nobody.force_login(stranger)
    for job in jobs:
        for name in ("batch", "cancel", "delete"):
            assert client_of_nobody.get(page(job, name)).status_code == 404
        for name in ("read", "start", "cancel", "retry", "delete"):
            assert client_of_nobody.post(page(job, name), options()).status_code == 404
    assert "No batches yet" in words(client_of_nobody.get(LIST))
    assert client_of_nobody.get(f"/batches/{NOBODYS}/").status_code == 404


def test_who_answers_for_a_service_account_finds_its_batches_with_its_name(owner_client, owner, create):
    job = create(3, owner=make_service(owner, "Night import"))
    mine = create(3)
    shown = owner_client.get(LIST)
    assert [each for each, _ in shown.context["jobs"]] == [mine, job]
    assert words(shown).count("Of the service account Night import") == 1
    assert "Of the service account Night import" in words(owner_client.get(page(job)))
    assert "Of the service account" not in words(owner_client.get(page(mine)))


def test_who_answers_for_a_service_account_looks_after_its_batches(owner_client, owner, answering, create, work):
    job = create(3, owner=make_service(owner))
    work()
    assert b"Question 2?" in b"".join(owner_client.get(reverse("batch:download", args=[job.pk, "results", "csv"])))
    assert owner_client.post(page(job, "delete"))["Location"] == LIST
    assert not Job.objects.exists()
    second = create(3, owner=job.owner)
    owner_client.post(page(second, "cancel"))
    assert after(second).state == "cancelled"


def test_who_does_not_answer_for_a_service_account_finds_nothing_of_it(client_of_nobody, owner, stranger, create):
    job = create(3, owner=make_service(owner))
    client_of_nobody.force_login(stranger)
    assert client_of_nobody.get(LIST).context["jobs"] == []
    for name in ("batch", "cancel", "delete"):
        assert client_of_nobody.get(page(job, name)).status_code == 404


@pytest.mark.parametrize("path", [LIST, NEW, f"/batches/{NOBODYS}/"])
def test_who_is_not_signed_in_is_led_to_sign_in(client, db, path):
    assert client.get(path)["Location"].startswith("/accounts/login/")


def test_the_name_of_a_file_is_text_and_nothing_else(owner_client, draft):
    job = draft(sent(name='<img src=x onerror="alert(1)">.csv'))
    for path in (LIST, page(job)):
        assert "<img src=x" not in owner_client.get(path).content.decode()
    services.start(job, options=services.Options())
    assert "<img src=x" not in owner_client.get(page(job)).content.decode()


# Downloads and code ---------------------------------------------------------------------------------------------------


def test_results_and_failed_rows_are_downloaded(owner_client, answering, create, work):
    job = create(["Question 0?", "", "Question 2?"])
    assert "/results/csv" not in owner_client.get(page(job)).content.decode()
    work()
    html_of_page = owner_client.get(page(job)).content.decode()
    for which, count in (("results", 3), ("errors", 1)):
        address = reverse("batch:download", args=[job.pk, which, "csv"])
        assert address in html_of_page
        answer = owner_client.get(address)
        assert answer["Content-Disposition"].startswith("attachment")
        assert len(b"".join(answer).splitlines()) == count + 1


def test_a_workbook_is_made_when_somebody_asks_for_it(owner_client, answering, create, work):
    job = create(3)
    work()
    address = reverse("batch:download", args=[job.pk, "results", "xlsx"])
    answer = owner_client.get(address)
    assert "It is being made" in words(answer)
    assert 'data-every="3"' in answer.content.decode()
    work()
    part = owner_client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "It is ready" in part
    assert "data-every" not in part
    workbook = owner_client.get(address)
    assert workbook["Content-Disposition"] == 'attachment; filename="questions-results.xlsx"'
    assert b"".join(workbook).startswith(b"PK")


def test_what_is_at_work_has_no_results_to_download(owner_client, create):
    job = create(3)
    assert owner_client.get(reverse("batch:download", args=[job.pk, "results", "csv"])).status_code == 409
    for which, form in (("nonsense", "csv"), ("results", "exe")):
        assert owner_client.get(reverse("batch:download", args=[job.pk, which, form])).status_code == 404


def test_a_stranger_downloads_nothing(answering, create, work, client_of_nobody, stranger):
    job = create(3)
    work()
    client_of_nobody.force_login(stranger)
    assert client_of_nobody.get(reverse("batch:download", args=[job.pk, "results", "csv"])).status_code == 404


def test_the_same_batch_by_api_is_shown_as_code(owner_client, answering, create, work):
    job = create(3, top_k=2, column="question")
    work()
    code = html.unescape(owner_client.get(page(job), {"tab": "api"}).content.decode())
    assert "--form-string collection=javascript" in code
    assert "--form-string top_k=2" in code
    assert "application/jsonl" in code
    assert f"/api/v1/batches/{job.pk}/results" in code
