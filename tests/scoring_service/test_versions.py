"""Which version answers: the pod follows the store, and a broken version takes nothing down."""

import json
import shutil
import threading

import httpx2 as httpx
import pytest

from scoring_service.store import set_champion
from tests.pods import CLIENT, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, answers, ask, error_of, metric, question
from tests.scoring_service.conftest import OBEDIENT


def serves(pod, version: str, model: str = "obedient") -> bool:
    return pod.index.get((model, version), ("",))[0] == "READY"


def version_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["model_version"]


@pytest.fixture
def own_pod(store):
    """A pod for one test, whose store holds version 1 of the obedient model."""
    with start_pod(store, "cpu", command=OBEDIENT) as pod:
        yield pod


LARGE = ["hello"] * 50_000  # rows that are read in another thread, which gives a switch time to come between


@pytest.mark.parametrize("texts", [pytest.param(["hello"], id="small"), pytest.param(LARGE, id="large")])
def test_a_new_champion_takes_over_without_a_failed_request(store, texts):
    body, stop, seen, failed = json.dumps(question(*texts)), threading.Event(), set(), []

    def keep_asking(pod) -> None:
        with httpx.Client(verify=False, trust_env=False, timeout=60) as client:
            while not stop.is_set():
                answer = client.post(f"{pod.url}{INFER}", content=body)
                seen.add(answer.json().get("model_version")) if answer.status_code == 200 else failed.append(answer)

    limits = {"SCORING_QUEUE_ROWS": "1000000", "SCORING_MAX_ROWS": "4096"}
    with start_pod(store, "cpu", command=OBEDIENT, **limits) as pod:
        askers = [threading.Thread(target=keep_asking, args=(pod,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        for version in ("2", "3", "4"):
            obedient.write(store)
            pod.wait_until(f"serves version {version}", lambda pod, version=version: serves(pod, version))
            pod.wait_until("has answered with it", lambda pod, version=version: version in seen)
        set_champion(store, "obedient", "1")
        pod.wait_until("is rolled back", lambda pod: serves(pod, "1"))
        stop.set()
        for asker in askers:
            asker.join()
        assert seen == {"1", "2", "3", "4"}
        assert not failed
        assert pod.index == {("obedient", "1"): ("READY", "")}


def test_a_version_that_is_replaced_still_answers_what_waits_for_it(own_pod, gate):
    held = gate.hold(own_pod)
    obedient.write(own_pod.store)
    own_pod.wait_until("serves version 2", lambda pod: serves(pod, "2"))
    assert version_of(ask(own_pod, "new")) == "2"
    gate.open()
    assert version_of(held.response) == "1"


def test_a_request_may_name_the_version_that_serves_and_no_other(own_pod):
    path = "/v2/models/obedient/versions"
    assert version_of(CLIENT.post(f"{own_pod.url}{path}/1/infer", json=question("hello"))) == "1"
    missing = CLIENT.post(f"{own_pod.url}{path}/7/infer", json=question("hello"))
    assert missing.status_code == 404
    assert "7" in error_of(missing)


def flip_a_byte(folder):
    words = (folder / "words.txt").read_bytes()
    (folder / "words.txt").write_bytes(bytes([words[0] ^ 1]) + words[1:])


def change(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))


def make_unreadable(folder):
    """A file of the size that the manifest says, which gives an error on reading, also to root."""
    (folder / "words.txt").unlink()
    (folder / "words.txt").symlink_to("/proc/self/mem")
    change(folder, files={"words.txt": {"sha256": "0" * 64, "size": 0}})


BREAKAGES = [
    pytest.param(flip_a_byte, "words.txt is not the file that was registered", id="a flipped byte"),
    pytest.param(lambda folder: (folder / "words.txt").unlink(), "words.txt is missing", id="a missing file"),
    pytest.param(lambda folder: (folder / "words.txt").write_text("!"), "words.txt has 1 bytes", id="a file cut short"),
    pytest.param(
        make_unreadable, "words.txt cannot be read: Input/output error", id="a file that the disk does not give"
    ),
    pytest.param(lambda folder: change(folder, libraries={"": "1"}), "ValueError: ", id="a library without a name"),
    pytest.param(
        lambda folder: change(folder, libraries={"msgspec": "99.1"}),
        "written with msgspec 99.1",
        id="a library's major",
    ),
    pytest.param(lambda folder: change(folder, libraries={"nolib": "1"}), "needs nolib 1", id="a missing library"),
    pytest.param(lambda folder: change(folder, runtime="magic"), "no runtime 'magic'", id="an unknown runtime"),
    pytest.param(lambda folder: change(folder, version="1"), "that of obedient version 1", id="another's manifest"),
    pytest.param(lambda folder: change(folder, format=2), "format", id="a format of the future"),
    pytest.param(
        lambda folder: change(folder, files={"../1/words.txt": {"sha256": "", "size": 16}}),
        "leads out of the version's folder",
        id="a path out of the folder",
    ),
    pytest.param(
        lambda folder: change(folder, files={"/etc/passwd": {"sha256": "", "size": 16}}),
        "leads out of the version's folder",
        id="an absolute path",
    ),
    pytest.param(
        lambda folder: change(folder, smoke=[{"text": "refuse"}]),
        "its smoke input 'refuse' was refused: as you wish",
        id="a smoke input without an answer",
    ),
    pytest.param(lambda folder: change(folder, smoke=[{"text": "crash"}]), "RuntimeError: crash", id="a crash"),
    pytest.param(lambda folder: change(folder, smoke=[{"text": "end"}]), "SystemExit: 1", id="an exit"),
    pytest.param(lambda folder: change(folder, smoke=[{"file": "no.png"}]), "no.png", id="a missing smoke input"),
    pytest.param(lambda folder: (folder / "manifest.json").unlink(), "no manifest.json", id="no manifest"),
    pytest.param(
        lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), "manifest.json:", id="a manifest of garbage"
    ),
    pytest.param(
        lambda folder: (folder / "manifest.json").write_bytes(b'{"metrics":' + b'{"a":' * 100_000),
        "manifest.json:",
        id="a manifest nested without end",
    ),
]


@pytest.fixture(scope="module")
def lasting_pod(tmp_path_factory):
    """A pod for the tests that break one version after the other."""
    root = tmp_path_factory.mktemp("store")
    obedient.write(root)
    with start_pod(root, "cpu", command=OBEDIENT) as pod:
        yield pod


@pytest.mark.parametrize(("breaks", "reason"), BREAKAGES)
def test_a_broken_version_says_why_in_the_index_and_the_old_one_serves_on(lasting_pod, breaks, reason):
    pod = lasting_pod
    broken = obedient.write(pod.store, champion=False).version
    folder = pod.store / "obedient" / broken
    routing = pod.store / "obedient" / "routing.json"
    breaks(folder)
    routing.with_suffix(".new").write_text(json.dumps({"champion": broken}))
    routing.with_suffix(".new").replace(routing)
    pod.wait_until("has tried", lambda pod: pod.index.get(("obedient", broken), ("",))[0] == "UNAVAILABLE")
    assert reason in pod.index["obedient", broken][1]
    assert version_of(ask(pod, "hello")) == "1"
    assert pod.readiness == (200, "")
    named = CLIENT.get(f"{pod.url}/v2/models/obedient/versions/{broken}")
    assert named.status_code == 503
    assert reason in error_of(named)
    set_champion(pod.store, "obedient", "1")
    pod.wait_until("has forgotten it", lambda pod: pod.index == {("obedient", "1"): ("READY", "")})


@pytest.mark.parametrize(
    "routing", [b"", b"{}", b'{"champion": 1}', b'{"champion": "../1"}', b'{"champion": "99"}', b"\xff"]
)
def test_a_routing_file_that_makes_no_sense_changes_nothing(lasting_pod, routing):
    pod = lasting_pod
    (pod.store / "obedient" / "routing.json").write_bytes(routing)
    pod.wait_until("says so", lambda pod: "UNAVAILABLE" in {state for state, _ in pod.index.values()})
    assert version_of(ask(pod, "hello")) == "1"
    set_champion(pod.store, "obedient", "1")
    pod.wait_until("has forgotten it", lambda pod: pod.index == {("obedient", "1"): ("READY", "")})


def test_a_store_that_goes_away_and_comes_back_takes_nothing_down(own_pod):
    away = own_pod.store.with_name("away")
    own_pod.store.rename(away)
    own_pod.wait_until("notices", lambda pod: "store unreadable" in pod.log)
    assert version_of(ask(own_pod, "hello")) == "1"
    assert own_pod.readiness == (200, "")
    assert metric(own_pod, "scoring_store_readable") == 0
    obedient.write(away)
    away.rename(own_pod.store)
    own_pod.wait_until("serves version 2", lambda pod: serves(pod, "2"))
    assert own_pod.log.count("store unreadable") == 1, "once is enough"
    assert metric(own_pod, "scoring_store_readable") == 1


def test_a_model_that_is_taken_out_of_the_store_is_unloaded(own_pod):
    obedient.write(own_pod.store, "second")
    own_pod.wait_until("serves it", lambda pod: serves(pod, "1", "second"))
    shutil.rmtree(own_pod.store / "second")
    own_pod.wait_until("has unloaded it", lambda pod: pod.index == {("obedient", "1"): ("READY", "")})
    assert CLIENT.get(f"{own_pod.url}/v2/models/second").status_code == 404


def test_a_slow_load_of_one_model_does_not_hold_up_another(own_pod, gate):
    obedient.write(own_pod.store, "slow", smoke=[{"text": gate.row}])
    own_pod.wait_until("loads it", lambda pod: pod.index.get(("slow", "1"), ("",))[0] == "LOADING")
    assert CLIENT.get(f"{own_pod.url}/v2/models/slow/ready").status_code == 503
    obedient.write(own_pod.store)
    own_pod.wait_until("serves version 2", lambda pod: serves(pod, "2"))
    gate.open()
    own_pod.wait_until("serves the slow one", lambda pod: serves(pod, "1", "slow"))


def test_a_pod_is_ready_when_all_its_models_are_and_stays_so_while_new_ones_load(store, gate):
    obedient.write(store, "slow", smoke=[{"text": gate.row}])
    with start_pod(store, "cpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("serves the quick one", lambda pod: serves(pod, "1"))
        assert pod.readiness == (503, "being loaded: slow version 1")
        assert CLIENT.get(f"{pod.url}/v2/models/unknown").status_code == 503, "it may yet come"
        gate.open()
        pod.wait_until("is ready", lambda pod: pod.readiness[0] == 200)
        assert CLIENT.get(f"{pod.url}/v2/models/unknown").status_code == 404
        gate.path.unlink()
        obedient.write(store, "late", smoke=[{"text": gate.row}])
        pod.wait_until("loads another", lambda pod: pod.index.get(("late", "1"), ("",))[0] == "LOADING")
        assert pod.readiness == (200, "")
        gate.open()


def test_a_pod_without_a_store_is_alive_not_ready_and_says_why(tmp_path):
    with start_pod(tmp_path / "nowhere", "cpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("has looked", lambda pod: "cannot be read" in pod.readiness[1])
        assert pod.readiness[0] == 503
        assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 200
        obedient.write(pod.store)
        pod.wait_until("gets ready by itself", lambda pod: pod.readiness[0] == 200)


def test_a_pod_loads_only_models_of_its_pool(store):
    with start_pod(store, "gpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("has looked", lambda pod: "no model for the pool gpu" in pod.readiness[1])
        obedient.write(store, "other", pool="gpu")
        pod.wait_until("loads it", lambda pod: pod.index == {("other", "1"): ("READY", "")})


def test_a_pod_whose_only_model_is_broken_is_not_ready_and_says_why(store):
    flip_a_byte(store / "obedient" / "1")
    with start_pod(store, "cpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("has tried", lambda pod: "SHA-256 differs" in pod.readiness[1])
        assert metric(pod, "scoring_version_unusable", model="obedient", version="1") == 1
        assert metric(pod, "scoring_ready") == 0
        refused = ask(pod, "hello")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]


def test_a_device_lost_while_loading_fails_liveness(store):
    obedient.write(store, parameters={"lost": True})
    with start_pod(store, "cpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("has tried", lambda pod: pod.readiness[1] == "the device does not answer")
        assert CLIENT.get(f"{pod.url}/v2/health/live").status_code == 503


def test_half_written_versions_and_odd_names_are_passed_over(own_pod):
    for name in (".new-xyz", "lost+found", "no routing"):
        (own_pod.store / name).mkdir()
        (own_pod.store / name / "1").mkdir()
    (own_pod.store / ".new-xyz" / "routing.json").write_text('{"champion": "1"}')
    (own_pod.store / "a file").touch()
    obedient.write(own_pod.store)
    own_pod.wait_until("serves version 2", lambda pod: serves(pod, "2"))
    assert answers(ask(own_pod, "hello")) == ["hello"]
    assert own_pod.index == {("obedient", "2"): ("READY", "")}


def test_score_asks_the_first_model_that_is_no_sample_else_the_first_sample(own_pod):
    def asked(model: str) -> int:
        [statistics] = CLIENT.get(f"{own_pod.url}/v2/models/{model}/stats").json()["model_stats"]
        return statistics["inference_count"]

    ours = CLIENT.post(f"{own_pod.url}/score", json={"input": "hello"})
    assert ours.json() == [["hello", "1", 1.0]]
    assert asked("obedient") == 1
    for model in ("real", "very-real"):
        obedient.write(own_pod.store, model, sample=False)
        own_pod.wait_until(f"serves {model}", lambda pod, model=model: serves(pod, "1", model))
    CLIENT.post(f"{own_pod.url}/score", json={"input": "hello"})
    assert (asked("obedient"), asked("real"), asked("very-real")) == (1, 1, 0)
