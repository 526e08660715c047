"""The pages on which a batch begins: its upload, and how it was read."""

import re

import pytest
from django.test import Client

from tests.factories import make_collection, make_model, make_version, picture
from tests.webapp.batch.browsing import LIST, NEW, PART, TICKETS, options, page, sent, words
from tests.webapp.batch.conftest import after, results
from webapp.batch import files, queries
from webapp.batch.models import Job

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
