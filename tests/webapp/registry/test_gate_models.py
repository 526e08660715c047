"""The gate with models of both kinds, as they are trained: what it measures is what the scoring service measures."""

import zipfile
from pathlib import Path

import pytest
import torch

from scoring_service.contract import TrainingData
from scoring_service.faq.evaluation import metrics_of
from scoring_service.faq.matcher import Matcher
from scoring_service.faq.registration import outcome_of
from scoring_service.images import digits
from scoring_service.images.architectures import build
from scoring_service.images.labels import Label
from scoring_service.images.registration import register
from scoring_service.routing import load_version
from scoring_service.runtimes.base import Row
from tests.pods import start_pod
from tests.product import ROOT
from tests.scoring_service.faq.library import ENTRIES, MODEL, UNANSWERABLE, train, write_lines
from tests.scoring_service.runtimes.asking import add_script, spec
from tests.webapp.connections import forget_connections
from tests.webapp.registry.test_gate import checked, serve
from webapp.registry import evaluation_sets, services
from webapp.registry.models import Check, ScoringModel

pytestmark = pytest.mark.django_db
PICTURES = sorted((ROOT / "frontend" / "img" / "samples" / "digits").glob("*.png"))


@pytest.fixture
def store(settings, tmp_path):
    settings.MODEL_STORE = tmp_path / "store"
    yield settings.MODEL_STORE
    forget_connections()


def test_a_faq_matcher_is_measured_as_the_scoring_service_measures_it(settings, store, tmp_path):
    folder = train(tmp_path, [*ENTRIES, *UNANSWERABLE])
    asked = [(each, entry["id"]) for entry in ENTRIES for each in entry["phrasings"]]
    asked += [(each["unanswerable"], None) for each in UNANSWERABLE]
    asked += [("opening hours of the printer", "print")]
    model = ScoringModel.objects.create(name=MODEL, kind="faq", pool="cpu")
    lines = ({"question": question, "faq_id": faq_id} for question, faq_id in asked)
    evaluation_sets.adopt(model)
    assert model.evaluation_count == 5, "training has left the test phrasings and the unanswerable questions"
    evaluation_sets.replace(model, write_lines(tmp_path / "asked", lines), by=None)
    version = services.register_stored(model, folder.name, by=None, check=False)
    with start_pod(store, "cpu") as pod:
        settings.SCORING_CPU_URL = pod.url
        forget_connections()
        check = checked(version)
    assert check.state == Check.State.PASSED
    theirs = metrics_of(outcome_of(Matcher.load(folder), asked))
    for name in ("accuracy_at_1", "accuracy_at_3", "accuracy_at_5", "mrr", "ece", "brier", "no_answer_auroc"):
        assert version.metrics[name] == pytest.approx(theirs[name], abs=1e-5), name
    for ours, other in zip(check.report["reliability"]["candidate"], theirs["reliability"], strict=True):
        assert (ours["from"], ours["count"]) == (other["from"], other["questions"])
    assert [each["name"] for each in version.signature["inputs"]] == ["question"]


def test_what_a_matcher_has_forgotten_is_shown_by_its_question(settings, store, tmp_path):
    knows = train(tmp_path, ENTRIES)
    forgot = train(tmp_path, [entry for entry in ENTRIES if entry["id"] != "wifi"])
    model = ScoringModel.objects.create(name=MODEL, kind="faq", pool="cpu", latency_tolerance=1000)
    lines = [{"question": each, "faq_id": "wifi"} for each in ("wifi password", "connect my laptop to the internet")]
    evaluation_sets.replace(model, write_lines(tmp_path / "asked", lines), by=None)
    champion, version = (services.register_stored(model, each.name, by=None, check=False) for each in (knows, forgot))
    with start_pod(store, "cpu") as pod:
        settings.SCORING_CPU_URL = pod.url
        forget_connections()
        serve(champion)
        report = checked(version).report
    assert (report["champion"]["accuracy_at_1"], report["candidate"]["accuracy_at_5"]) == (1.0, 0.0)
    assert report["disagreements"]["lost"] == 2
    assert report["disagreements"]["examples"][0]["expected"] == {
        "id": "wifi",
        "label": "How do I use the wireless network?",
    }


