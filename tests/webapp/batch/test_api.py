"""Batches by API: send, look, cancel, try again, delete."""

import gzip
import json
import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import bearer, make_key, make_service, picture
from tests.webapp.answers import assert_problem
from tests.webapp.batch.conftest import after, results
from webapp.batch import files, uploads
from webapp.batch.models import Job
from webapp.keys.models import IdempotentCall

BATCHES = "/api/v1/batches"
NOBODYS = "6b1c6d0e-9f0f-4f53-9a55-8d0c9c1f1b8a"  # no batch has this id
LINES = "\n".join(json.dumps({"custom_id": f"q{n}", "question": f"How do I {n}?"}) for n in range(3))
ASYNC = {"Prefer": "respond-async"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(owner):
    return make_key(owner, "batch", "faq:read", "images:read")


@pytest.fixture
def send(client, key, collection):
    """Call it to send JSON lines, or another body; it returns the answer."""

    def post(body: object = LINES, media_type: str = "application/jsonl", *, query: str = "", key=key, **headers: str):
        return client.post(f"{BATCHES}{query}", body, media_type, headers={**bearer(key), **headers})

    return post


@pytest.fixture
def form(client, key, collection):
    """Call it to send a form with files and fields."""

    def post(key=key, headers=None, **fields: object):
        return client.post(BATCHES, fields, headers={**bearer(key), **(headers or {})})

    return post


@pytest.fixture
def overtaken(monkeypatch):
    """Another request with the same Idempotency-Key takes over as soon as an upload is a job's."""
    real = files.adopt

    def adopt(*arguments: object) -> None:
        real(*arguments)
        IdempotentCall.objects.update(token=uuid.uuid4())

    monkeypatch.setattr(files, "adopt", adopt)


def csv(text: str = "question\nHow do I copy an array?\nWhat is a closure?\n", name: str = "questions.csv"):
    return SimpleUploadedFile(name, text.encode(), "text/csv")


def job_of(answer) -> Job:
    assert answer.status_code == 202, answer.content
    return Job.objects.get(pk=answer.json()["id"])


def left_behind(folder) -> list[str]:
    incoming = folder / "incoming"
    return [path.name for path in incoming.iterdir()] if incoming.is_dir() else []


class TestSending:
    def test_json_lines_become_a_batch_that_says_where_it_is(self, client, send, key, owner):
        answer = send(query="?top_k=2&name=Tickets&metadata=%7B%22ticket%22%3A%224711%22%7D")
        told = answer.json()
        job = job_of(answer)
        assert answer["Location"] == f"{BATCHES}/{job.pk}"
        assert (told["object"], told["status"], told["kind"], told["name"]) == ("batch", "validating", "faq", "Tickets")
        assert (told["collection"], told["model"], told["version"]) == ("javascript", "faq-javascript", None)
        assert (told["top_k"], told["metadata"], told["errors"]) == (2, {"ticket": "4711"}, [])
        assert told["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
        assert told["urls"]["results"] == f"{BATCHES}/{job.pk}/results"
        assert (job.owner, job.key) == (owner, key.key)
        assert client.get(answer["Location"], headers=bearer(key)).json()["id"] == told["id"]

    def test_a_form_brings_a_file_and_what_to_do_with_it(self, form):
        answer = form(file=csv("a,text\n1,How do I copy an array?\n"), column="text", name="Mine", kind="faq")
        assert job_of(answer).column == "text"
        assert answer.json()["name"] == "Mine"

    def test_a_table_may_come_as_it_is(self, send):
        assert job_of(send("question\nWhat is a closure?\n", "text/csv")).format == "csv"

    def test_several_pictures_make_one_batch(self, form, scoring):
        job = job_of(form(files=[picture(name="a.png"), picture(name="b.png")]))
        assert (job.kind, job.format) == ("image", "zip")

    def test_what_is_sent_is_the_batchs_and_nothing_lies_around(self, send, form, batch_dir):
        assert (batch_dir / str(job_of(send()).pk) / "upload").read_text() == LINES
        form(file=csv())
        send("\n")
        assert left_behind(batch_dir) == []

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("?top_k=21", "top_k"),
            ("?kind=video", "kind"),
            ("?kind=image", "kind"),
            ("?collection=none", "collection"),
            ("?metadata=ticket", "metadata"),
            ("?metadata=%7B%22a%22%3A1%7D", "metadata"),
            # Which PostgreSQL keeps in no JSON, and no answer can hold: half a surrogate pair, NUL in a name.
            ("?metadata=%7B%22a%22%3A%22%5Cud800%22%7D", "metadata"),
            ("?metadata=%7B%22a%5Cu0000%22%3A%22b%22%7D", "metadata"),
        ],
    )
    def test_an_option_that_makes_no_sense_is_named(self, send, query, field, batch_dir):
        problem = assert_problem(send(query=query), 422, "invalid-input")
        assert [error["field"] for error in problem["errors"]] == [field]
        assert not Job.objects.exists()
        assert left_behind(batch_dir) == []

    def test_an_empty_upload_or_none_is_named(self, send, form):
        assert assert_problem(send("\n"), 422, "invalid-input")["errors"][0]["field"] == "file"
        assert assert_problem(form(name="x"), 422, "invalid-input")["errors"][0]["field"] == "file"

    def test_another_kind_of_body_is_refused(self, send):
        assert_problem(send("<xml/>", "text/xml"), 415, "unsupported-media-type")
        assert_problem(send(json.dumps({"question": "x"}), "application/json"), 415, "unsupported-media-type")

    def test_too_many_at_once_are_a_conflict(self, send, settings):
        settings.BATCH_OPEN_JOBS = 1
        job_of(send())
        assert_problem(send(), 409, "conflict")

    def test_a_key_needs_the_scope(self, send, owner):
        problem = assert_problem(send(key=make_key(owner, "faq:read", name="other")), 403, "not-allowed")
        assert "`batch`" in problem["detail"]


