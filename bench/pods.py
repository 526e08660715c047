"""A pod for a benchmark, alone on this machine, and what its processes use."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2 as httpx

from bench.client import as_sent
from bench.workloads import SAMPLE_FAQ, pictures, questions
from scoring_service import packaging
from scoring_service.contract import InferRequest, Tensor, encode_request

ROOT = Path(__file__).resolve().parents[1]
MODELS = {"faq": "faq-javascript", "images": "resnet152"}
TOP_K = 5
POD_COMMAND = [sys.executable, "-m", "scoring_service", "serve"]
POOLS = {"faq": "cpu", "images": "gpu", "sleep": "cpu"}
# A model whose speed is known and which takes no CPU: 20 ms a call and 2 ms a row, 3 calls of 32 rows in 0.25 s.
SLEEPS = """import time


def run(rows):
    time.sleep(0.020 + 0.002 * len(rows))
    return rows
"""


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    port: int
    cold_start: float = 0.0  # seconds from the start of its process until it was ready

    @property
    def pids(self) -> list[int]:
        """Its processes, the one that was started first."""
        found = [self.process.pid]
        for pid in found:  # grows meanwhile
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def use(self) -> dict[str, float]:
        """Memory in MB, descriptors and threads of all its processes now; CPU time in seconds so far."""
        used = dict.fromkeys(("pss_mb", "private_mb", "descriptors", "threads", "cpu_s"), 0.0)
        for pid in self.pids:
            process = Path(f"/proc/{pid}")
            memory = dict(
                line.split()[:2] for line in (process / "smaps_rollup").read_text().splitlines()[1:] if "kB" in line
            )
            used["pss_mb"] += int(memory["Pss:"]) / 1024
            used["private_mb"] += (int(memory["Private_Clean:"]) + int(memory["Private_Dirty:"])) / 1024
            used["descriptors"] += len(list((process / "fd").iterdir()))
            used["threads"] += len(list((process / "task").iterdir()))
            times = (process / "stat").read_text().rpartition(")")[2].split()
            used["cpu_s"] += (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        return used


@contextmanager
def running_pod(store: Path, pool: str, log: Path, **env: str) -> Iterator[Server]:
    """A pod that is ready; it is told to stop on the way out. env: settings besides those it needs."""
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCORING_")}
    needed = {"MODEL_STORE": str(store), "SCORING_POOL": pool, "SCORING_PORT": str(port), "SCORING_NOT_READY_S": "0"}
    address = f"http://127.0.0.1:{port}/v2/health/ready"
    with running(
        POD_COMMAND,
        {**inherited, **needed, **env},
        port=port,
        log=log,
        ready=lambda client: client.get(address).status_code == 200,
    ) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    port: int,
    log: Path,
    ready: Callable[[httpx.Client], bool],
    folder: Path = ROOT,
    patience: float = 300,
) -> Iterator[Server]:
    """A server that is ready; it and what it has started are ended on the way out.

    env: all of its environment. folder: in which it runs. patience: seconds until it must be ready, else NotReady.
    """
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=file, stderr=file)
    server = Server(process, port)
    try:
        wait_until_ready(server, log, ready, patience)
        yield replace(server, cold_start=time.monotonic() - began)
    finally:
        end(server)


def end(server: Server) -> None:
    """Tells its first process to stop; what is left of the others some seconds later is killed."""
    if server.process.poll() is not None:
        return
    others = server.pids[1:]
    server.process.terminate()
    try:
        server.process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
    until = time.monotonic() + 5
    while (others := [pid for pid in others if alive(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].startswith(" Z")
    except OSError:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class NotReady(SystemExit):
    """Ends a benchmark that can't go on without this server."""


def wait_until_ready(server: Server, log: Path, ready: Callable[[httpx.Client], bool], patience: float) -> None:
    until = time.monotonic() + patience
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(trust_env=False, verify=False, limits=limits, timeout=60) as client:
        while True:
            try:
                if ready(client):
                    return
            except httpx.TransportError:
                pass
            if server.process.poll() is not None or time.monotonic() > until:
                raise NotReady(f"The server did not become ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)


def prepare_store(store: Path, subjects: list[str]) -> None:
    """Puts what is asked for into the store: the sample FAQ, a ResNet-152 of random weights, a script that sleeps."""
    store.mkdir()
    if "faq" in subjects:
        kept = ROOT / "var" / "models" / MODELS["faq"]
        if kept.exists():  # `make run` has trained it already
            shutil.copytree(kept, store / MODELS["faq"])
        else:
            samples = sorted(str(path) for path in SAMPLE_FAQ.glob("*.jsonl"))
            named = ["--model", MODELS["faq"], "--title", "JavaScript FAQ (sample)", "--sample"]
            command = ["train-faq", "--store", str(store), *named, "--entries", *samples]
            subprocess.run([sys.executable, "-m", "scoring_service", *command], cwd=ROOT, check=True)
    if "images" in subjects:
        # By another process, which holds its memory.
        subprocess.run([sys.executable, "-m", "bench.random_resnet152", str(store)], cwd=ROOT, check=True)
    if "sleep" in subjects:
        script = store.parent / "sleeps.py"
        script.write_text(SLEEPS)
        text = {"name": "text", "datatype": "BYTES", "shape": [-1]}
        packaging.add(
            store,
            "sleep",
            script,
            runtime="script",
            title="Sleeps",
            pool="cpu",
            parameters={"inputs": [text], "outputs": [text]},
            scripts=True,
        )


def requests_for(subject: str) -> list[bytes]:
    """Requests with one row each, as they go over a connection."""
    inputs = {"faq": questions, "images": pictures, "sleep": lambda: ["hello"]}[subject]()
    name = {"faq": "question", "images": "image", "sleep": "text"}[subject]
    parameters = {} if subject == "sleep" else {"top_k": TOP_K}
    written = []
    for each in inputs:
        asked = InferRequest(
            inputs=[Tensor(name=name, shape=[1], datatype="BYTES", data=[each])], parameters=parameters
        )
        body, headers = encode_request(asked, binary=subject == "images")
        written.append(as_sent(f"/v2/models/{MODELS.get(subject, subject)}/infer", headers, body))
    return written


def write_json(path: Path | None, figures: object) -> None:
    if path:
        path.write_text(json.dumps(figures, indent=1) + "\n")