def untrained(store: Path, seed: int) -> str:
    """A network that guesses digits; the name of its version."""
    torch.manual_seed(seed)
    labels = [Label(label_id=f"digit-{number}", label=label) for number, label in enumerate(digits.LABELS)]
    network = build("torchvision", digits.ARCHITECTURE, classes=len(labels))
    return register(
        store,
        "guesses",
        library="torchvision",
        architecture=digits.ARCHITECTURE,
        weights=network.state_dict(),
        labels=labels,
        preprocessing=digits.PREPROCESSING,
        smoke=[(PICTURES[0].name, PICTURES[0].read_bytes())],
        title="Guesses",
        description="",
        sample=True,
        metrics={},
        data=TrainingData(),
    ).version


def test_a_classifier_is_measured_with_its_confusions(settings, store, tmp_path):
    names = [untrained(store, seed) for seed in (1, 2)]
    model = ScoringModel.objects.create(name="guesses", kind="image", pool="gpu", latency_tolerance=1000)
    with zipfile.ZipFile(tmp_path / "shown.zip", "w") as archive:
        rows = [f"{path.name},digit-{path.stem}" for path in PICTURES]
        archive.writestr("labels.csv", "\n".join(["file,label_id", *rows, ""]))
        for path in PICTURES:
            archive.write(path, path.name)
    evaluation_sets.replace(model, tmp_path / "shown.zip", by=None)
    first, second = (services.register_stored(model, name, by=None, check=False) for name in names)
    with start_pod(store, "gpu") as pod:
        settings.SCORING_GPU_URL = pod.url
        forget_connections()
        assert checked(first).state == Check.State.PASSED
        first.state, first.role = "serving", "champion"
        first.save()
        check = checked(second)
    assert check.state == Check.State.PASSED, check.report
    assert second.labels[3] == {"label_id": "digit-3", "label": "three"}
    report = check.report
    confusion = report["confusion"]
    for role, name in (("candidate", names[1]), ("champion", names[0])):
        _, runtime = load_version(store / "guesses" / name)
        [*answers] = runtime.score([Row((path.read_bytes(),)) for path in PICTURES])
        runtime.close()
        best = [answer["label_id"][0] for answer in answers]
        right = sum(found == f"digit-{path.stem}" for found, path in zip(best, PICTURES, strict=True))
        assert report[role]["top_1"] == pytest.approx(right / len(PICTURES), abs=1e-6)
        ids = [label["label_id"] for label in confusion["labels"]]
        for expected, found in zip((f"digit-{path.stem}" for path in PICTURES), best, strict=True):
            assert confusion[role][ids.index(expected)][ids.index(found)] == 1
        assert sum(map(sum, confusion[role])) == len(PICTURES)
    assert ids == sorted(ids)
    assert confusion["labels"][0]["label"] == digits.LABELS[int(ids[0][-1])]
    assert report["accuracy_at_k"]["candidate"][4][1] == report["candidate"]["top_5"]


@pytest.mark.parametrize(("answer", "said"), [("rows", "1 input scored."), ("[]", "request 'smoke/0.json' failed")])
def test_generic_tensors_are_tried_with_a_whole_request(settings, store, answer, said):
    sides = {side: [spec("x", "FP32", -1, 2)] for side in ("inputs", "outputs")}
    # The pod's own smoke test has passed; the gate asks for the second time.
    code = (
        f"asked = 0\n\ndef run(rows):\n    global asked\n    asked += 1\n    return rows if asked < 2 else {answer}\n"
    )
    request = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}'
    version = add_script(store, "numbers", code, parameters=sides, smoke=[request])
    model = ScoringModel.objects.create(name="numbers", kind="tensors", pool="cpu")
    registered = services.register_stored(model, version.version, by=None, check=False)
    with start_pod(store, "cpu", ALLOW_SCORING_SCRIPTS="1", SCORING_PROCESSES="1") as pod:
        settings.SCORING_CPU_URL = pod.url
        forget_connections()
        check = checked(registered)
    [step] = [step for step in check.steps if step["name"] == "smoke"]
    assert said in step["detail"]
    assert (check.state, step["state"]) == (("passed", "passed") if answer == "rows" else ("failed", "failed"))