class TestSendingAgain:
    def test_the_same_lines_under_one_key_make_one_batch(self, send):
        first, second = (send(**{"Idempotency-Key": "first"}) for _ in range(2))
        assert first.json() == second.json()
        assert second["Location"] == first["Location"]
        assert second["Idempotency-Replayed"] == "true"
        assert Job.objects.count() == 1

    def test_so_does_the_same_form_whatever_its_boundary(self, client, form, key):
        first = form(file=csv(), headers={"Idempotency-Key": "first"})
        body = (
            b'--other\r\nContent-Disposition: form-data; name="file"; filename="questions.csv"\r\n'
            b"Content-Type: text/csv\r\n\r\n" + csv().read() + b"\r\n--other--\r\n"
        )
        headers = {**bearer(key), "Idempotency-Key": "first"}
        second = client.post(BATCHES, body, "multipart/form-data; boundary=other", headers=headers)
        assert second.json() == first.json()

    @pytest.mark.parametrize("change", [{"body": LINES + "\n"}, {"query": "?top_k=1"}])
    def test_another_upload_or_option_under_the_key_is_refused(self, send, change, batch_dir):
        send(**{"Idempotency-Key": "first"})
        assert_problem(send(**change, **{"Idempotency-Key": "first"}), 422, "idempotency-key-reused")
        assert left_behind(batch_dir) == []

    def test_a_call_that_is_overtaken_leaves_no_files(self, send, overtaken, batch_dir):
        assert_problem(send(**{"Idempotency-Key": "first"}), 409, "still-running")
        assert not Job.objects.exists()
        assert [path.name for path in batch_dir.iterdir()] == ["incoming"]
        assert left_behind(batch_dir) == []

    def test_after_a_refusal_the_key_is_free(self, send, settings):
        settings.BATCH_OPEN_JOBS = 0
        assert_problem(send(**{"Idempotency-Key": "first"}), 409, "conflict")
        settings.BATCH_OPEN_JOBS = 1
        job_of(send(**{"Idempotency-Key": "first"}))


