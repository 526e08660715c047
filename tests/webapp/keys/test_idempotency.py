"""A creation with an Idempotency-Key happens once, however often it is sent."""

import threading
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_key
from tests.webapp.answers import assert_problem
from tests.webapp.keys.creating_urls import Creations
from webapp.keys.models import IdempotentCall
from webapp.keys.tasks import forget_calls
from webapp.usage.models import ScoringRecord

pytestmark = pytest.mark.django_db
PATH = "/api/v1/creations"


@pytest.fixture(autouse=True)
def creating(settings):
    settings.ROOT_URLCONF = "tests.webapp.keys.creating_urls"


@pytest.fixture
def create(owner_key):
    """Call it with a name and an Idempotency-Key to send the creation; another key or address may be named."""

    def send(name, idempotency_key="first", *, key=owner_key, path=PATH, body=None):
        named = {"Idempotency-Key": idempotency_key} if idempotency_key is not None else {}
        client = Client(raise_request_exception=False)
        return client.post(path, body or {"name": name}, "application/json", headers={**bearer(key), **named})

    return send


def created() -> int:
    return ScoringRecord.objects.count()


def test_the_same_request_again_gets_the_first_answer_and_says_so(create):
    first, second = create("one"), create("one")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert first["Location"] == second["Location"]
    assert second["Content-Type"] == "application/json"
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert first["X-Request-ID"] != second["X-Request-ID"]
    assert created() == 1


def test_without_a_key_each_request_creates(create):
    assert create("one", None).json() != create("one", None).json()
    assert created() == 2
    assert not IdempotentCall.objects.exists()


def test_other_keys_are_other_creations(create):
    create("one", "first")
    create("one", "second")
    assert created() == 2


@pytest.mark.parametrize("change", [{"body": {"name": "two"}}, {"path": f"{PATH}?dry=1"}])
def test_the_key_of_another_request_is_refused(create, change):
    create("one")
    assert_problem(create("one", **change), 422, "idempotency-key-reused")
    assert created() == 1


def test_the_order_and_spacing_of_json_make_no_other_request(client, owner_key):
    headers = {**bearer(owner_key), "Idempotency-Key": "first"}
    for body in ('{"name": "one", "tag": 1}', '{"tag":1,"name":"one"}'):
        assert client.post(PATH, body, "application/json", headers=headers).status_code == 201
    assert created() == 1


