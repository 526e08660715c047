"""Whatever is done to the store while people ask, nobody gets an error, and every pod ends where the store says."""

import signal
import threading
import time
from contextlib import contextmanager

import httpx2 as httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring_service import store
from tests.pods import start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, question
from tests.scoring_service.conftest import OBEDIENT

GOOD, BAD, NOT_THERE = ("1", "2", "3"), "4", "99"
NAMES = st.sampled_from([*GOOD, BAD, NOT_THERE])


@contextmanager
def traffic(*pods, askers: int = 3):
    """Asks the pods in turns, without a version and with keys, until the end; yields what came back so far.

    An answer is (the pod, the version); what is no answer is kept as it is.
    """
    stop, came = threading.Event(), []

    def keep_asking(number: int) -> None:
        with httpx.Client(trust_env=False, verify=False, timeout=60) as client:
            for turn in range(10**9):
                pod = pods[turn % len(pods)]
                body = question("hello", parameters={"routing_key": f"{number}-{turn % 50}"})
                try:
                    answer = client.post(f"{pod.url}{INFER}", json=body)
                except httpx.TransportError as error:
                    came.append(error)
                else:
                    came.append((pod, answer.json()["model_version"]) if answer.status_code == 200 else answer)
                if stop.wait(0.002):
                    return

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    try:
        yield came
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def failures(came) -> list[object]:
    return [each for each in came if not isinstance(each, tuple)]


def has_answered(pod, came, version: str) -> None:
    pod.wait_until(f"has answered with version {version}", lambda pod: (pod, version) in came[-200:])


@pytest.fixture
def root(tmp_path):
    """Versions 1, 2 and 3, of which 1 serves, and 4, whose smoke input fails. There is no version 99."""
    return fill(tmp_path / "store")


