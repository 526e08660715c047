"""The gate with a pod process: what passes, what does not and how that is said, and what is measured."""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from django.utils import timezone

from tests.pods import Pod, start_pod
from tests.product import ROOT, free_ports
from tests.scoring_service import obedient
from tests.scoring_service.asking import metric
from tests.scoring_service.conftest import OBEDIENT
from tests.webapp.connections import forget_connections, site_with
from webapp import celery
from webapp.registry import evaluation_sets, gate, publishing, services
from webapp.registry.models import Check, Event, ScoringModel, Version

pytestmark = pytest.mark.django_db
NUMBERS = count(1)


@pytest.fixture(scope="module")
def pod(tmp_path_factory) -> Iterator[Pod]:
    """A pod that all tests of this file share; each has a model of its own."""
    store = tmp_path_factory.mktemp("a store") / "models"
    store.mkdir()
    with start_pod(store, "cpu", command=OBEDIENT, ready=False) as pod:
        yield pod


@pytest.fixture(autouse=True)
def store(settings, pod) -> Iterator[Path]:
    with site_with(pod, settings) as store:
        yield store


@pytest.fixture
def model() -> ScoringModel:
    return ScoringModel.objects.create(name=f"obedient-{next(NUMBERS)}", kind="faq", pool="cpu")


def register(model: ScoringModel, **fields) -> Version:
    """A version of the obedient model, in the store and in the registry."""
    from django.conf import settings

    manifest = obedient.write(settings.MODEL_STORE, model.name, champion=False, **fields)
    return services.register_stored(model, manifest.version, by=None, check=False)


def serve(version: Version) -> Version:
    """Makes the version the champion that all pods have."""
    version.state, version.ready_at = Version.State.READY, timezone.now()
    version.save()
    version.state, version.role = Version.State.SERVING, Version.Role.CHAMPION
    version.save()
    publishing.publish(version.model)
    return version


def measure_on(model: ScoringModel, tmp_path: Path, *cases: tuple[str, str | None]) -> None:
    """Makes the questions with their expected answers the model's evaluation set."""
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps({"question": asked, "faq_id": faq_id}) + "\n" for asked, faq_id in cases))
    evaluation_sets.replace(model, file, by=None)


def checked(version: Version, *, patience: float = 30) -> Check:
    """The version's check, as it ended."""
    check = services.start_check(version, by=None)
    gate.run(check.pk, check.token, patience=patience)
    check.refresh_from_db()
    version.refresh_from_db()
    return check


def states(check: Check) -> dict[str, str]:
    return {step["name"]: step["state"] for step in check.steps}


def details(check: Check) -> dict[str, str]:
    return {step["name"]: step["detail"] for step in check.steps}


def test_a_sound_version_passes_every_step(model, tmp_path):
    version = register(model)
    measure_on(model, tmp_path, ("where", "where"), ("how", "how"))
    check = checked(version)
    assert check.state == Check.State.PASSED
    assert check.progress == 1.0
    assert check.finished_at >= check.started_at
    assert states(check) == dict.fromkeys([step.name for step in gate.STEPS], "passed")
    assert details(check)["load"].startswith("Loaded and warm on 1 pod, in 0.")
    assert details(check)["files"] == "1 file, 0.0 MB."
    assert details(check)["smoke"] == "1 input scored."
    assert version.state == Version.State.READY
    assert version.ready_at is not None
    assert [each["name"] for each in version.signature["outputs"]][:2] == ["faq_id", "probability"]
    assert version.metrics["accuracy_at_1"] == 1.0
    event = model.events.filter(kind=Event.Kind.CHECK_PASSED).get()
    assert (event.from_state, event.to_state, event.metrics) == ("checking", "ready", version.metrics)
    assert event.details["evaluation"] == model.evaluation_digest


