"""Uploads go to the disk while they arrive, and nothing stays there that belongs to nobody."""

import hashlib
import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.test.client import FakePayload

from tests.factories import bearer, picture
from tests.webapp.answers import assert_problem
from webapp.accounts.models import User
from webapp.batch import uploads
from webapp.errors import FilesError, TooLarge

PAGE, API = "/batches/take", "/api/v1/batches/take"
CSV = b"question\nHow do I copy an array?\n"


@pytest.fixture(autouse=True)
def receiving(settings):
    settings.ROOT_URLCONF = "tests.webapp.batch.receiving_urls"


def table(content: bytes = CSV, name: str = "questions.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content, "text/csv")


def incoming(batch_dir) -> list[str]:
    return [path.name for path in (batch_dir / "incoming").glob("*")]


@pytest.fixture
def kept(monkeypatch):
    """What an upload held, as it lay on the disk while the request was answered."""
    seen: list[bytes] = []
    told = uploads.upload_of

    def looked(request):
        upload = told(request)
        seen.append(upload.path.read_bytes())
        return upload

    monkeypatch.setattr(uploads, "upload_of", looked)
    return seen


def test_a_file_of_a_form_is_stored_as_it_came(owner_client, kept, batch_dir):
    content = os.urandom(3_000_000)
    answer = owner_client.post(PAGE, {"note": "mine", "file": table(content)}).json()
    assert kept == [content]
    assert answer["size"] == 3_000_000
    assert answer["digest"] == hashlib.sha256(content).hexdigest()
    assert (answer["name"], answer["note"]) == ("questions.csv", "mine")
    assert incoming(batch_dir) == [], "no job has taken it"


def test_the_api_stores_forms_and_bodies(client, owner_key, kept):
    assert client.post(API, {"file": table()}, headers=bearer(owner_key)).json()["size"] == len(CSV)
    body = b'{"question": "x"}\n' * 1000
    answer = client.post(API, body, content_type="application/jsonl", headers=bearer(owner_key)).json()
    assert answer["digest"] == hashlib.sha256(body).hexdigest()


def test_several_pictures_become_one_zip_stored_as_they_are(owner_client, kept):
    sent = [picture(name="dog.png"), picture(9, 9, name="dog.png"), picture(form="JPEG", name="cat.jpg")]
    answer = owner_client.post(PAGE, {"files": sent}).json()
    with zipfile.ZipFile(io.BytesIO(kept[0])) as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["dog.png", "dog (2).png", "cat.jpg"]
        assert {info.compress_type for info in packed.infolist()} == {zipfile.ZIP_STORED}
        for each, name in zip(sent, packed.namelist(), strict=True):
            each.seek(0)
            assert packed.read(name) == each.read()
    assert answer["name"] == "3 pictures.zip"
    assert answer["digest"] == hashlib.sha256(kept[0]).hexdigest()


def test_one_picture_is_a_zip_too_and_litter_is_left_out(owner_client, kept):
    owner_client.post(PAGE, {"file": [SimpleUploadedFile(".DS_Store", b"Bud1"), picture(name="dog.png")]})
    with zipfile.ZipFile(io.BytesIO(kept[0])) as packed:
        assert packed.namelist() == ["dog.png"]


def test_of_a_picture_over_the_limit_only_so_much_is_kept_that_it_shows(owner_client, kept, settings):
    settings.MAX_IMAGE_BYTES = 100_000
    owner_client.post(PAGE, {"files": SimpleUploadedFile("big.jpg", b"\xff\xd8\xff" + os.urandom(900_000))})
    with zipfile.ZipFile(io.BytesIO(kept[0])) as packed:
        assert packed.getinfo("big.jpg").file_size == 100_001


def test_hundreds_of_pictures_fit_in_one_form(owner_client, kept):
    owner_client.post(PAGE, {"files": [picture(name=f"{number}.png") for number in range(300)]})
    with zipfile.ZipFile(io.BytesIO(kept[0])) as packed:
        assert len(packed.namelist()) == 300


def test_two_tables_are_refused(client, owner_key, batch_dir):
    answer = client.post(API, {"file": [table(), table(name="more.csv")]}, headers=bearer(owner_key))
    problem = assert_problem(answer, 422, "invalid-input")
    assert problem["detail"].startswith("questions.csv is no picture, so it must be the only file.")
    assert incoming(batch_dir) == []


def test_a_form_without_a_file_is_refused(client, owner_key):
    problem = assert_problem(client.post(API, {"note": "x"}, headers=bearer(owner_key)), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "file"


def test_a_form_that_breaks_off_leaves_nothing(client, owner_key, batch_dir):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    answer = client.generic(
        "POST", API, head + b"a" * 3_000_000, "multipart/form-data; boundary=x", headers=bearer(owner_key)
    )
    assert assert_problem(answer, 422, "invalid-input")["detail"] == "The upload broke off. Send it again."
    assert incoming(batch_dir) == []


def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(batch_dir, settings):
    settings.BATCH_UPLOAD_BYTES = 1_000_000
    with pytest.raises(TooLarge, match="1,000,000 bytes"):
        uploads.store_stream((b"x" * 300_000 for _ in range(4)), "big.csv")
    assert incoming(batch_dir) == []


@pytest.mark.parametrize("path", [PAGE, API])
def test_a_full_disk_is_said_with_a_remedy_and_nothing_is_left(path, owner_client, batch_dir, monkeypatch):
    monkeypatch.setattr(uploads, "KEPT_FREE", 10**18)
    answer = owner_client.post(path, {"file": table()})
    assert answer.status_code == 503
    assert "Delete batches that you no longer need" in answer.content.decode()
    assert incoming(batch_dir) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(batch_dir):
    """/dev/full is a disk without room."""
    receiving = uploads._Incoming()
    receiving._file.close()
    receiving._file = Path("/dev/full").open("wb")  # noqa: SIM115  # closed where the upload is discarded
    with pytest.raises(FilesError, match="The disk for batches is full"):
        receiving.write(b"x" * 1_000_000)
    assert incoming(batch_dir) == []


def announce(client: Client, path: str, size: int, **headers: str):
    """The answer to a body of that length, of which not a byte may be read."""
    return client.generic(
        "POST",
        path,
        headers=headers,
        CONTENT_LENGTH=str(size),
        CONTENT_TYPE="multipart/form-data; boundary=x",
        **{"wsgi.input": FakePayload(b"")},
    )


def test_a_stranger_cannot_make_us_store_gigabytes(client, owner_key):
    for path in (PAGE, API):
        assert announce(client, path, 5_000_000_000).status_code == 401
    bad_key = bearer("sp_00000000_" + "x" * 43)
    assert_problem(announce(client, API, 5_000_000_000, **bad_key), 401, "not-signed-in")


def test_a_body_over_the_limit_of_batches_is_refused_at_once(owner_client):
    assert_problem(announce(owner_client, API, 6_100_000_000), 413, "too-large")


def test_a_body_without_a_length_is_refused(owner_client):
    answer = owner_client.post(API, CSV, content_type="text/csv", headers={"Transfer-Encoding": "chunked"})
    assert_problem(answer, 400, "bad-request")


# Several at once ------------------------------------------------------------------------------------------------------


def while_sending(count: int, then: Callable[[], None], **options: int) -> None:
    """Does it while so many uploads are on their way."""
    if count == 0:
        then()
        return

    def pieces() -> Iterator[bytes]:
        yield CSV
        while_sending(count - 1, then, **options)

    uploads.discard(uploads.store_stream(pieces(), "slow.csv", **options))


@pytest.mark.parametrize("path", [PAGE, API])
def test_a_person_may_send_so_many_uploads_at_once_and_others_theirs(owner_client, owner, stranger, batch_dir, path):
    answers = []

    def send() -> None:
        answers.append(owner_client.post(path, {"file": table()}))
        answers.append(client_of(stranger).post(path, {"file": table()}))

    while_sending(uploads.UPLOADS_AT_ONCE, send, sender=owner.pk)
    refused, taken = answers
    assert (refused.status_code, int(refused["Retry-After"]) > 0, taken.status_code) == (429, True, 200)
    assert "one of them has arrived" in refused.content.decode()
    while_sending(uploads.UPLOADS_AT_ONCE - 1, send, sender=owner.pk)
    assert answers[-2].status_code == 200


def test_uploads_of_a_process_that_was_killed_hold_nobody_up(owner_client, owner, batch_dir):
    def send() -> None:
        killed = time.time() - uploads.SILENT_AFTER - 1
        for path in (batch_dir / "incoming").iterdir():
            os.utime(path, (killed, killed))
        assert owner_client.post(API, {"file": table()}).status_code == 200

    while_sending(uploads.UPLOADS_AT_ONCE, send, sender=owner.pk)


def test_there_must_be_room_for_an_upload_beside_those_on_their_way(owner_client, stranger, batch_dir, monkeypatch):
    monkeypatch.setattr(uploads, "KEPT_FREE", shutil.disk_usage(batch_dir.parent).free - 2_000_000_000)
    answers = []

    def send() -> None:
        told = {"CONTENT_LENGTH": "1000000000", "CONTENT_TYPE": "application/jsonl", "wsgi.input": io.BytesIO(CSV)}
        answers.append(owner_client.generic("POST", API, **told))

    while_sending(1, send, sender=stranger.pk, expected=1_500_000_000)
    send()
    beside, alone = answers
    assert alone.status_code == 200
    problem = assert_problem(beside, 503, "batch-files")
    assert "beside what is being uploaded right now" in problem["detail"]
    assert int(beside["Retry-After"]) > 0


def test_a_disk_that_others_fill_meanwhile_ends_an_upload(batch_dir, monkeypatch):
    monkeypatch.setattr(uploads, "LOOK_EVERY", 1)

    def pieces() -> Iterator[bytes]:
        yield CSV
        monkeypatch.setattr(uploads, "KEPT_FREE", 10**18)
        yield from [CSV] * 3

    with pytest.raises(FilesError, match="The disk for batches is full"):
        uploads.store_stream(pieces(), "slow.csv")
    assert incoming(batch_dir) == []


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
