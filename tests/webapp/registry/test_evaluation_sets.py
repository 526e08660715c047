"""Replacing a model's evaluation set: what is taken, what is refused and how that is said."""

import hashlib
import io
import json
import zipfile

import pytest
from django.core.management import CommandError, call_command

from tests.factories import make_model, picture
from webapp import queues
from webapp.errors import InvalidInput
from webapp.registry import evaluation_sets, tasks
from webapp.registry.models import Event


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MODEL_STORE = tmp_path / "models"
    settings.MODEL_STORE.mkdir()
    return settings.MODEL_STORE


@pytest.fixture
def faq(db):
    return make_model()


@pytest.fixture
def classifier(db):
    return make_model("digits", kind="image", pool="gpu")


def questions(*lines) -> bytes:
    """A file of questions; a line that is no text is written as JSON."""
    return "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()


def zipped(labels: str | bytes | None = "file,label_id\na.png,cat\n", folder: str = "", **pictures) -> bytes:
    """A zip of pictures; without any, of a.png."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        if labels is not None:
            archive.writestr(f"{folder}labels.csv", labels)
        for name, data in (pictures or {"a.png": picture().read()}).items():
            archive.writestr(folder + name, data)
    return content.getvalue()


def replace(model, content: bytes, tmp_path, by=None) -> int:
    file = tmp_path / "given"
    file.write_bytes(content)
    return evaluation_sets.replace(model, file, by=by)


def cases(model, store) -> list[evaluation_sets.Case]:
    with evaluation_sets.opened(store / model.name / model.evaluation_file, model.kind) as found:
        return list(found.cases())


GOOD = questions({"question": "how do I copy an array", "faq_id": "js-1"}, {"question": "pizza?", "faq_id": None})


def test_questions_become_the_models_set(faq, store, owner, tmp_path):
    assert replace(faq, GOOD, tmp_path, by=owner) == 2
    faq.refresh_from_db()
    assert (store / "faq-javascript" / "evaluation.jsonl").read_bytes() == GOOD
    assert (faq.evaluation_file, faq.evaluation_count) == ("evaluation.jsonl", 2)
    assert faq.evaluation_digest == hashlib.sha256(GOOD).hexdigest()
    event = faq.events.get()
    assert (event.kind, event.actor) == (Event.Kind.EVALUATION_SET, owner.email)
    assert event.details == {"file": "evaluation.jsonl", "inputs": 2, "digest": faq.evaluation_digest}
    assert [(case.content, case.expected) for case in cases(faq, store)] == [
        ("how do I copy an array", "js-1"),
        ("pizza?", None),
    ]


def test_pictures_become_the_models_set(classifier, store, tmp_path):
    red, blue = picture(4, 4).read(), picture(5, 5, "JPEG").read()
    labels = 'file,label_id\r\ncats/1.png,cat\r\n"dogs/2, big.jpg",dog\r\n'
    replace(classifier, zipped(labels, **{"cats/1.png": red, "dogs/2, big.jpg": blue, "left over.txt": b"x"}), tmp_path)
    assert classifier.evaluation_count == 2
    assert [(case.name, case.content, case.expected) for case in cases(classifier, store)] == [
        ("cats/1.png", red, "cat"),
        ("dogs/2, big.jpg", blue, "dog"),
    ]


def test_a_zip_of_a_folder_will_do(classifier, store, tmp_path):
    labels = "\ufefflabel_id, file\ncat,a.png\n".encode()
    replace(classifier, zipped(labels, folder="my pictures/"), tmp_path)
    assert [(case.name, case.expected) for case in cases(classifier, store)] == [("a.png", "cat")]


def test_blank_lines_and_a_byte_order_mark_do_no_harm(faq, store, tmp_path):
    content = b"\xef\xbb\xbf" + questions(
        {"question": "a b", "faq_id": "1"}, "", "  ", {"question": "c", "faq_id": "2"}
    )
    assert replace(faq, content, tmp_path) == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "It has no question with the id of an entry"),
        (questions({"question": "pizza?", "faq_id": None}), "at least one line needs a faq_id"),
        (questions({"question": "a", "faq_id": "1"}, "{"), "Line 2 is not JSON"),
        (questions("", "[1]"), "Line 2 must be an object"),
        (questions({"faq_id": "1"}), "Line 1: question must be a text"),
        (questions({"question": " ", "faq_id": "1"}), "Line 1: question must be a text"),
        (questions({"question": "a"}), "Line 1: faq_id must be the id of an entry, or null"),
        (questions({"question": "a", "faq_id": 7}), "Line 1: faq_id must be"),
        (questions({"question": "a" * 10_001, "faq_id": "1"}), "has 10,001 characters, at most 10,000"),
        (b"x" * 300_000, "Line 1 is longer than"),
        (b'{"question": "\xff", "faq_id": "1"}', "Line 1 is not JSON"),
        (b"[" * 100_000, "Line 1 is not JSON"),
        (b'{"question": "a", "faq_id": "1\\u0000"}', "Line 1 holds a NUL character"),
        (b'{"question": "a \\ud800", "faq_id": "1"}', "half of a surrogate pair"),
    ],
)
def test_bad_questions_are_refused_with_their_line(faq, store, tmp_path, content, sentence):
    with pytest.raises(InvalidInput) as refused:
        replace(faq, content, tmp_path)
    assert sentence in refused.value.detail
    assert refused.value.field == "evaluation"
    assert list((store / "faq-javascript").iterdir()) == []
    assert not faq.events.exists()


def test_the_first_five_bad_lines_are_named_together(faq, tmp_path):
    with pytest.raises(InvalidInput) as refused:
        replace(faq, questions(*["{"] * 3, {"question": "a", "faq_id": "1"}, *["{"] * 9), tmp_path)
    named = [number for number in range(1, 14) if f"Line {number} " in refused.value.detail]
    assert named == [1, 2, 3, 5, 6]


def damaged_zip() -> bytes:
    content = bytearray(zipped(**{"a.png": b"\x00" * 100_000 + picture().read()}))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def damaged_bzip2() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("labels.csv", "file,label_id\na.png,cat\n")
        archive.writestr("a.png", picture().read())
    head, labels, pictures = content.getvalue().split(b"BZh9", 2)
    return b"".join((head, b"BZh9", labels, b"BZx9", pictures))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK no zip", "It is not a zip file"),
        (zipped()[:-30], "It is not a zip file"),
        (zipped(None), "It must hold one labels.csv"),
        (zipped("file,label_id\n"), "labels.csv has no row"),
        (
            zipped("file;label_id\na.png;cat\n"),
            "must begin with the line file,label_id; it begins with 'file;label_id'",
        ),
        (zipped(""), "must begin with the line file,label_id"),
        (zipped("file,label_id\na.png,\n"), "labels.csv, row 2: label_id is empty"),
        (zipped("file,label_id\n,cat\n"), "labels.csv, row 2: file is empty"),
        (zipped("file,label_id\na.png,cat\nb.png,cat\n"), "labels.csv, row 3: there is no file 'b.png' in the zip"),
        (zipped("file,label_id\na.png,cat\na.png,dog\n"), "labels.csv, row 3: 'a.png' already stands in row 2"),
        (zipped("file,label_id\na.png,cat\n../../etc/passwd,cat\n"), "there is no file '../../etc/passwd'"),
        (zipped(**{"a.png": b"<svg/>"}), "labels.csv, row 2: 'a.png' is no JPEG, PNG, WebP, GIF or BMP picture"),
        (zipped(**{"a.png": b"\x89PNG\r\n\x1a\n" + bytes(10_000_001)}), "'a.png' is larger than 10 MB"),
        (zipped(b"file,label_id\n\xff.png,cat\n"), "labels.csv cannot be read as CSV in UTF-8"),
        (
            zipped(b"file,label_id\n" + b"x" * 1001 + b",cat\n"),
            "labels.csv, row 2: file has more than 1,000 characters",
        ),
        (zipped("file,label_id\na.png," + "x" * 1001), "labels.csv, row 2: label_id has more than 1,000 characters"),
        (zipped(b"file,label_id\n" + b"x" * 1_100_000 + b",cat\n"), "labels.csv cannot be read as CSV"),
        (damaged_zip(), "'a.png' cannot be unpacked"),
        (damaged_bzip2(), "'a.png' cannot be unpacked"),
        (zipped(**{"ï.png": b""}).replace("ï".encode(), b"\xc3\x28"), "It is not a zip file, or it is damaged"),
    ],
)
def test_bad_pictures_are_refused_with_their_row(classifier, store, tmp_path, content, sentence):
    with pytest.raises(InvalidInput) as refused:
        replace(classifier, content, tmp_path)
    assert sentence in refused.value.detail
    assert list((store / "digits").iterdir()) == []


def test_a_refused_file_leaves_the_set_before_in_place(faq, store, tmp_path):
    replace(faq, GOOD, tmp_path)
    with pytest.raises(InvalidInput):
        replace(faq, b"{", tmp_path)
    assert (store / "faq-javascript" / "evaluation.jsonl").read_bytes() == GOOD
    assert faq.events.count() == 1


def test_generic_tensors_have_no_evaluation_set(db, tmp_path):
    with pytest.raises(InvalidInput, match="generic tensors"):
        replace(make_model("tensors", kind="tensors"), GOOD, tmp_path)


def test_more_inputs_than_are_read_are_refused(faq, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_sets, "MAX_QUESTIONS", 3)
    with pytest.raises(InvalidInput, match="more than 3 inputs"):
        replace(faq, questions(*[{"question": "a", "faq_id": "1"}] * 4), tmp_path)


def test_a_set_that_is_read_stays_whole_while_it_is_replaced(faq, store, tmp_path):
    replace(faq, GOOD, tmp_path)
    with evaluation_sets.opened(store / "faq-javascript" / "evaluation.jsonl", "faq") as found:
        coming = found.cases()
        first = next(coming)
        replace(faq, questions({"question": "another", "faq_id": "x"}), tmp_path)
        assert [first.content, *(case.content for case in coming)] == ["how do I copy an array", "pizza?"]


def test_a_set_found_in_the_store_is_adopted_once(faq, store):
    folder = store / "faq-javascript"
    folder.mkdir()
    evaluation_sets.adopt(faq)
    assert faq.evaluation_file == "", "there is none"
    (folder / "evaluation.jsonl").write_bytes(GOOD)
    for _ in range(2):
        faq.refresh_from_db()
        evaluation_sets.adopt(faq)
    faq.refresh_from_db()
    assert faq.evaluation_count == 2
    assert [event.actor for event in faq.events.all()] == [""]


def test_a_large_set_found_in_the_store_is_read_by_a_task_of_its_own_once(faq, store, monkeypatch):
    monkeypatch.setattr(evaluation_sets, "READ_AT_ONCE", 10)
    (store / "faq-javascript").mkdir()
    (store / "faq-javascript" / "evaluation.jsonl").write_bytes(GOOD)
    for _ in range(3):
        evaluation_sets.adopt(faq)
    faq.refresh_from_db()
    assert faq.evaluation_count == 0
    assert queues.lengths()["batch"] == 1

    tasks.take_up_evaluation_set(faq.pk)
    faq.refresh_from_db()
    assert faq.evaluation_count == 2
    evaluation_sets.adopt(faq)
    assert queues.lengths()["batch"] == 1


def test_a_useless_file_in_the_store_is_left_alone(faq, store):
    (store / "faq-javascript").mkdir()
    (store / "faq-javascript" / "evaluation.jsonl").write_bytes(b"{")
    evaluation_sets.adopt(faq)
    faq.refresh_from_db()
    assert faq.evaluation_file == ""
    assert not faq.events.exists()


def test_one_picture_of_the_set_can_be_shown(classifier, tmp_path):
    assert evaluation_sets.picture(classifier, "a.png") is None, "no set yet"
    shown = picture(7, 7).read()
    replace(classifier, zipped(**{"a.png": shown}), tmp_path)
    assert evaluation_sets.picture(classifier, "a.png") == shown
    assert evaluation_sets.picture(classifier, "../labels.csv") is None


def test_the_command_replaces_the_set(faq, tmp_path, capsys):
    file = tmp_path / "asked.jsonl"
    file.write_bytes(GOOD)
    call_command("set_evaluation", "faq-javascript", file)
    assert "faq-javascript is measured on 2 inputs from now on." in capsys.readouterr().out
    faq.refresh_from_db()
    assert faq.evaluation_count == 2


def test_the_command_says_what_is_wrong(faq, tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_bytes(b"{")
    with pytest.raises(CommandError, match=r"asked\.jsonl: Line 1 is not JSON"):
        call_command("set_evaluation", "faq-javascript", file)
    with pytest.raises(CommandError, match="There is no file"):
        call_command("set_evaluation", "faq-javascript", tmp_path / "none")
    with pytest.raises(CommandError, match=r"There is no model digits\. Models: faq-javascript\."):
        call_command("set_evaluation", "digits", file)