def test_both_sides_are_measured_on_the_same_inputs(model, tmp_path):
    names = [f"question {number}" for number in range(1, 11)]
    right = {name: [[name, 0.8], ["other", 0.1]] for name in names}
    champion_answers = {**right, names[0]: [["other", 0.6], [names[0], 0.3]]}
    candidate_answers = {**right, **{name: [["other", 0.9], ["x", 0.05], [name, 0.01]] for name in names[7:]}}
    candidate_answers["off topic"] = [["other", 0.05]]
    champion = serve(register(model, parameters={"answers": champion_answers}))
    version = register(model, parameters={"answers": candidate_answers})
    measure_on(model, tmp_path, *((name, name) for name in names), ("off topic", None))
    check = checked(version)
    report = check.report
    assert check.state == Check.State.PASSED
    assert check.champion == champion
    assert report["evaluation"] == {"digest": model.evaluation_digest, "inputs": 11, "answerable": 10}
    candidate = report["candidate"]
    assert (candidate["inputs"], candidate["failed"]) == (11, 0)
    assert (candidate["accuracy_at_1"], candidate["accuracy_at_3"]) == (0.7, 1.0)
    assert candidate["mrr"] == pytest.approx((7 + 3 / 3) / 10)
    assert candidate["no_answer_auroc"] == 1.0
    assert candidate["brier"] == pytest.approx((7 * 0.2**2 + 3 * 0.9**2) / 10)
    assert candidate["ece"] == pytest.approx((7 * 0.2 + 3 * 0.9) / 10)
    assert report["champion"]["version"] == "1"
    assert report["champion"]["accuracy_at_1"] == 0.9
    rows = {row["metric"]: row for row in report["differences"]}
    assert rows["accuracy_at_1"] == {
        "metric": "accuracy_at_1",
        "title": "Accuracy@1",
        "unit": "share",
        "higher_is_better": True,
        "candidate": 0.7,
        "champion": 0.9,
        "difference": -0.2,
        "better": False,
        "worse_than_tolerated": True,
    }
    assert rows["accuracy_at_3"]["better"] is None, "both are right"
    assert report["verdict"]["worse"][0] == (
        "Accuracy@1 is 70 %, 20.0 percentage points below version 1 (90 %); tolerated are 1."
    )
    assert report["paired"] == {"won": 1, "lost": 3, "chance": 0.625}
    assert "may well be chance" in report["verdict"]["summary"]
    assert report["accuracy_at_k"]["candidate"][:3] == [[1, 0.7], [2, 0.7], [3, 1.0]]
    assert report["reliability"]["champion"][-1]["count"] == 9
    disagreements = report["disagreements"]
    assert (disagreements["lost"], disagreements["won"], disagreements["different"]) == (3, 1, 0)
    assert [example["kind"] for example in disagreements["examples"]] == ["lost", "lost", "lost", "won"]
    assert disagreements["examples"][0] == {
        "kind": "lost",
        "input": "question 8",
        "expected": {"id": "question 8", "label": ""},
        "candidate": [
            {"id": "other", "label": "", "probability": 0.9},
            {"id": "x", "label": "", "probability": 0.05},
            {"id": "question 8", "label": "", "probability": 0.01},
        ],
        "champion": [
            {"id": "question 8", "label": "", "probability": 0.8},
            {"id": "other", "label": "", "probability": 0.1},
        ],
    }
    assert sum(bar["count"] for bar in report["latency"]["champion"]["histogram"]) == 11
    assert report["confusion"] is None


def test_a_slower_version_is_told_as_worse(model, tmp_path):
    serve(register(model))
    version = register(model, parameters={"slow_ms": 30})
    measure_on(model, tmp_path, *((f"q{number}", f"q{number}") for number in range(25)))
    worse = checked(version).report["verdict"]["worse"]
    assert len(worse) == 1
    assert worse[0].startswith("Latency p95 is ")


