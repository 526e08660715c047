"""Scoring scripts: the user's own init() and run(rows) in a pod."""

import json

import numpy as np
import pytest

from tests.pods import CLIENT, start_pod
from tests.scoring_service.asking import error_of, run
from tests.scoring_service.runtimes.asking import add_script, infer, spec, texts

WORDS = """
import os
from pathlib import Path

def init():
    global prefix, together
    prefix = Path(os.environ["AZUREML_MODEL_DIR"], "prefix.txt").read_text()
    together = 0

def run(rows):
    if "crash" in rows:
        raise KeyError("crash")
    if "no number" in rows:
        raise ValueError("that is no number")
    good = [{"said": prefix + row, "rows": len(rows)} for row in rows]
    return [RuntimeError("not this one") if row == "refuse" else each for row, each in zip(rows, good)]
"""
SIBLING = "from words import WORD\n\ndef run(rows):\n    return [WORD for row in rows]\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    store = folder / "store"
    (folder / "prefix.txt").write_text("> ")
    add_script(store, "words", WORDS, extra=[folder / "prefix.txt"])
    for word in ("one", "two"):
        (folder / "words.py").write_text(f"WORD = {word!r}\n")
        add_script(store, f"sibling-{word}", SIBLING, extra=[folder / "words.py"])
    sums = {"inputs": [spec("a", "INT64", -1), spec("b", "INT64", -1)], "outputs": [spec("sum", "INT64", -1)]}
    add_script(store, "sum", "def run(rows):\n    return [row['a'] + row['b'] for row in rows]\n", parameters=sums)
    named = "import threading\n\ndef run(rows):\n    return [threading.current_thread().name for row in rows]\n"
    add_script(store, "heavy", named)
    add_script(store, "light", named, parameters={"light": True})
    add_script(store, "short", "def run(rows):\n    return []\n")
    return store


@pytest.fixture(scope="module")
def pod(store):
    with start_pod(store, "cpu", ALLOW_SCORING_SCRIPTS="1") as pod:
        yield pod


def post(pod, model: str, *rows: str, **parameters):
    tensor = {"name": "input", "datatype": "BYTES", "shape": [len(rows)], "data": rows}
    return CLIENT.post(f"{pod.url}/v2/models/{model}/infer", json={"inputs": [tensor], "parameters": parameters})


def said(answer) -> list:
    assert answer.status_code == 200, answer.text
    return [json.loads(each) for each in answer.json()["outputs"][0]["data"]]


def test_a_pod_takes_no_script_unless_it_is_told_to(store):
    with start_pod(store, "cpu", ready=False) as pod:
        pod.wait_until("has tried it", lambda pod: pod.index[("sum", "1")][0] == "UNAVAILABLE")
        assert "ALLOW_SCORING_SCRIPTS=1" in pod.index[("sum", "1")][1]
        assert pod.readiness[0] == 503


def test_run_gets_all_rows_of_a_batch_and_its_results_travel_as_json(pod):
    answers = said(post(pod, "words", "a", "b"))
    assert answers == [{"said": "> a", "rows": 2}, {"said": "> b", "rows": 2}]


def test_a_light_script_runs_where_requests_arrive_and_others_in_a_thread_of_their_own(pod):
    threads = {
        model: {post(pod, model, "a").json()["outputs"][0]["data"][0] for _ in range(50)}
        for model in ("heavy", "light")
    }
    assert threads["heavy"] == {"heavy-1_0"}
    assert "MainThread" in threads["light"], "but for calls that followed one that took long"


def test_several_inputs_come_as_a_dict(pod):
    numbers = np.array([1, 2], dtype=np.int64)
    assert infer(pod, "sum", a=("INT64", numbers), b=("INT64", numbers * 10)).as_numpy("sum").tolist() == [11, 22]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("refuse", "not this one"),
        ("no number", "that is no number"),
        ("crash", "The scoring script failed on this row (KeyError)."),
    ],
)
def test_a_row_that_fails_fails_alone(pod, row, why):
    answer = post(pod, "words", "a", row, "b", row_errors=True)
    assert [each["said"] for each in said(answer)] == ["> a", "> b"]
    assert json.loads(answer.json()["parameters"]["row_errors"]) == {"1": why}


def test_an_exception_that_refuses_nothing_is_the_scripts_failure(pod):
    answer = post(pod, "words", "crash")
    assert answer.status_code == 500
    assert said(post(pod, "words", "a"))


def test_a_value_error_refuses_the_row(pod):
    answer = post(pod, "words", "no number")
    assert (answer.status_code, error_of(answer)) == (400, "input 'input', row 0: that is no number")


def test_each_version_imports_what_lies_beside_it(pod):
    assert infer(pod, "sibling-one", input=texts("x")).as_numpy("output").tolist() == [b"one"]
    assert infer(pod, "sibling-two", input=texts("x")).as_numpy("output").tolist() == [b"two"]


def test_another_number_of_results_than_rows_is_the_scripts_failure(pod):
    answer = post(pod, "short", "a")
    assert (answer.status_code, error_of(answer)) == (500, "run() gave 0 results for 1 rows")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def init(): pass\n", "score.py has no function run(rows)"),
        ("def init(): open('/nowhere')\ndef run(rows): pass\n", "FileNotFoundError"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_a_script_that_cannot_be_loaded_does_not_get_into_the_store(tmp_path, code, why):
    (tmp_path / "score.py").write_text(code)
    command = ("add-model", "broken", str(tmp_path / "score.py"), "--store", str(tmp_path / "store"))
    refused = run(*command, ALLOW_SCORING_SCRIPTS="1")
    assert (refused.returncode, why in refused.stderr) == (1, True), refused.stderr
    assert not list((tmp_path / "store").glob("broken/*"))


def test_adding_a_script_runs_it_and_needs_leave(tmp_path):
    (tmp_path / "score.py").write_text("def run(rows): return rows\n")
    command = ("add-model", "mine", str(tmp_path / "score.py"), "--store", str(tmp_path / "store"))
    refused = run(*command)
    assert (refused.returncode, "ALLOW_SCORING_SCRIPTS=1" in refused.stderr) == (1, True)
    assert "mine version 1" in run(*command, ALLOW_SCORING_SCRIPTS="1").stdout