class TestLooking:
    def test_the_list_comes_in_pages_and_can_be_narrowed(self, client, send, key):
        ids = [send().json()["id"] for _ in range(3)]
        Job.objects.filter(pk=ids[0]).update(state="in_progress")
        page = client.get(BATCHES, {"limit": 2}, headers=bearer(key)).json()
        assert [job["id"] for job in page["data"]] == [ids[2], ids[1]]
        rest = client.get(BATCHES, {"limit": 2, "cursor": page["next_cursor"]}, headers=bearer(key)).json()
        assert ([job["id"] for job in rest["data"]], rest["has_more"]) == ([ids[0]], False)
        narrowed = client.get(BATCHES, {"status": "in_progress", "kind": "faq"}, headers=bearer(key)).json()
        assert [job["id"] for job in narrowed["data"]] == [ids[0]]

    @pytest.mark.parametrize("ask", [{"status": "draft"}, {"status": "done"}, {"kind": "x"}, {"cursor": "x"}])
    def test_a_parameter_that_makes_no_sense_is_named(self, client, key, ask):
        problem = assert_problem(client.get(BATCHES, ask, headers=bearer(key)), 422, "invalid-input")
        assert problem["errors"][0]["field"] in ask

    def test_as_long_as_nothing_changes_there_is_nothing_to_send(self, client, send, key):
        path = send()["Location"]
        etag = client.get(path, headers=bearer(key))["ETag"]
        assert client.get(path, headers={**bearer(key), "If-None-Match": etag}).status_code == 304
        Job.objects.update(state="in_progress", total=3)
        answer = client.get(path, headers={**bearer(key), "If-None-Match": etag})
        assert answer.json()["status"] == "in_progress"

    def test_a_batch_that_failed_says_why(self, client, key, answering, create, work):
        job = create(["only one"])
        Job.objects.filter(pk=job.pk).update(state="failed", reason="Line 3 is broken.", ended_at=job.created_at)
        told = client.get(f"{BATCHES}/{job.pk}", headers=bearer(key)).json()
        assert told["errors"] == [{"detail": "Line 3 is broken."}]
        assert told["failed_at"]
        assert told["completed_at"] is None

    def test_strangers_and_drafts_are_not_found(self, client, send, key, stranger):
        path = send()["Location"]
        other = make_key(stranger, "batch")
        for method in ("get", "delete"):
            assert_problem(getattr(client, method)(path, headers=bearer(other)), 404, "not-found")
        for what in ("cancel", "retry"):
            assert_problem(client.post(f"{path}/{what}", headers=bearer(other)), 404, "not-found")
        Job.objects.update(state="draft")
        assert_problem(client.get(path, headers=bearer(key)), 404, "not-found")
        assert client.get(BATCHES, headers=bearer(key)).json()["data"] == []

    def test_the_batches_of_a_service_account_are_those_of_whoever_answers_for_it_too(self, client, key, owner, create):
        account = make_service(owner)
        job = create(3, owner=account)
        assert [each["id"] for each in client.get(BATCHES, headers=bearer(key)).json()["data"]] == [str(job.pk)]
        cancelled = client.post(f"{BATCHES}/{job.pk}/cancel", headers=bearer(key))
        assert cancelled.json()["status"] == "cancelled"
        mine = create(3)
        of_the_account = bearer(make_key(account, "batch"))
        assert_problem(client.get(f"{BATCHES}/{mine.pk}", headers=of_the_account), 404, "not-found")

    @pytest.mark.parametrize("name", ["x", "%00", NOBODYS])
    def test_what_is_no_batch_is_not_found(self, client, key, name):
        assert_problem(client.get(f"{BATCHES}/{name}", headers=bearer(key)), 404, "not-found")


