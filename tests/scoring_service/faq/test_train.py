"""`train-faq` and `evaluate-faq`: what goes in, what comes out, and what is refused."""

import json

import pytest

from scoring_service import store
from scoring_service.__main__ import main
from scoring_service.faq.entries import read_collection
from tests.scoring_service.faq import library
from tests.scoring_service.faq.library import ENTRIES, UNANSWERABLE, ask

LINES = [*ENTRIES, *UNANSWERABLE]
RATES = ("accuracy_at_1", "accuracy_at_3", "accuracy_at_5", "accuracy_at_10", "mrr", "ece", "brier", "no_answer_auroc")


def test_the_manifest_says_what_was_measured_and_on_what(version):
    manifest = store.read_manifest(version)
    assert (manifest.kind, manifest.runtime, manifest.pool) == ("faq", "faq", "cpu")
    metrics = manifest.metrics
    assert metrics["measured_on"] == "test_phrasings"
    assert (metrics["questions"], metrics["unanswerable_questions"]) == (3, 2)
    assert all(0 <= metrics[name] <= 1 for name in RATES)
    assert metrics["mean_rank"] >= 1
    assert metrics["ms_per_question"] > 0
    assert metrics["ms_per_question_in_batches_of_32"] > 0
    assert sum(each["questions"] for each in metrics["reliability"]) == 3
    assert 0 < manifest.parameters["threshold"] < 1


def test_without_test_phrasings_it_is_measured_on_what_was_held_out(tmp_path):
    entries = [{key: value for key, value in entry.items() if key != "test_phrasings"} for entry in ENTRIES]
    metrics = store.read_manifest(library.train(tmp_path, entries)).metrics
    assert metrics["measured_on"] == "held_out_phrasings"
    assert metrics["questions"] + metrics["unanswerable_questions"] == 30
    assert all(0 <= metrics[name] <= 1 for name in RATES)


def test_the_same_entries_and_seed_give_the_same_files(tmp_path, version):
    again = library.train(tmp_path, LINES)
    assert store.read_manifest(again).files == store.read_manifest(version).files


def test_a_version_keeps_what_it_was_trained_on_and_can_be_trained_again_from_it(tmp_path, version):
    manifest = store.read_manifest(version)
    snapshot = version / manifest.data.file
    assert manifest.data.sha256 == manifest.files[manifest.data.file].sha256
    assert manifest.data.rows == len(snapshot.read_bytes().splitlines()) == len(ENTRIES) + len(UNANSWERABLE)
    assert manifest.data.description == "6 entries with 30 other phrasings, from entries.jsonl"
    assert read_collection([snapshot]) == read_collection([library.write_lines(tmp_path / "in", LINES)])
    assert main(["train-faq", "--entries", str(snapshot), "--store", str(tmp_path / "store")]) == 0
    assert store.read_manifest(tmp_path / "store" / "faq" / "1").files == manifest.files


def test_the_manifest_says_how_much_memory_it_takes(version):
    manifest = store.read_manifest(version)
    arrays = sum(file.size for name, file in manifest.files.items() if name.endswith(".npy"))
    assert arrays < manifest.memory < arrays + 2**20, "next to the arrays, the words of six entries are nothing"


def test_what_was_held_out_becomes_what_all_versions_are_measured_on(tmp_path, capsys):
    library.train(tmp_path, LINES)
    assert "measured on from now on" in capsys.readouterr().err
    kept = tmp_path / "store" / library.MODEL / "evaluation.jsonl"
    questions = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert questions == [
        {"question": "extend the loan of a book", "faq_id": "renew"},
        {"question": "is it possible to renew online", "faq_id": "renew"},
        {"question": "how can I become a member", "faq_id": "card"},
        {"question": "do you sell coffee", "faq_id": None},
        {"question": "who won the match yesterday", "faq_id": None},
    ]
    before = kept.read_bytes()
    library.train(tmp_path, [{**ENTRIES[0], "test_phrasings": ["another"]}, *ENTRIES[1:]])
    assert kept.read_bytes() == before
    assert "measured on from now on" not in capsys.readouterr().err


