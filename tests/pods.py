"""Scoring pods as they run in production: a process of their own, on a free port of this machine."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

import httpx2 as httpx

from scoring_service import contract
from scoring_service.contract import PodState
from tests.product import ROOT, free_ports

# A new connection for each request, so that none outlives its pod. Made once: reading certificates takes a while.
CLIENT = httpx.Client(trust_env=False, verify=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
SERVE = ("-m", "scoring_service", "serve")
ANSWERS_WITHIN = 60  # seconds; on a busy machine torch alone takes some to import


@dataclass
class Pod:
    """A running pod. `url` has no slash at its end; `store` is the folder it serves from."""

    url: str
    store: Path
    process: subprocess.Popen[bytes]
    output: BufferedRandom

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def log(self) -> str:
        """What it has written so far, standard output and standard error."""
        return os.pread(self.output.fileno(), 1 << 30, 0).decode()

    @property
    def readiness(self) -> tuple[int, str]:
        """Status and reason of its readiness; status 0 while nobody listens."""
        try:
            answer = CLIENT.get(f"{self.url}/v2/health/ready")
        except httpx.TransportError:
            return 0, "nobody listens"
        return answer.status_code, answer.json()["reason"]

    @property
    def index(self) -> dict[tuple[str, str], tuple[str, str]]:
        """The repository index: model and version to state and reason."""
        entries = CLIENT.post(f"{self.url}/v2/repository/index").json()
        return {(entry["name"], entry["version"]): (entry["state"], entry["reason"]) for entry in entries}

    @property
    def state(self) -> PodState:
        """What it says of itself."""
        return contract.decode_json(CLIENT.get(f"{self.url}/v2/pod").content, PodState)

    def role(self, model: str, version: str) -> str:
        """State and role of a version here, such as "READY champion"; empty when the pod does not know it."""
        states = [each for each in self.state.versions if (each.model, each.version) == (model, version)]
        return " ".join(f"{each.state} {each.role}".strip() for each in states)

    def wait_until(self, what: str, holds) -> None:
        """Returns as soon as `holds(pod)` is true; fails with its log when it ends or takes too long."""
        until = time.monotonic() + ANSWERS_WITHIN
        while not holds(self):
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"the pod {what} never came true:\n{self.log[-4000:]}")
            time.sleep(0.02)

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Sends the signal, if the pod still runs, and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.wait()

    def wait(self) -> int:
        """The exit status of a pod that was told to end; one that does not is killed, which is a failure."""
        try:
            return self.process.wait(timeout=ANSWERS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the pod did not end by itself:\n{self.log[-4000:]}") from None


@contextmanager
def start_pod(
    store: Path, pool: str, *, command: tuple[str, ...] = SERVE, ready: bool = True, port: int | None = None, **env: str
) -> Iterator[Pod]:
    """Starts a pod on the store's models of the pool ("cpu" or "gpu") and stops it with SIGTERM on the way out.

    command: arguments of Python. ready: wait until it is ready, else only until it answers. port: by default a free
    one.
    env: more of its environment, as docs/operations.md names it (SCORING_TOKEN="…").
    """
    port = port or free_ports(1)[0]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SCORING_", "LOG_"))}
    given = {
        "MODEL_STORE": str(store),
        "SCORING_POOL": pool,
        "SCORING_PORT": str(port),
        "SCORING_STORE_POLL_MS": "50",
        "SCORING_NOT_READY_S": "0",
        "SCORING_PROCESSES": "1",  # one that does all there is to see; tests of several say so
        "SCORING_TARGET_P99_MS": "600000",  # models that wait for a test are not taken for slow ones
    }
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env={**inherited, **given, **env}, stdout=output, stderr=output
        )
        pod = Pod(f"http://127.0.0.1:{port}", store, process, output)
        try:
            pod.wait_until("answers", lambda pod: pod.readiness[0] == 200 if ready else pod.readiness[0])
            yield pod
        finally:
            pod.stop()