def test_many_inputs_go_in_batches_and_are_counted_alike(model, tmp_path, monkeypatch):
    monkeypatch.setattr("webapp.registry.evaluation.SINGLES", 10)
    serve(register(model))
    version = register(model)
    cases = [(f"q{number}", f"q{number}" if number % 2 else "other") for number in range(100)]
    cases[60] = ("refuse", "x")  # spoils its batch, and no other input
    measure_on(model, tmp_path, *cases)
    check = checked(version)
    assert check.report["candidate"]["inputs"] == check.report["champion"]["inputs"] == 100
    assert check.report["candidate"]["failed"] == 1
    assert check.report["candidate"]["accuracy_at_1"] == 0.5
    assert check.report["failures"] == [{"input": "refuse", "reason": "As you wish"}]
    assert check.report["latency"]["candidate"]["count"] == 10
    assert check.report["verdict"]["worse"] == []


def test_without_an_evaluation_set_it_passes_unmeasured(model):
    version = register(model)
    check = checked(version)
    assert check.state == Check.State.PASSED
    assert states(check)["evaluation"] == "skipped"
    assert check.report["measured"] is False
    assert check.report["verdict"] == {
        "worse": [],
        "summary": "Not measured. This model has no evaluation set.",
    }
    assert (version.state, version.metrics) == (Version.State.READY, {})


def test_an_evaluation_set_that_is_gone_is_said(model, tmp_path, store):
    measure_on(model, tmp_path, ("a", "a"))
    (store / model.name / "evaluation.jsonl").unlink()
    check = checked(register(model))
    assert check.state == Check.State.PASSED
    assert "gone from the store" in check.report["note"]


def test_the_first_version_has_nothing_to_be_compared_with(model, tmp_path):
    measure_on(model, tmp_path, ("a", "a"))
    report = checked(register(model)).report
    assert report["champion"] is None
    assert report["paired"] is None
    assert report["latency"]["champion"] is None
    assert {row["better"] for row in report["differences"]} == {None}
    assert "nothing to compare with" in report["verdict"]["summary"]


def fails(version: Version, step: str, reason: str) -> Check:
    """The version's check, which must fail at that step and say the reason everywhere."""
    check = checked(version)
    assert check.state == Check.State.FAILED
    assert states(check)[step] == "failed"
    assert reason in details(check)[step]
    assert version.state == Version.State.FAILED
    assert version.reason == check.report["reason"] == details(check)[step]
    event = version.events.filter(kind=Event.Kind.CHECK_FAILED).get()
    assert (event.reason, event.to_state) == (version.reason, "failed")
    return check


def test_a_corrupt_file_fails_before_any_pod_sees_it(model, store):
    champion = serve(register(model))
    version = register(model)
    (store / model.name / version.name / "words.txt").write_text("as it was not written")
    check = fails(version, "files", "words.txt has 21 bytes; its manifest says 16.")
    assert [state for name, state in states(check).items() if name != "files"] == ["skipped"] * 6
    champion.refresh_from_db()
    assert champion.role == Version.Role.CHAMPION


def test_a_manifest_changed_after_registering_fails(model, store):
    version = register(model)
    folder = store / model.name / version.name
    (folder / "words.txt").write_text("smuggled in")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    fails(version, "manifest", "not the one that was registered")


def test_a_version_of_another_kind_fails(model):
    fails(register(model, kind="tensors"), "manifest", "kind “tensors”")


def test_a_smoke_input_that_is_refused_fails_it(model):
    fails(register(model, smoke=[{"text": "refuse"}]), "load", "its smoke input 'refuse' was refused: as you wish")


def test_answers_that_are_no_probabilities_fail_it(model):
    parameters = {"answers": {obedient.SMOKE: [["a", 7.5]]}}
    fails(register(model, parameters=parameters), "smoke", "not a number from 0 to 1")


def test_a_version_without_any_answer_to_the_inputs_fails(model, tmp_path):
    serve(register(model))
    measure_on(model, tmp_path, *((f"q{number}", "x") for number in range(30)))
    version = register(model, parameters={"crash": True})
    fails(version, "evaluation", "It had no answer to 10 inputs in a row.")


