"""What a kubelet is told of real workers and of beat, when it asks them as the manifests say."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cluster import Program, wait_until
from tests.environment import SCRATCH
from tests.k8s import manifests
from tests.product import free_ports
from tests.servers import Redis, a_redis

STUCK_AFTER = 10  # seconds

# celery's command line, but a SIGUSR2 has the main thread wait for ever: in it, tasks are taken, and sent by the clock.
HANGS = """
import signal, threading
signal.signal(signal.SIGUSR2, lambda *_: threading.Event().wait())
from celery.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def objects() -> list[manifests.Object]:
    return manifests.render("base")


@pytest.fixture
def redis(tmp_path) -> Iterator[Redis]:
    with a_redis(tmp_path) as server:
        yield server


@dataclass
class Probed:
    """A process with the probes of its container. url: where it is asked."""

    program: Program
    container: dict[str, dict[str, object]]
    url: str

    def ask(self, probe: str) -> tuple[int, str]:
        """Status and text of the answer to "startupProbe" and so on; 0 when it does not come in time."""
        said = self.container[probe]
        try:
            answer = httpx.get(f"{self.url}{said['httpGet']['path']}", timeout=said["timeoutSeconds"], trust_env=False)
        except httpx.TransportError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

    def wait_for(self, probe: str, status: int, within: float = 60) -> str:
        """Returns the text of the answer as soon as it has that status."""
        wait_until(f"{probe} is {status}: {self.program.log[-2000:]}", lambda: self.ask(probe)[0] == status, within)
        return self.ask(probe)[1]


@pytest.fixture(params=["worker", "beat"])
def probed(request, objects, redis: Redis, tmp_path: Path) -> Iterator[Probed]:
    """A worker, and then beat, with the command of its manifest, not started yet."""
    container = manifests.workload(objects, request.param).container(request.param)
    _, *arguments = container["command"]
    [port] = free_ports(1)
    bind = {"METRICS_BIND": f"127.0.0.1:{port}", "REDIS_URL": redis.url, "VAR_DIR": str(SCRATCH)}
    bind["WORKER_STUCK_AFTER_S"] = str(STUCK_AFTER)
    command = [sys.executable, "-c", HANGS, *arguments]
    program = Program(request.param, command, {**os.environ, **bind}, tmp_path / "log")
    try:
        yield Probed(program, container, f"http://127.0.0.1:{port}")
    finally:
        program.end(signal.SIGKILL)


@pytest.fixture
def running(probed: Probed) -> Probed:
    probed.program.start()
    probed.wait_for("startupProbe", 200)
    probed.wait_for("readinessProbe", 200)
    return probed


def test_one_whose_loop_hangs_is_started_anew(running):
    assert running.ask("livenessProbe") == (200, "ok\n")
    running.program.process.send_signal(signal.SIGUSR2)
    why = running.wait_for("livenessProbe", 503, within=STUCK_AFTER + 20)
    assert why.startswith("Its loop has not gone round for")
    assert running.ask("readinessProbe")[0] == 503


def test_one_that_is_stopped_gives_no_answer_and_goes_on_afterwards(running):
    running.program.process.send_signal(signal.SIGSTOP)
    assert running.ask("livenessProbe")[0] == 0
    running.program.process.send_signal(signal.SIGCONT)
    assert running.wait_for("livenessProbe", 200) == "ok\n"


def test_a_redis_that_goes_is_no_reason_to_start_it_anew(running, redis):
    redis.stop()
    until = time.monotonic() + STUCK_AFTER + 5
    while time.monotonic() < until:
        assert running.ask("livenessProbe") == (200, "ok\n"), running.program.log[-4000:]
        time.sleep(0.5)
    if running.program.name == "worker":
        assert running.ask("readinessProbe") == (503, "It waits for the message broker.\n")
    redis.start()
    assert running.wait_for("readinessProbe", 200) == "ok\n"


def test_one_that_is_started_while_there_is_no_redis_waits_for_it(probed, redis):
    redis.stop()
    probed.program.start()
    probed.wait_for("startupProbe", 200)
    until = time.monotonic() + STUCK_AFTER + 5
    while time.monotonic() < until:
        assert probed.ask("livenessProbe") == (200, "ok\n"), probed.program.log[-4000:]
        if probed.program.name == "worker":
            assert probed.ask("readinessProbe")[0] == 503
        time.sleep(0.5)
    redis.start()
    assert probed.wait_for("readinessProbe", 200) == "ok\n"


def test_metrics_are_told_at_the_same_port(running):
    assert "scorepod_tasks_total" in httpx.get(f"{running.url}/metrics", trust_env=False).text
