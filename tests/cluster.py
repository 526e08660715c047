"""The product as it runs in a cluster: the site, its workers, and two CPU pods behind one address, each a process.

Whatever ends is not started again by itself: a test does that, as a kubelet would.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import psycopg

from tests.product import ROOT, free_ports
from webapp import embedded

WITHIN = 60.0  # seconds; on a busy machine Python alone takes some to start
PODS = ("pod-1", "pod-2")
EVALUATED = 20  # inputs
OBEDIENT = ("-m", "tests.scoring_service.obedient_pod")
UNLIMITED = {
    f"RATE_LIMIT_{what}_PER_{who}": "1000000000" for what in ("REQUESTS", "FAQ", "OTHER") for who in ("KEY", "USER")
}


def wait_until(what: str, holds: Callable[[], object], within: float = WITHIN) -> float:
    """Returns the seconds it took until `holds()` was true; fails when it takes too long."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + within, f"not within {within:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


@dataclass
class Program:
    """One process of the product, which can be ended and started again. Its log goes on in the same file."""

    name: str
    command: list[str]
    env: dict[str, str]
    log_file: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=ROOT, env=self.env, stdout=log, stderr=log)

    def end(self, sig: int = signal.SIGTERM) -> None:
        """Sends the signal, if it still runs, and waits for its end."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(WITHIN)


@dataclass
class Cluster:
    """What runs. programs: by name: web, worker and so on as the product names them, pod-1, pod-2, balancer."""

    var: Path
    url: str
    pod_urls: dict[str, str]
    env: dict[str, str]
    programs: dict[str, Program] = field(default_factory=dict)
    metrics_urls: dict[str, str] = field(default_factory=dict)  # by program, of those of the site

    @property
    def store(self) -> Path:
        return self.var / "models"

    def start(self, *names: str) -> None:
        """Starts the programs, all by default, and waits until those that answer are ready."""
        for name in names or self.programs:
            self.programs[name].start()
        wait_until("ready", self.ready)

    def kill(self, *names: str) -> None:
        """Ends the programs, all by default, as a lost machine does."""
        for name in names or self.programs:
            self.programs[name].end(signal.SIGKILL)

    def ready(self) -> bool:
        """Whether the site answers, and each pod that runs."""
        running = [
            name for name, program in self.programs.items() if program.process and program.process.poll() is None
        ]
        urls = [f"{self.pod_urls[name]}/v2/health/ready" for name in PODS if name in running]
        urls += [f"{self.url}/health/ready"] if "web" in running else []
        return all(status_of(url) == 200 for url in urls)

    def pod(self, name: str) -> dict[str, object]:
        """What the pod says of itself."""
        answer = httpx.get(
            f"{self.pod_urls[name]}/v2/pod", headers={"Authorization": f"Bearer {self.env['SCORING_TOKEN']}"}
        )
        return answer.raise_for_status().json()

    def manage(self, *arguments: str) -> str:
        """What `manage.py` prints with those arguments."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What the database answers, without a process of its own for the question."""
        if url := self.env.get("DATABASE_URL"):
            with psycopg.connect(url) as connection:
                return connection.execute(query.encode()).fetchall()
        with closing(sqlite3.connect(self.var / "db.sqlite3")) as connection:
            return connection.execute(query).fetchall()


def status_of(url: str) -> int:
    """The status of an answer, 0 where nobody answers."""
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0


@contextmanager
def cluster(
    var: Path,
    model: Path,
    *,
    pod: Sequence[str] = OBEDIENT,
    workers: int = 1,
    web: bool = True,
    metrics: bool = False,
    **env: str,
) -> Iterator[Cluster]:
    """Starts everything with one FAQ model, `model` its folder in a store, and ends it on the way out.

    Of the model version 1 is taken, and the beginning of its evaluation set, so that checks are short. pod: arguments
    of Python; those by default also have the tests' own runtime. workers: worker, worker-2 and so on; the first has the
    schedule. web: whether the site runs, too. metrics: the site's programs serve theirs, each at a port of its own.
    env: more of the environment of all processes.
    """
    ports = dict(zip(("PORT", "SCORING_CPU_PORT", "SCORING_GPU_PORT", *PODS), free_ports(5), strict=True))
    pod_urls = {name: f"http://127.0.0.1:{ports[name]}" for name in PODS}
    take_over(model, var / "models" / model.name)
    url = f"http://127.0.0.1:{ports['PORT']}"
    settings = {
        **without_settings(os.environ),
        **embedded.read_or_make_secrets(var / "secrets.env"),
        "VAR_DIR": str(var),
        "MODEL_STORE": str(var / "models"),
        "PUBLIC_URL": url,
        "SCORING_CPU_URL": f"http://127.0.0.1:{ports['SCORING_CPU_PORT']}",
        "SCORING_GPU_URL": f"http://127.0.0.1:{ports['SCORING_GPU_PORT']}",
        "SCORING_CPU_PODS": ",".join(pod_urls.values()),
        "ADMIN_MFA_REQUIRED": "0",
        **UNLIMITED,
        **env,
    }
    running = Cluster(var, url, pod_urls, settings)
    running.manage("prepare")
    commands = {service.name: (service.command, service.env) for service in embedded.services(ports, settings)}
    commands = {name: command for name, command in commands.items() if not name.startswith("scoring-")}
    for number in range(2, workers + 1):
        command, own = commands["worker"]
        commands[f"worker-{number}"] = (command, {**own, "WORKER_BEAT": "off"})
    if not web:
        del commands["web"]
    if metrics:
        for name, port in zip(commands, free_ports(len(commands)), strict=True):
            command, own = commands[name]
            commands[name] = (command, {**own, "METRICS_BIND": f"127.0.0.1:{port}"})
            running.metrics_urls[name] = f"http://127.0.0.1:{port}/metrics"
    for name in PODS:
        own = {"SCORING_POOL": "cpu", "SCORING_PORT": str(ports[name]), "SCORING_NOT_READY_S": "1"}
        commands[name] = ([sys.executable, *pod], {**settings, **own})
    balancer = [str(ports[name]) for name in ("SCORING_CPU_PORT", *PODS)]
    commands["balancer"] = ([sys.executable, "-m", "tests.balancer", *balancer], settings)
    with ExitStack() as stack:
        for name, (command, own) in commands.items():
            program = Program(name, command, dict(own), var / f"{name}.log")
            running.programs[name] = program
            stack.callback(program.end)
        running.start()
        yield running


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the tests themselves run with (tests/environment.py)."""
    ours = ("SECRET_KEY", "API_KEY_HMAC_SECRET", "DATABASE_URL", "VAR_DIR", "PUBLIC_URL", "LOG_FORMAT", "MODEL_STORE")
    return {name: value for name, value in environment.items() if name not in ours and not name.startswith("SCORING_")}


def take_over(model: Path, to: Path) -> None:
    shutil.copytree(model / "1", to / "1")
    for evaluation in model.glob("evaluation.jsonl"):  # a store trained by an older release has none
        lines = evaluation.read_text().splitlines(keepends=True)
        (to / "evaluation.jsonl").write_text("".join(lines[:EVALUATED]))
    (to / "routing.json").write_text(json.dumps({"champion": "1"}))