def test_files_are_compared_by_their_content(client, owner_key, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000  # larger ones wait on disk
    headers = {**bearer(owner_key), "Idempotency-Key": "first"}

    def send(content: bytes):
        return client.post(PATH, {"name": "one", "file": SimpleUploadedFile("a.bin", content)}, headers=headers)

    first = send(b"x" * 100_000)
    assert first.status_code == 201
    assert send(b"x" * 100_000).json() == first.json()
    assert_problem(send(b"y" * 100_000), 422, "idempotency-key-reused")


def test_the_key_may_stand_in_quotes_as_the_draft_has_it(create):
    assert create("one", '"first"').json() == create("one", "first").json()


@pytest.mark.parametrize("wrong", ["", "with blanks", '"unfinished', "é", "x" * 256, '""'])
def test_a_malformed_key_is_a_bad_request(create, wrong):
    assert_problem(create("one", wrong), 400, "bad-request")
    assert created() == 0


def test_while_the_first_request_runs_the_same_one_is_told_to_come_back(create, monkeypatch):
    answers = []
    monkeypatch.setattr(Creations, "meanwhile", staticmethod(lambda: answers.append(create("meanwhile"))))
    first = create("meanwhile")
    problem = assert_problem(answers[0], 409, "still-running")
    assert answers[0]["Retry-After"] == "1"
    assert "not answered yet" in problem["detail"]
    assert create("meanwhile").json() == first.json()
    assert created() == 1


def test_keys_belong_to_their_owner(create, stranger):
    first = create("one")
    other = create("one", key=make_key(stranger))
    assert other.status_code == 201
    assert other.json() != first.json()
    assert created() == 2


def test_all_keys_of_a_person_share_theirs_so_that_they_can_be_rotated(create, owner):
    assert create("one", key=make_key(owner, name="new")).json() == create("one").json()


def test_the_session_of_a_page_may_send_one_too(owner_client):
    first, second = (
        owner_client.post(PATH, {"name": "one"}, "application/json", headers={"Idempotency-Key": "first"})
        for _ in range(2)
    )
    assert first.json() == second.json()


@pytest.mark.parametrize(("name", "status"), [("", 422), ("refused", 409), ("broken", 500)])
def test_what_was_refused_or_failed_has_created_nothing_and_may_be_sent_again(create, name, status):
    for _ in range(2):
        answer = create(name)
        assert answer.status_code == status
        assert "Idempotency-Replayed" not in answer
    assert created() == 0
    assert create("one").status_code == 201  # the key is free


def test_a_killed_request_blocks_its_key_for_no_longer_than_its_lease(create):
    create("one")
    IdempotentCall.objects.update(status=None, answer="")  # as it stands when the process dies before the commit
    ScoringRecord.objects.all().delete()
    assert_problem(create("one"), 409, "still-running")
    IdempotentCall.objects.update(leased_until=timezone.now())
    assert create("one").status_code == 201
    assert created() == 1


def test_a_request_that_was_overtaken_creates_nothing(create, monkeypatch):
    """One that was stopped for longer than its lease finds another in its place."""

    def overtake():
        IdempotentCall.objects.update(leased_until=timezone.now())
        Creations.meanwhile = staticmethod(lambda: None)
        assert create("meanwhile").status_code == 201

    monkeypatch.setattr(Creations, "meanwhile", staticmethod(overtake))
    first = create("meanwhile")
    assert_problem(first, 409, "still-running")


def test_after_a_day_the_key_is_free(create):
    first = create("one")
    IdempotentCall.objects.update(created_at=timezone.now() - timedelta(hours=24))
    assert create("two").status_code == 201
    assert create("two").json() != first.json()
    assert created() == 2


def test_answers_are_forgotten_after_a_day(create):
    create("one", "old")
    IdempotentCall.objects.update(created_at=timezone.now() - timedelta(hours=24))
    create("one", "new")
    forget_calls()
    assert IdempotentCall.objects.count() == 1


def test_neither_the_key_nor_the_secret_of_the_answer_can_be_read_from_the_table(create):
    secret = create("one", "7c4d1b0e-53e1-4d4c").json()["secret"]
    (row,) = IdempotentCall.objects.values_list()
    text = " ".join(map(str, row))
    assert secret not in text
    assert "7c4d1b0e-53e1-4d4c" not in text
    assert '"name"' not in text


def test_the_scope_is_asked_for_before_the_answer_is_given_again(create, owner, monkeypatch):
    create("one")
    monkeypatch.setattr(Creations, "required_scope", "batch")
    assert_problem(create("one"), 403, "not-allowed")


@pytest.mark.django_db(transaction=True)
def test_what_takes_long_is_done_once_and_holds_no_transaction(create, monkeypatch):
    in_transaction = []
    monkeypatch.setattr(Creations, "before", lambda: in_transaction.append(connection.in_atomic_block))
    assert create("one").json() == create("one").json()
    assert in_transaction == [False]


@pytest.mark.django_db(transaction=True)
def test_many_at_the_same_moment_create_once(owner_key):
    answers, together = [], threading.Barrier(8)

    def send():
        client = Client(raise_request_exception=False)
        together.wait()
        headers = {**bearer(owner_key), "Idempotency-Key": "first"}
        for _ in range(50):
            answer = client.post(PATH, {"name": "one"}, "application/json", headers=headers)
            if answer.status_code != 409:
                break
        answers.append(answer)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer for answer in answers) == 1
    assert created() == 1
