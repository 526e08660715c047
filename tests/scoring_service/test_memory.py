"""What a pod does with a version that is too large for it, and how it learns its limit."""

import threading

import pytest

from scoring_service.memory import container_limit
from tests.pods import CLIENT, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, Gate, answers, ask, question
from tests.scoring_service.conftest import OBEDIENT

LIMIT = {"SCORING_MEMORY_MB": "300"}


@pytest.fixture
def small_pod(store):
    """A pod that may use 300 MB of memory; version 1 of the obedient model is champion."""
    with start_pod(store, "cpu", command=OBEDIENT, **LIMIT) as pod:
        yield pod


def refuses(pod, version: str) -> str:
    """The reason, as soon as the pod has tried to load the version."""
    pod.wait_until("has tried", lambda pod: pod.role("obedient", version).startswith("UNAVAILABLE"))
    return pod.index["obedient", version][1]


def test_a_pod_tells_how_much_memory_it_uses_and_may_use(small_pod):
    state = small_pod.state
    assert state.memory_limit == 300 * 2**20
    assert 10 * 2**20 < state.memory < 300 * 2**20


def test_a_version_that_says_it_needs_more_than_there_is_is_not_even_tried(small_pod):
    obedient.write(small_pod.store, memory=2**30, smoke=[{"text": "never asked"}])
    reason = refuses(small_pod, "2")
    assert reason.startswith("it needs about 1,024 MB of memory; ")
    assert reason.endswith(" MB of the 300 MB that this pod may use are free")
    assert answers(ask(small_pod, "hello")) == ["hello"]


def test_a_version_whose_files_are_larger_than_what_is_free_is_refused(small_pod):
    obedient.write(small_pod.store, parameters={"file_mb": 400})
    assert refuses(small_pod, "2").startswith("it needs about 400 MB of memory")


@pytest.mark.parametrize("by", ["allocate_mb", "allocate_by_the_mb"])
def test_a_version_that_takes_more_than_it_said_fails_and_nothing_else_does(small_pod, by):
    outcomes, stop = [], threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            outcomes.append(CLIENT.post(f"{small_pod.url}{INFER}", json=question("hello")).status_code)

    askers = [threading.Thread(target=keep_asking) for _ in range(3)]
    for asker in askers:
        asker.start()
    for number in range(2, 7):
        obedient.write(small_pod.store, parameters={by: 5000})
        reason = refuses(small_pod, str(number))
        assert reason.startswith("it needs more memory than there is; ")
    stop.set()
    for asker in askers:
        asker.join()
    assert set(outcomes) == {200}
    assert small_pod.state.memory < 200 * 2**20, "it has given back what it took"
    assert small_pod.readiness == (200, "")


def test_after_a_failed_load_there_is_room_again(small_pod):
    obedient.write(small_pod.store, parameters={"allocate_mb": 5000})
    refuses(small_pod, "2")
    obedient.write(small_pod.store, parameters={"allocate_mb": 100})
    small_pod.wait_until("serves version 3", lambda pod: pod.role("obedient", "3") == "READY champion")
    obedient.write(small_pod.store, parameters={"allocate_mb": 100}, memory=170 * 2**20)
    assert refuses(small_pod, "4").startswith("it needs about 170 MB of memory"), "version 3 has it now"


def test_a_version_waits_for_the_room_of_one_that_has_still_to_answer(small_pod, tmp_path):
    for _ in range(2):
        obedient.write(small_pod.store, champion=False, parameters={"allocate_mb": 150}, memory=150 * 2**20)
    obedient.route(small_pod.store, "2")
    small_pod.wait_until("serves version 2", lambda pod: pod.role("obedient", "2") == "READY champion")
    gate = Gate(tmp_path / "gate")
    held = gate.hold(small_pod)
    obedient.route(small_pod.store, "1", warm=["3"])
    small_pod.wait_until("has found no room", lambda pod: "load waits for room" in pod.log)
    assert small_pod.index["obedient", "3"] == ("LOADING", "")
    gate.open()
    assert answers(held.response) == [gate.row]
    small_pod.wait_until("has loaded version 3", lambda pod: pod.role("obedient", "3") == "READY warm")


def test_without_a_limit_a_version_may_be_as_large_as_it_likes(store):
    obedient.write(store, memory=2**50, parameters={"allocate_mb": 400})
    with start_pod(store, "cpu", command=OBEDIENT) as pod:
        state = pod.state
        assert state.memory_limit is None
        assert state.memory > 400 * 2**20


@pytest.mark.parametrize(
    ("file", "content", "limit"),
    [
        ("memory.max", "536870912\n", 2**29),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "536870912\n", 2**29),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("other", "", None),
    ],
)
def test_the_limit_of_the_container_is_that_of_its_control_group(tmp_path, file, content, limit):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    assert container_limit(tmp_path) == limit
