"""Artifacts and evaluation sets as a browser sends them, with and without a script."""

import json
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.factories import make_member, make_version
from tests.webapp.registry.packing import manifest, pack

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("pods")]

MODEL = "/admin/models/faq-javascript/"
SCRIPT = {"X-Requested-With": "fetch"}
GIGABYTE = 1_000_000_000


@pytest.fixture
def admin() -> Client:
    return signed_in("admin")


def signed_in(role: str, **options: bool) -> Client:
    client = Client(**options)
    client.force_login(make_member(role))
    return client


def send(client: Client, archive: Path | bytes, to: str = "upload", *, script: bool = False, **fields: str):
    data = archive if isinstance(archive, bytes) else archive.read_bytes()
    name = {"upload": "artifact", "evaluation-set": "evaluation"}[to]
    files = {name: SimpleUploadedFile("version.zip", data, "application/zip")}
    return client.post(f"{MODEL}{to}", {**fields, **files}, headers=SCRIPT if script else {})


def announce(client: Client, path: str, length: int):
    """Posts a form of which nothing is there to read: who tries gets an error."""
    form = "multipart/form-data; boundary=x"
    return client.generic("POST", f"{MODEL}{path}", b"", CONTENT_TYPE=form, CONTENT_LENGTH=str(length))


# Artifacts ------------------------------------------------------------------------------------------------------------


def test_an_uploaded_zip_becomes_the_next_version_and_is_checked(model, model_store, admin, tmp_path):
    make_version(model, "7")
    answer = send(admin, pack(tmp_path, {"entries.json": b"[]"}), notes="Wider")
    assert (answer.status_code, answer["Location"]) == (302, f"{MODEL}versions/8/")
    version = model.versions.get(name="8")
    assert (version.state, version.notes, version.registered_by.email) == ("checking", "Wider", "admin@example.com")
    assert (model_store / "faq-javascript/8/entries.json").read_bytes() == b"[]"
    assert json.loads((model_store / "faq-javascript/8/manifest.json").read_bytes())["version"] == "8"


def test_a_script_is_told_where_to_go(model, admin, tmp_path):
    answer = send(admin, pack(tmp_path, {"entries.json": b"[]"}), script=True)
    assert (answer.status_code, answer.json()) == (201, {"location": f"{MODEL}versions/1/"})


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("files", "refusal"),
    [
        ({"../evil.json": b"[]"}, "would lie outside of the version"),
        ({"model.pkl": b"\x80\x04."}, "pickle"),
        ({"manifest.json": manifest(kind="image", runtime="torchvision", pool="gpu")}, "but faq-javascript has kind"),
        ({"manifest.json": b"{"}, "manifest.json"),
    ],
)
def test_what_is_wrong_with_a_zip_is_said_at_its_field(model, model_store, admin, tmp_path, files, refusal, script):  # noqa: PLR0917  # three of them vary
    answer = send(admin, pack(tmp_path, files), script=script, notes="kept")
    assert answer.status_code == 422
    if script:
        assert answer.json()["field"] == "artifact"
        assert refusal in answer.json()["detail"]
    else:
        assert refusal in answer.content.decode()
        assert "kept" in answer.content.decode(), "what was typed stays"
    assert not model.versions.exists()
    assert not [path for path in model_store.rglob("*") if path.is_file()], "nothing of it is left in the store"


@pytest.mark.parametrize("content", [b"", b"no zip at all"])
def test_what_is_no_zip_is_refused(model, admin, content):
    assert send(admin, content).status_code == 422
    assert admin.post(f"{MODEL}upload").status_code == 422


# Evaluation sets ------------------------------------------------------------------------------------------------------


def test_an_evaluation_set_is_replaced_and_its_mistakes_are_named_by_their_line(model, admin):
    make_version(model, "1", "champion")
    lines = [{"question": "how do I copy an array", "faq_id": "js-1"}, {"question": "best pasta", "faq_id": None}]
    good = "\n".join(map(json.dumps, lines)).encode()
    assert send(admin, good, "evaluation-set")["Location"] == MODEL
    assert "The evaluation set has 2 inputs now." in admin.get(MODEL).content.decode()
    model.refresh_from_db()
    assert model.evaluation_count == 2

    answer = send(admin, good + b"\n{", "evaluation-set", script=True)
    assert answer.status_code == 422
    assert answer.json()["field"] == "evaluation"
    assert "3" in answer.json()["detail"]
    model.refresh_from_db()
    assert model.evaluation_count == 2


def test_generic_tensors_have_none(model, admin):
    model.kind = "tensors"
    model.save()
    assert admin.get(f"{MODEL}evaluation-set").status_code == 404


# Size, and who may send it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["upload", "evaluation-set"])
def test_a_gigabyte_is_read_from_those_who_may_register_and_from_nobody_else(model, path):
    for stranger in (Client(), signed_in("operator")):
        assert announce(stranger, path, GIGABYTE).status_code == 403
    admin = signed_in("admin")
    assert announce(admin, path, 2 * GIGABYTE).status_code == 413
    assert announce(admin, "settings", 5_000_000).status_code == 413, "other forms are small"
    with pytest.raises(AssertionError, match="Cannot read more"):
        announce(admin, path, GIGABYTE)


@pytest.mark.parametrize("path", ["upload", "evaluation-set"])
def test_the_right_is_asked_for_before_the_forms_safety_token(model, path):
    """The token stands in the body, which may be a gigabyte."""
    operator = signed_in("operator", enforce_csrf_checks=True)
    answer = operator.post(f"{MODEL}{path}")
    assert (answer.status_code, "You may not register versions" in answer.content.decode()) == (403, True)
    answer = signed_in("admin", enforce_csrf_checks=True).post(f"{MODEL}{path}")
    assert (answer.status_code, "safety token" in answer.content.decode()) == (403, True)