class TestLife:
    def test_it_is_scored_to_its_end(self, client, send, key, answering, work):
        job = job_of(send())
        work()
        told = client.get(f"{BATCHES}/{job.pk}", headers=bearer(key)).json()
        assert told["status"] == "completed"
        assert told["request_counts"] == {"total": 3, "completed": 3, "failed": 0}
        assert told["completed_at"]
        assert told["results_kept_until"]
        assert [row.id for row in results(after(job))] == ["q0", "q1", "q2"]

    def test_it_can_be_cancelled_as_often_as_one_likes_and_deleted_then(self, client, send, key):
        path = send()["Location"]
        assert_problem(client.delete(path, headers=bearer(key)), 409, "conflict")
        for _ in range(2):
            answer = client.post(f"{path}/cancel", headers=bearer(key))
            assert answer.json()["status"] in {"cancelling", "cancelled"}
        Job.objects.filter(state="cancelling").update(state="cancelled", ended_at=Job.objects.get().created_at)
        gone = client.delete(path, headers=bearer(key))
        assert (gone.status_code, gone.content) == (204, b"")
        assert_problem(client.get(path, headers=bearer(key)), 404, "not-found")

    def test_its_failed_rows_become_another_batch_once(self, client, send, key, answering, work):
        answering.refused["How do I 1?"] = "it has no word in it"
        path = send()["Location"]
        work()
        headers = {**bearer(key), "Idempotency-Key": "again-1"}
        first, second = (client.generic("POST", f"{path}/retry", headers=headers) for _ in range(2))
        assert first.status_code == 202
        assert (second.status_code, second.json()["id"]) == (202, first.json()["id"])
        assert Job.objects.count() == 2
        answering.refused.clear()
        work()
        told = client.get(first["Location"], headers=bearer(key)).json()
        assert (told["status"], told["request_counts"]) == ("completed", {"total": 1, "completed": 1, "failed": 0})

    def test_of_one_that_was_never_read_nothing_can_be_tried_again(self, client, send, key, answering, work):
        path = send()["Location"]
        client.post(f"{path}/cancel", headers=bearer(key))
        work()
        assert_problem(client.post(f"{path}/retry", headers=bearer(key)), 409, "conflict")

    def test_a_batch_without_failures_has_nothing_to_try_again(self, client, send, key, answering, work):
        path = send()["Location"]
        work()
        assert_problem(client.post(f"{path}/retry", headers=bearer(key)), 409, "conflict")
        assert_problem(client.post(f"{path}/cancel", headers=bearer(key)), 409, "conflict")


class TestResults:
    @pytest.fixture
    def path(self, client, send, key, answering, work):
        """Of a batch that has ended: one of its three rows failed."""
        path = send(LINES.replace("How do I 1?", ""))["Location"]
        work()
        return path

    def fetch(self, client, key, path, **headers: str) -> bytes:
        answer = client.get(path, headers={**bearer(key), **headers})
        assert answer.status_code == 200, answer
        return b"".join(answer.streaming_content)

    @pytest.mark.parametrize("accepted", ["application/json", "text/csv", "application/jsonl", "image/png"])
    def test_each_row_comes_once_in_order(self, client, key, path, accepted):
        rows = [json.loads(line) for line in self.fetch(client, key, f"{path}/results", Accept=accepted).splitlines()]
        assert [(row["row"], row["id"]) for row in rows] == [(1, "q0"), (2, "q1"), (3, "q2")]
        assert rows[0]["answers"][0]["id"] == "js-1"
        assert rows[1]["error"]

    def test_the_errors_alone_come_as_a_table_too(self, client, key, path):
        answer = client.get(f"{path}/errors?format=csv", headers=bearer(key))
        assert answer["Content-Type"].startswith("text/csv")
        assert "attachment" in answer["Content-Disposition"]
        header, row = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()
        assert header.split(",")[:2] == ["row", "id"]
        assert row.startswith("2,q1")

    def test_they_are_packed_while_they_are_streamed(self, client, key, path):
        assert b'"id":"q2"' in gzip.decompress(
            self.fetch(client, key, f"{path}/results", **{"Accept-Encoding": "gzip"})
        )

    def test_a_workbook_is_made_by_a_worker_first(self, client, key, path, work):
        answer = client.get(f"{path}/results?format=xlsx", headers=bearer(key))
        assert_problem(answer, 409, "conflict")
        assert int(answer["Retry-After"]) > 0
        work()
        assert self.fetch(client, key, f"{path}/results?format=xlsx").startswith(b"PK")

    def test_another_form_is_named(self, client, key, path):
        problem = assert_problem(client.get(f"{path}/results?format=pdf", headers=bearer(key)), 422, "invalid-input")
        assert problem["errors"][0]["field"] == "format"

    def test_there_are_none_before_the_end_and_none_for_strangers(self, client, send, key, stranger):
        path = send()["Location"]
        assert_problem(client.get(f"{path}/results", headers=bearer(key)), 409, "conflict")
        assert_problem(client.get(f"{path}/results", headers=bearer(make_key(stranger, "batch"))), 404, "not-found")