def fill(root):
    for _ in GOOD:
        obedient.write(root)
    obedient.write(root, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(root, "1")
    return root


@pytest.fixture(scope="module")
def lasting_pod(tmp_path_factory):
    with start_pod(fill(tmp_path_factory.mktemp("store")), "cpu", command=OBEDIENT) as pod:
        yield pod


@st.composite
def routings(draw) -> dict[str, object]:
    routing = {"champion": draw(NAMES), "standby": draw(st.one_of(st.just(""), NAMES)), "warm": draw(st.lists(NAMES))}
    if draw(st.booleans()):
        routing["challenger"] = (draw(NAMES), draw(st.sampled_from([1, 50])))
    return routing


@given(changes=st.lists(st.tuples(routings(), st.sampled_from([0, 0.02, 0.08])), min_size=1, max_size=8))
@settings(max_examples=15)
def test_after_any_changes_a_pod_is_where_the_store_says_and_nobody_got_an_error(lasting_pod, changes):
    pod = lasting_pod
    with traffic(pod) as came:
        for routing, pause in changes:
            obedient.route(pod.store, **routing)
            time.sleep(pause)
        roles = store.read_routing(pod.store, "obedient").roles()

        def converged(pod) -> bool:
            states = {each.version: each for each in pod.state.versions}
            answering = {version for version, each in states.items() if each.answering}
            ready = {version for version, each in states.items() if each.state == "READY"}
            unavailable = {version for version, each in states.items() if each.state == "UNAVAILABLE"}
            return (
                {version: each.role for version, each in states.items() if each.role} == roles
                and ready == (roles.keys() & {*GOOD}) | answering
                and unavailable == roles.keys() & {BAD, NOT_THERE}
                and len(answering) == 1
                and (routing["champion"] not in GOOD or answering == {routing["champion"]})
            )

        pod.wait_until(f"has converged to {routing}", converged)
        allowed = {each.version for each in pod.state.versions if each.answering or each.role == "challenger"}
        seen = len(came)
        pod.wait_until("has answered some more", lambda _: len(came) > seen + 10)
        assert {answer[1] for answer in came[seen + 5 :] if isinstance(answer, tuple)} <= allowed
    assert not failures(came)
    assert pod.readiness == (200, "")


def test_two_pods_go_to_a_new_version_and_back_without_an_error(root):
    with start_pod(root, "cpu", command=OBEDIENT) as one, start_pod(root, "cpu", command=OBEDIENT) as other:
        pods = (one, other)
        with traffic(*pods) as came:
            for _ in range(3):
                obedient.route(root, "1", warm=["2"])  # as a promotion begins
                for pod in pods:
                    pod.wait_until("is warm", lambda pod: pod.role("obedient", "2") == "READY warm")
                obedient.route(root, "2", standby="1")
                for pod in pods:
                    has_answered(pod, came, "2")
                obedient.route(root, "1")  # as a rollback does
                for pod in pods:
                    has_answered(pod, came, "1")
    assert not failures(came)


def test_a_pod_killed_while_it_loads_comes_back_with_what_the_store_says_by_then(root, gate):
    slow = obedient.write(root, champion=False, smoke=[{"text": gate.row}]).version
    with start_pod(root, "cpu", command=OBEDIENT) as staying, traffic(staying) as came:
        with start_pod(root, "cpu", command=OBEDIENT) as pod:
            obedient.route(root, "1", warm=[slow])
            pod.wait_until("loads it", lambda pod: pod.role("obedient", slow) == "LOADING warm")
            assert pod.stop(signal.SIGKILL) == -signal.SIGKILL
        with start_pod(root, "cpu", command=OBEDIENT) as pod:
            assert pod.readiness == (200, ""), "with its champion, while the other is loaded again"
            pod.wait_until("loads it", lambda pod: pod.role("obedient", slow) == "LOADING warm")
            gate.open()
            obedient.route(root, slow, standby="1")
            for each in (staying, pod):
                each.wait_until("serves it", lambda pod: pod.role("obedient", slow) == "READY champion")
            has_answered(staying, came, slow)
    assert not failures(came)


@pytest.mark.parametrize("empty", [False, True], ids=["gone", "empty, as a mount point without its volume"])
def test_a_store_that_is_away_for_long_holds_up_changes_and_nothing_else(root, empty):
    away = root.with_name("away")
    with start_pod(root, "cpu", command=OBEDIENT) as pod, traffic(pod) as came:
        obedient.route(root, "1", challenger=("2", 50))
        has_answered(pod, came, "2")
        root.rename(away)
        if empty:
            root.mkdir()
        pod.wait_until("notices", lambda pod: pod.state.store_problem)
        obedient.route(away, "3")
        gone_at = len(came)
        time.sleep(3)
        assert {version for _, version in came[gone_at:]} == {"1", "2"}
        assert pod.readiness == (200, "")
        if empty:
            root.rmdir()
        away.rename(root)
        has_answered(pod, came, "3")
        pod.wait_until("is content", lambda pod: not pod.state.store_problem)
    assert not failures(came)


def test_versions_that_fail_in_every_way_cost_no_request(root):
    corrupt = obedient.write(root, champion=False).version
    (root / "obedient" / corrupt / "words.txt").write_text("other words, of")
    too_large = obedient.write(root, champion=False, memory=2**40).version
    greedy = obedient.write(root, champion=False, parameters={"allocate_by_the_mb": 4000}).version
    reasons = {
        BAD: "its smoke input 'refuse' was refused",
        corrupt: "words.txt has 15 bytes",
        too_large: "it needs about 1,048,576 MB of memory",
        greedy: "it needs more memory than there is",
        NOT_THERE: "there is no manifest.json",
    }
    with start_pod(root, "cpu", command=OBEDIENT, SCORING_MEMORY_MB="400") as pod, traffic(pod) as came:
        for version, reason in reasons.items():
            for roles in ({"champion": "1", "warm": [version]}, {"champion": version, "standby": "2"}):
                obedient.route(root, **roles)
                pod.wait_until(
                    "has tried", lambda pod, version=version: pod.role("obedient", version).startswith("UNAVAILABLE")
                )
                assert reason in pod.index["obedient", version][1]
        obedient.route(root, "1")
        has_answered(pod, came, "1")
    assert not failures(came)
    assert {version for _, version in came} == {"1"}, "it stayed all the time"