def test_a_version_that_fails_can_be_mended_and_checked_again(model, store):
    version = register(model)
    words = store / model.name / version.name / "words.txt"
    words.write_text("damaged as it is")
    fails(version, "files", "its SHA-256 differs")
    words.write_text("as it is written")
    assert checked(version).state == Check.State.PASSED
    assert (version.state, version.reason) == (Version.State.READY, "")


def test_a_champion_that_no_pod_has_is_not_compared_with(model, tmp_path, store):
    champion = register(model)
    (store / model.name / champion.name / "words.txt").write_text("damaged")
    serve(champion)
    measure_on(model, tmp_path, ("a", "a"))
    report = checked(register(model)).report
    assert report["champion"] is None
    assert report["note"] == "Version 1 serves but is ready on no pod, so nothing was compared."


def test_a_champion_that_leaves_in_the_middle_costs_only_the_comparison(pod, model, tmp_path, store):
    serve(register(model))
    version = register(model, parameters={"slow_ms": 20})
    measure_on(model, tmp_path, *((f"q{number}", f"q{number}") for number in range(50)))

    def leave_in_the_middle() -> None:
        asked = {"model": model.name, "version": version.name}
        pod.wait_until("was asked", lambda pod: metric(pod, "scoring_rows_total", **asked) >= 5)
        obedient.route(store, "", model=model.name, warm=[version.name])

    leaving = threading.Thread(target=leave_in_the_middle)
    leaving.start()
    check = checked(version, patience=0.5)
    leaving.join()
    assert check.state == Check.State.PASSED
    assert check.report["champion"] is None
    assert check.report["note"].startswith("Version 1 could not be compared with: Given up after 0.5 s.")
    assert check.champion is None
    assert check.report["candidate"]["inputs"] == 50
    assert check.report["disagreements"]["lost"] == 0


def later(seconds: float, what: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, what)
    timer.start()
    return timer


# Trouble on the way ---------------------------------------------------------------------------------------------------


def test_a_store_that_is_away_for_a_while_is_waited_for(model, store):
    version = register(model)
    away = store.with_name("away")
    store.rename(away)
    timer = later(1.0, lambda: away.rename(store))
    check = checked(version)
    timer.join()
    assert check.state == Check.State.PASSED
    assert check.steps[0]["seconds"] > 0.9


def test_a_store_that_stays_away_is_given_up(model, store):
    version = register(model)
    away = store.with_name("away")
    check = services.start_check(version, by=None)
    store.rename(away)
    try:
        gate.run(check.pk, check.token, patience=0.5)
    finally:
        away.rename(store)
    version.refresh_from_db()
    assert version.state == Version.State.FAILED
    assert version.reason.startswith("Given up after 0.5 s.")
    assert "cannot be read" in version.reason


def test_without_any_pod_it_is_given_up(model, settings):
    settings.SCORING_CPU_URL = f"http://127.0.0.1:{free_ports(1)[0]}"
    forget_connections()
    check = checked(register(model), patience=0.5)
    assert check.state == Check.State.FAILED
    assert "No CPU pod answers. 127.0.0.1:" in check.report["reason"]


@pytest.fixture
def own_pod(settings, tmp_path) -> Iterator[int]:
    """The port of a pod that is to come, with a store of its own."""
    settings.MODEL_STORE = tmp_path / "models"
    settings.MODEL_STORE.mkdir()
    [port] = free_ports(1)
    settings.SCORING_CPU_URL = f"http://127.0.0.1:{port}"
    forget_connections()
    return port


def test_a_pod_that_dies_meanwhile_is_waited_for(model, settings, own_pod, tmp_path):
    serve(register(model))
    measure_on(model, tmp_path, *((f"q{number}", f"q{number}") for number in range(100)))
    version = register(model, parameters={"slow_ms": 20})
    died = threading.Event()

    def live_twice() -> None:
        with start_pod(settings.MODEL_STORE, "cpu", command=OBEDIENT, port=own_pod) as pod:
            pod.wait_until("has it", lambda pod: pod.index.get((model.name, version.name), ("", ""))[0] == "READY")
            time.sleep(0.7)  # in the middle of the evaluation, which takes two seconds
            pod.process.kill()
        died.set()
        with start_pod(settings.MODEL_STORE, "cpu", command=OBEDIENT, port=own_pod):
            over.wait(60)

    over = threading.Event()
    pods = threading.Thread(target=live_twice)
    pods.start()
    try:
        check = checked(version, patience=60)
    finally:
        over.set()
        pods.join()
    assert died.is_set()
    assert check.state == Check.State.PASSED
    assert check.report["candidate"]["failed"] == check.report["champion"]["failed"] == 0
    assert check.report["candidate"]["accuracy_at_1"] == 1.0


