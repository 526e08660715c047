"""Editors say how probable a good match must be, by what their version made of questions it did not know."""

import json
from pathlib import Path

import pytest
from django.test import Client

from tests.factories import bearer, make_collection, make_model, make_user, make_version
from webapp.faq.models import Collection

PAGE = "/faq/javascript/threshold/"
ASKED = [
    {"question": "duplicate a list", "expected": "js-1", "hidden": False, "first": "js-1", "probability": 0.9},
    {"question": "clone it", "expected": "js-1", "hidden": False, "first": "js-1", "probability": 0.55},
    {"question": "functions in functions", "expected": "js-2", "hidden": False, "first": "js-1", "probability": 0.45},
    {"question": "what closes over what", "expected": "js-2", "hidden": False, "first": "js-2", "probability": 0.3},
    {"question": "bake bread", "expected": None, "hidden": False, "first": "js-2", "probability": 0.6},
    {"question": "copy of a copy", "expected": "js-1", "hidden": True, "first": "js-2", "probability": 0.2},
]
TERMS = {"question": [], "entry": []}


@pytest.fixture
def store(settings, tmp_path) -> Path:
    settings.MODEL_STORE = tmp_path
    return tmp_path


@pytest.fixture
def collection(owner, store) -> Collection:
    """It has js-1 and js-2, the owner as its editor, and a version that serves and was asked ASKED."""
    collection = make_collection()
    collection.editors.add(owner)
    lines = "".join(f"{json.dumps(each)}\n" for each in ASKED)
    digest = str(hash(store))  # what was read of a file is remembered by it
    manifest = {"parameters": {"threshold": 0.5}, "files": {"asked.jsonl": {"sha256": digest, "size": len(lines)}}}
    make_version(make_model(), "1", "champion", manifest=manifest)
    folder = store / "faq-javascript" / "1"
    folder.mkdir(parents=True)
    (folder / "asked.jsonl").write_text(lines)
    return collection


@pytest.fixture
def editor(owner_client, collection) -> Client:
    return owner_client


def figures(page) -> tuple[float, float | None, float]:
    then = page.context["page"].then
    return then.answered, then.right, then.misled


def test_the_page_says_what_a_threshold_does_to_the_collections_own_questions(editor):
    now = editor.get(PAGE)
    assert "At 50 %, as it is" in now.text.replace("\xa0", " ")
    assert figures(now) == (0.5, 1.0, 0.5)
    assert figures(editor.get(PAGE, {"t": "40"})) == (0.75, pytest.approx(2 / 3), 0.5)
    assert figures(editor.get(PAGE, {"t": "70"})) == (0.25, 1.0, 0.0)
    assert figures(editor.get(PAGE, {"t": "98"})) == (0.0, None, 0.0)


def test_examples_change_sides(editor):
    page = editor.get(PAGE, {"t": "70"})
    assert [each.question for each in page.context["page"].examples] == ["clone it", "bake bread"]
    assert [each.right for each in page.context["page"].examples] == [True, False]
    assert "2 questions change sides" in page.text
    assert "would get none" in page.text
    back = editor.get(PAGE, {"t": "25"})
    assert [each.question for each in back.context["page"].examples] == [
        "what closes over what",
        "functions in functions",
    ]
    assert "would get this one" in back.text
    assert "What is a closure?" in back.text


def test_a_threshold_counts_from_the_next_question_on_by_page_and_api(editor, scoring, owner_key):
    scoring.faq = [("js-1", "js-1-a", 0.6, TERMS), ("js-2", "js-2-a", 0.1, TERMS)]

    def answered() -> tuple[bool, bool, float]:
        page = editor.get("/faq/javascript/", {"q": "how to copy"}).context["outcome"]
        asked = {"question": "how to copy", "collection": "javascript"}
        told = editor.post(
            "/api/v1/faq/match", asked, content_type="application/json", headers=bearer(owner_key)
        ).json()
        return page.answered, told["answered"], told["threshold"]

    assert answered() == (True, True, 0.5)
    assert editor.post(PAGE, {"do": "set", "t": "65"})["Location"] == PAGE
    assert answered() == (False, False, 0.65)
    told = editor.get("/api/v1/faq/collections/javascript", headers=bearer(owner_key)).json()
    assert told["threshold"] == 0.65
    editor.post(PAGE, {"do": "own"})
    assert answered() == (True, True, 0.5)


@pytest.mark.parametrize("wrong", ["99", "-1", "much", "nan", ""])
def test_what_is_no_threshold_is_refused(editor, collection, wrong):
    assert editor.post(PAGE, {"do": "set", "t": wrong}).status_code == 422
    collection.refresh_from_db()
    assert collection.threshold is None


def test_without_questions_it_is_not_measured(editor, store):
    (store / "faq-javascript" / "1" / "asked.jsonl").unlink()
    page = editor.get(PAGE)
    assert page.status_code == 200
    assert "Not measured" in page.text


def test_a_script_gets_the_part_alone(editor):
    part = editor.get(PAGE, {"t": "70"}, headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "change sides" in part.text


def test_for_others_than_editors_the_page_is_not_there(client, collection):
    client.force_login(make_user("reader@example.com"))
    assert client.get(PAGE).status_code == 404
    assert client.post(PAGE, {"t": "10"}).status_code == 404