class TestLater:
    """The two scoring calls with `Prefer: respond-async`."""

    def match(self, client, key, body=None, **headers: str):
        body = body or {"question": "What is a closure?", "top_k": 1}
        path = "/api/v1/faq/match"
        return client.post(path, body, "application/json", headers={**bearer(key), **ASYNC, **headers})

    def test_a_question_is_answered_by_a_batch(self, client, key, answering, work):
        answer = self.match(client, key)
        job = job_of(answer)
        assert answer["Preference-Applied"] == "respond-async"
        assert answer["Location"] == f"{BATCHES}/{job.pk}"
        work()
        assert after(job).state == "completed"
        (row,) = results(job)
        assert [each.id for each in row.answers] == ["js-1"]

    def test_so_are_pictures(self, client, key, answering):
        answer = client.post(
            "/api/v1/images/classify",
            {"files": [picture(name="dog.png"), picture(name="dog.png")], "top_k": "3"},
            headers={**bearer(key), **ASYNC},
        )
        job = job_of(answer)
        assert (job.kind, job.format, job.top_k) == ("image", "zip", 3)
        raw = client.post("/api/v1/images/classify", picture().read(), "image/png", headers={**bearer(key), **ASYNC})
        assert job_of(raw).format == "zip"

    def test_without_the_wish_it_is_answered_at_once(self, client, key, answering):
        for wish in ("", "return=minimal"):
            answer = self.match(client, key, Prefer=wish)
            assert answer.status_code == 200
            assert "Preference-Applied" not in answer
        assert self.match(client, key, Prefer="return=minimal, Respond-Async; x=1").status_code == 202

    def test_every_answer_says_that_it_depends_on_the_wish(self, client, key, answering):
        good = [self.match(client, key, Prefer=wish) for wish in ("", "respond-async")]
        bad = self.match(client, key, {"question": ""})
        picture_answer = client.post("/api/v1/images/classify", headers=bearer(key))
        for answer in (*good, bad, picture_answer):
            assert "Prefer" in answer["Vary"], answer.status_code

    def test_it_needs_both_scopes(self, client, owner, collection):
        for scope, lacking in (("faq:read", "batch"), ("batch", "faq:read")):
            answer = self.match(client, make_key(owner, scope, name=scope))
            assert f"`{lacking}`" in assert_problem(answer, 403, "not-allowed")["detail"]

    def test_sent_twice_under_one_key_it_makes_one_batch(self, client, key, answering):
        first, second = (self.match(client, key, **{"Idempotency-Key": "first"}) for _ in range(2))
        assert first.json() == second.json()
        assert second["Preference-Applied"] == "respond-async"
        assert second["Idempotency-Replayed"] == "true"
        assert Job.objects.count() == 1

    def test_a_call_that_is_overtaken_leaves_no_files(self, client, key, answering, overtaken, batch_dir):
        answer = self.match(client, key, **{"Idempotency-Key": "first"})
        assert_problem(answer, 409, "still-running")
        assert [path.name for path in batch_dir.iterdir()] == ["incoming"]
        assert left_behind(batch_dir) == []

    def test_what_batches_do_not_tell_is_refused(self, client, key, collection):
        answer = self.match(client, key, {"question": "x", "explain": True})
        assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "explain"
        pictures = {"files": picture(), "explain": "true"}
        answer = client.post("/api/v1/images/classify", pictures, headers={**bearer(key), **ASYNC})
        assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "explain"


def test_an_upload_for_which_there_is_no_room_is_refused_before_it_is_read(send, settings, batch_dir):
    settings.BATCH_BYTES = 50
    assert_problem(send(LINES * 10_000), 409, "conflict")
    assert left_behind(batch_dir) == []
    settings.BATCH_BYTES = 10**9
    assert send(**{"Idempotency-Key": "k1"}).status_code == 202
    settings.BATCH_BYTES = 50
    assert send(**{"Idempotency-Key": "k1"}).headers["Idempotency-Replayed"] == "true"


def test_uploads_on_their_way_take_of_the_room_of_who_sends_them(send, owner, settings):
    settings.BATCH_BYTES = 5_000_000
    answers = []

    def pieces():
        answers.append(send())
        yield b""

    uploads.store_stream(pieces(), "slow.csv", expected=4_000_000, sender=owner.pk)
    uploads.store_stream(pieces(), "slow.csv", expected=7_000_000, sender=owner.pk)
    assert answers[0].status_code == 202
    assert "what you are uploading" in assert_problem(answers[1], 409, "conflict")["detail"]
