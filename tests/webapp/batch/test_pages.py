"""The pages of batches that there are, as their owner and a stranger find them."""

import html
import zipfile
from datetime import timedelta
from io import BytesIO

import httpx2 as httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from tests.factories import make_service, picture
from tests.webapp.batch.browsing import LIST, NEW, NOBODYS, options, page, sent, words
from tests.webapp.batch.conftest import after
from webapp.batch import checking, files, services
from webapp.batch.models import Job

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