# Who runs it ----------------------------------------------------------------------------------------------------------


def test_a_message_that_comes_twice_runs_the_check_once(model):
    version = register(model)
    check = services.start_check(version, by=None)
    gate.run(check.pk, check.token)
    gate.run(check.pk, check.token)
    assert version.events.filter(kind=Event.Kind.CHECK_PASSED).count() == 1


def test_a_worker_that_has_lost_the_check_writes_nothing_more(model, store, monkeypatch):
    version = register(model)
    check = services.start_check(version, by=None)
    verify = gate.store.verify_files

    def and_be_overtaken(*arguments, **options):
        Check.objects.filter(pk=check.pk).update(token="00000000-0000-4000-8000-000000000000")
        verify(*arguments, **options)

    monkeypatch.setattr(gate.store, "verify_files", and_be_overtaken)
    gate.run(check.pk, check.token)
    check.refresh_from_db()
    version.refresh_from_db()
    assert (check.state, version.state) == (Check.State.RUNNING, Version.State.CHECKING)
    monkeypatch.undo()
    gate.run(check.pk, check.token)
    version.refresh_from_db()
    assert version.state == Version.State.READY, "whoever has taken over ends it"


def test_a_worker_that_is_to_end_leaves_the_check_to_the_next(model, monkeypatch):
    version = register(model)
    check = services.start_check(version, by=None)
    stopping = threading.Event()
    stopping.set()
    monkeypatch.setattr(celery, "_stopping", stopping)
    gate.run(check.pk, check.token)
    check.refresh_from_db()
    assert check.state == Check.State.RUNNING
    assert (timezone.now() - check.heartbeat_at).total_seconds() > gate.SILENT_AFTER
    stopping.clear()
    gate.run(check.pk, check.token)
    version.refresh_from_db()
    assert version.state == Version.State.READY


@pytest.mark.django_db(transaction=True)
def test_a_check_whose_worker_is_killed_is_begun_anew(model, settings, tmp_path):
    serve(register(model))
    measure_on(model, tmp_path, *((f"q{number}", f"q{number}") for number in range(60)))
    version = register(model, parameters={"slow_ms": 30})
    check = services.start_check(version, by=None)
    program = (
        "import sys, django; django.setup(); from webapp.registry import gate; gate.run(int(sys.argv[1]), sys.argv[2])"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "DATABASE_URL": f"sqlite:///{settings.DATABASES['default']['NAME']}",
        "MODEL_STORE": str(settings.MODEL_STORE),
        "SCORING_CPU_URL": settings.SCORING_CPU_URL,
    }
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(check.pk), str(check.token)], cwd=ROOT, env=environment
    )
    until = time.monotonic() + 60
    while states(check).get("evaluation") != "running":
        assert time.monotonic() < until
        assert worker.poll() is None
        time.sleep(0.05)
        check.refresh_from_db()
    worker.kill()
    worker.wait()
    check.refresh_from_db()
    assert check.state == Check.State.RUNNING
    # What `watch` does when it has not heard from a worker for gate.SILENT_AFTER.
    Check.objects.filter(pk=check.pk).update(token=(token := uuid.uuid4()))
    gate.run(check.pk, token)
    check.refresh_from_db()
    version.refresh_from_db()
    assert (check.state, version.state) == (Check.State.PASSED, Version.State.READY)
    assert check.report["candidate"]["inputs"] == 60