def test_a_collection_that_holds_nothing_out_gives_nothing_to_measure_on(tmp_path):
    library.train(tmp_path, [*ENTRIES[2:], *UNANSWERABLE])
    assert not (tmp_path / "store" / library.MODEL / "evaluation.jsonl").exists()


def test_progress_is_told_step_by_step(tmp_path, capsys):
    library.train(tmp_path, ENTRIES)
    told = capsys.readouterr().err
    assert "6 entries with 30 phrasings" in told
    assert "round 5 of 5" in told
    assert "version 1 is in the store" in told


def test_the_first_version_serves_and_later_ones_when_told_to(tmp_path):
    folder = tmp_path / "store"
    library.train(tmp_path, ENTRIES[:2])
    library.train(tmp_path, ENTRIES[:3])
    assert store.read_routing(folder, library.MODEL).champion == "1"
    library.train(tmp_path, ENTRIES[:4], "--champion")
    assert store.read_routing(folder, library.MODEL).champion == "3"


def test_known_duplicates_are_phrasings_of_their_entry(tmp_path):
    lines = [*ENTRIES[:3], {"question": "tome went astray", "duplicate_of": "lost"}]
    answer = ask(library.matcher_of(tmp_path, lines), "Tome went astray")
    assert answer["faq_id"][0] == "lost"
    assert answer["probability"][0] >= 0.99


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "truncated"),
        ("[]", "Expected `object`"),
        (b"\xff\xfe", "line 2"),
        ('{"id": "a"}', "`id` and `question`"),
        ('{"id": "a", "question": 3}', "Expected `str`"),
        ('{"id": "a", "question": ""}', "length >= 1"),
        ('{"id": "a", "question": "?!"}', "no letter"),
        ('{"id": "a", "question": "b", "phrasings": ["..."]}', "no letter"),
        ('{"id": "renew", "question": "again"}', "'renew' is taken already"),
        ('{"question": "b", "duplicate_of": "nobody"}', "no entry 'nobody'"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(tmp_path, capsys, line, complaint):
    path = library.write_lines(tmp_path / "entries.jsonl", ENTRIES[:1])
    with path.open("ab") as file:
        file.write(line if isinstance(line, bytes) else line.encode())
    assert main(["train-faq", "--entries", str(path), "--store", str(tmp_path / "store")]) == 1
    told = capsys.readouterr().err
    assert "entries.jsonl, line 2" in told
    assert complaint in told
    assert not (tmp_path / "store").exists()


def test_a_file_without_entries_is_refused(tmp_path, capsys):
    path = library.write_lines(tmp_path / "entries.jsonl", UNANSWERABLE)
    assert main(["train-faq", "--entries", str(path), "--store", str(tmp_path / "store")]) == 1
    assert "there is no entry" in capsys.readouterr().err


def evaluate(version, lines, tmp_path):
    path = library.write_lines(tmp_path / "asked.jsonl", lines)
    folder = version.parent.parent
    return main(["evaluate-faq", "--entries", str(path), "--store", str(folder), "--model", library.MODEL])


def test_a_stored_version_is_measured_on_other_questions(version, tmp_path, capsys):
    asked = [{"id": "hours", "question": "open?", "test_phrasings": ["opening hours", "wifi password"]}]
    assert evaluate(version, [*asked, *UNANSWERABLE], tmp_path) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["version"], metrics["questions"], metrics["unanswerable_questions"]) == ("1", 2, 2)
    assert metrics["accuracy_at_1"] == 0.5


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([{"id": "hours", "question": "open?"}], "neither test_phrasings nor"),
        ([{"id": "stranger", "question": "who?", "test_phrasings": ["who"]}], "no entry 'stranger'"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(version, tmp_path, capsys, lines, complaint):
    assert evaluate(version, lines, tmp_path) == 1
    assert complaint in capsys.readouterr().err
