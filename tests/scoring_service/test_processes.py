"""A pod of several processes: to everybody outside it is one."""

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from scoring_service.cpus import cpu_limit
from tests.pods import CLIENT, SERVE, Pod, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, Asking, Gate, answers, ask, metric, question, run
from tests.scoring_service.conftest import OBEDIENT
from tests.scoring_service.runtimes.asking import add_script

ONE_BY_ONE = {"SCORING_MAX_ROWS": "1"}  # rows that arrive together are not scored together


@pytest.fixture
def pod(store):
    """A pod of three processes, all of which serve version 1 of the obedient model."""
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_PROCESSES="3", **ONE_BY_ONE) as pod:
        wait_for_all(pod)
        yield pod


def wait_for_all(pod: Pod) -> None:
    pod.wait_until("has three processes that serve", lambda pod: metric(pod, "scoring_processes") == 3)


def inside(pod: Pod) -> set[int]:
    """The ids of the processes behind the one at the door."""
    return {int(pid) for pid in Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text().split()}


def keep_all_busy(pod: Pod, gate: Gate, processes: int) -> list[Asking]:
    """Two requests for each process, of which one is scored in each of them, until the gate is opened."""
    before = metric(pod, "scoring_queue_seconds_count")
    asked = [Asking(pod, gate.row) for _ in range(2 * processes)]
    pod.wait_until("is busy", lambda pod: metric(pod, "scoring_queue_seconds_count") == before + processes)
    return asked


def test_each_process_scores_at_the_same_time_as_the_others(pod, gate):
    held = keep_all_busy(pod, gate, 3)
    gate.open()
    assert [answers(each.response) for each in held] == [[gate.row]] * 6


def test_connections_that_have_ended_count_no_more(pod, gate):
    for _ in range(30):
        ask(pod, "hello")
    held = keep_all_busy(pod, gate, 3)
    gate.open()
    assert [answers(each.response) for each in held] == [[gate.row]] * 6


def test_whichever_process_is_asked_tells_what_all_have_counted(pod):
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(verify=False, trust_env=False)) for _ in range(3)]
        for client in clients:  # a connection each, held open: each is with another process
            assert client.post(f"{pod.url}{INFER}", json=question("hello", "there")).status_code == 200
        for client in clients:
            assert metric_of(client, pod, 'scoring_rows_total{model="obedient",outcome="scored",priority="normal"') == 6
            [statistics] = client.get(f"{pod.url}/v2/models/obedient/stats").json()["model_stats"]
            assert (statistics["inference_count"], statistics["execution_count"]) == (6, 6)
            assert metric_of(client, pod, "scoring_ready 1") == 1


def metric_of(client: httpx.Client, pod: Pod, begins: str) -> float:
    [line] = [each for each in client.get(f"{pod.url}/metrics").text.splitlines() if each.startswith(begins)]
    return float(line.rpartition(" ")[2])


def test_a_version_is_ready_when_the_last_process_has_it(pod, tmp_path):
    obedient.write(pod.store, champion=False, parameters={"reads": str(tmp_path / "go on")})
    obedient.route(pod.store, "2", standby="1")
    pod.wait_until("loads it", lambda pod: pod.role("obedient", "2") == "LOADING champion")
    assert answers(ask(pod, "hello")) == ["hello"]
    (tmp_path / "go on").touch()
    pod.wait_until("has it", lambda pod: pod.role("obedient", "2") == "READY champion")
    assert {ask(pod, "hello").json()["model_version"] for _ in range(6)} == {"2"}, "all of them answer with it"


def test_the_processes_share_the_cpus_between_them(tmp_path):
    code = "from scoring_service.cpus import cpu_limit\n\ndef run(rows):\n    return [cpu_limit() for row in rows]\n"
    add_script(tmp_path / "store", "cpus", code)
    asked = {"inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": ["how many"]}]}
    told = []
    for processes in (1, min(2 * cpu_limit(), 8)):
        env = {"SCORING_PROCESSES": str(processes), "ALLOW_SCORING_SCRIPTS": "1"}
        with start_pod(tmp_path / "store", "cpu", **env) as pod:
            told += CLIENT.post(f"{pod.url}/v2/models/cpus/infer", json=asked).json()["outputs"][0]["data"]
    assert told == [str(cpu_limit()), str(max(1, cpu_limit() // min(2 * cpu_limit(), 8)))]


def test_a_process_that_is_killed_is_replaced_and_the_others_go_on(pod):
    before = inside(pod)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    pod.wait_until("has another one", lambda pod: len(inside(pod) - {killed}) == 3)
    assert {ask(pod, "hello").status_code for _ in range(10)} == {200}, "nobody waits for one that is still starting"
    wait_for_all(pod)
    assert len(inside(pod) & before) == 2
    assert '"event": "a process of the pod has ended"' in pod.log


def test_a_pod_whose_processes_cannot_live_gives_up(store):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_PROCESSES="2") as pod:
        while pod.process.poll() is None:
            for pid in inside(pod):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert pod.wait() == 1


def test_a_process_that_hangs_fails_liveness(pod):
    hanging = min(inside(pod))
    os.kill(hanging, signal.SIGSTOP)
    try:
        # Connections that it has been given get no answer: those of the others tell.
        alive = {status_or_none(pod) for _ in range(4)}
    finally:
        os.kill(hanging, signal.SIGCONT)
    assert 503 in alive
    assert alive <= {503, None}, "nobody is told that all is well"
    pod.wait_until("is alive again", lambda pod: CLIENT.get(f"{pod.url}/v2/health/live").status_code == 200)


def status_or_none(pod: Pod) -> int | None:
    try:
        return CLIENT.get(f"{pod.url}/v2/health/live", timeout=3).status_code
    except httpx.TimeoutException:
        return None


def test_a_pod_told_to_stop_answers_what_it_has_taken_in(store, gate):
    env = {"SCORING_PROCESSES": "2", "SCORING_NOT_READY_S": "1", **ONE_BY_ONE}
    with start_pod(store, "cpu", command=OBEDIENT, **env) as pod:
        pod.wait_until("has both", lambda pod: metric(pod, "scoring_processes") == 2)
        held = keep_all_busy(pod, gate, 2)
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_until("is not ready", lambda pod: pod.readiness == (503, "the pod is shutting down"))
        late = ask(pod, "late", headers={"X-Request-Deadline-Ms": "1"})
        assert late.status_code == 504, "it still takes requests: load balancers need a moment"
        pod.wait_until("has closed its door", lambda pod: pod.readiness[0] == 0)
        assert not any(each.done for each in held)
        gate.open()
        assert [answers(each.response) for each in held] == [[gate.row]] * 4
        assert pod.wait() == 0


def test_those_inside_end_when_the_one_at_the_door_is_killed(pod):
    left = inside(pod)
    pod.process.kill()
    pod.process.wait()
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_address_that_is_taken_is_said_and_nothing_starts(pod):
    env = {"MODEL_STORE": str(pod.store), "SCORING_POOL": "cpu", "SCORING_PORT": str(pod.port)}
    outcome = run(*SERVE[2:], SCORING_PROCESSES="2", **env)
    assert outcome.returncode == 1
    assert outcome.stderr == f"serve: cannot listen at 127.0.0.1:{pod.port}: address already in use\n"
