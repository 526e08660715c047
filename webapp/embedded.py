"""`make run`: every process of the product on this machine, under one supervisor.

Secrets and passwords are made up at the first start and kept in var/secrets.env; the sample models are trained when the
store has none. The processes are those of a big installation, only the addresses in their environment differ.
"""

import io
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Event
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

from honcho.manager import Manager
from honcho.process import Process

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
SECRET_NAMES = ("SECRET_KEY", "API_KEY_HMAC_SECRET", "SCORING_TOKEN", "DEMO_PASSWORD", "ADMIN_PASSWORD")
DEMO_EMAIL, ADMIN_EMAIL = "demo@example.com", "admin@example.com"
KILL_WAIT = 5.0  # seconds from SIGTERM to SIGKILL, as honcho has it
READY_WITHIN = 180.0  # seconds; a cold disk reads PyTorch slowly


class CannotStart(Exception):
    """Something the person at the terminal must mend first; the message says what and how."""


@dataclass(frozen=True)
class Service:
    """One process of the product: its name in the logs, its command, the address that says when it is ready.

    One without such an address is not waited for. niceness: 0 to 19, the higher, the more it waits for others that want
    the same core.
    """

    name: str
    command: list[str]
    env: Mapping[str, str]
    ready_url: str = ""
    niceness: int = 0

    @property
    def nice_command(self) -> list[str]:
        return ["nice", "-n", str(self.niceness), *self.command]


def main() -> int:
    """Prepares, starts everything, and returns the exit status once all of it has stopped."""
    began = time.monotonic()
    os.chdir(ROOT)
    if sys.stdout is not None:  # else whoever started us has closed it
        sys.stdout = Output(sys.stdout.fileno())
    try:
        ports = {name: read_port(name, default) for name, default in PORTS.items()}
        for name, port in ports.items():
            require_free(name, port)
        var = Path(os.environ.get("VAR_DIR", ROOT / "var")).resolve()
        var.mkdir(mode=0o700, parents=True, exist_ok=True)  # keys, sessions and questions are nobody else's business
        made_up = read_or_make_secrets(var / "secrets.env")
        env = environment(var, ports, made_up)
        train_missing_samples(env)
        run([sys.executable, "manage.py", "prepare"], env)
    except CannotStart as problem:
        print(f"Cannot start: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before anything was started.", file=sys.stderr)
        return 130
    return supervise(services(ports, env), announcement(env, var / "secrets.env"), began)


class Output(io.TextIOBase):
    """Standard output without a buffer, so that what a signal prints may come in the middle of another line.

    Once nobody reads it any more (`make run | head -1`), what is printed goes nowhere, and all else goes on: else the
    first line too many would end the supervisor alone, and nobody could end the rest.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        left = text.encode(errors="replace")
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._descriptor)
            os.close(nowhere)
        return len(text)

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


# What has to be there first -------------------------------------------------------------------------------------------

PORTS = {"PORT": 8000, "SCORING_CPU_PORT": 8001, "SCORING_GPU_PORT": 8002}


def read_port(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise CannotStart(f"{name} must be a port from 1 to 65535, not {value!r}.")
    return int(value)


def require_free(name: str, port: int) -> None:
    """Raises CannotStart when another program listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CannotStart(
                f"port {port} cannot be used ({error.strerror}). Stop the program that holds it, or choose another "
                f"port: {name}={port + 1000} make run"
            ) from error


def read_or_make_secrets(path: Path) -> dict[str, str]:
    """The secrets kept in the file, after making up the ones it lacks. Only the owner can read the file."""
    kept = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line) if path.exists() else {}
    missing = [name for name in SECRET_NAMES if name not in kept]
    if missing:
        for name in missing:
            kept[name] = secrets.token_urlsafe(12 if name.endswith("PASSWORD") else 48)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in kept.items())
    path.chmod(0o600)
    return kept


def environment(var: Path, ports: Mapping[str, int], made_up: Mapping[str, str]) -> dict[str, str]:
    """The environment of all processes. What the caller has set wins over our defaults."""
    defaults = {
        "VAR_DIR": str(var),
        "MODEL_STORE": str(var / "models"),
        "PUBLIC_URL": f"http://{HOST}:{ports['PORT']}",
        "SCORING_CPU_URL": f"http://{HOST}:{ports['SCORING_CPU_PORT']}",
        "SCORING_GPU_URL": f"http://{HOST}:{ports['SCORING_GPU_PORT']}",
        "ADMIN_MFA_REQUIRED": "off",  # nobody but this machine's own people reaches the site
        "WEBHOOK_ALLOW_PRIVATE": "on",  # likewise: what listens to events here is theirs
        "LOG_FORMAT": "console",
        "PYTHONUNBUFFERED": "1",
        "DEMO_EMAIL": DEMO_EMAIL,
        "ADMIN_EMAIL": ADMIN_EMAIL,
    }
    return {**defaults, **made_up, **os.environ}


def train_missing_samples(env: Mapping[str, str]) -> None:
    """Trains each sample model the store does not have yet; the trainers show their own progress."""
    store = Path(env["MODEL_STORE"])
    samples = sorted(str(path) for path in (ROOT / "webapp" / "faq" / "sample").glob("*.jsonl"))
    faq = ["train-faq", "--model", "faq-javascript", "--title", "JavaScript FAQ (sample)", "--sample"]
    commands = {
        "faq-javascript": [*faq, "--entries", *samples],
        "digits": ["train-digits"],
    }
    for model, command in commands.items():
        if not (store / model / "routing.json").exists():
            print(f"Training the sample model {model}; this happens once.", flush=True)
            run([sys.executable, "-m", "scoring_service", *command], env)


def run(command: list[str], env: Mapping[str, str]) -> None:
    """Runs it to its end. What it prints comes through us, for it would fail where nobody reads that any more."""
    with subprocess.Popen(
        command, env=dict(env), cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            print(line, end="")
    if process.returncode:
        raise CannotStart(f"`{shlex.join(command[1:4])}` failed; the lines above say why.")


# What runs ------------------------------------------------------------------------------------------------------------


def services(ports: Mapping[str, int], env: Mapping[str, str]) -> list[Service]:
    pods = [
        Service(
            name=f"scoring-{pool}",
            # Who wants the same core is let go first in this order: pages, pods, worker. A batch keeps all cores of a
            # pod busy for hours, and whoever searches meanwhile needs one for the page.
            niceness=5,
            command=[sys.executable, "-m", "scoring_service", "serve"],
            ready_url=f"http://{HOST}:{ports[port]}/v2/health/ready",
            # No load balancer has to notice that this pod goes, so it need not linger.
            env={**env, "SCORING_POOL": pool, "SCORING_PORT": str(ports[port]), "SCORING_NOT_READY_S": "0"},
        )
        for pool, port in (("cpu", "SCORING_CPU_PORT"), ("gpu", "SCORING_GPU_PORT"))
    ]
    web = Service(
        name="web",
        command=[sys.executable, "-m", "gunicorn", "--config", "webapp/gunicorn_conf.py", "webapp.wsgi"],
        ready_url=f"http://{HOST}:{ports['PORT']}/health/ready",
        env={**env, "WEB_BIND": f"{HOST}:{ports['PORT']}"},
    )
    worker = Service(
        name="worker",
        niceness=10,
        # What the options leave out is talk among workers; there is one.
        command=[
            *(sys.executable, "-m", "celery", "--quiet", "--app", "webapp.celery", "worker"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        env={"WORKER_BEAT": "on", **env},
    )
    return [web, *pods, worker]


class Restarting(Process):  # type: ignore[misc]  # honcho ships no types
    """A process that is started again when it ends by itself, until it ends `MAX_QUICK_ENDS` times in a row at once."""

    MAX_QUICK_ENDS = 5
    QUICK = 10.0  # seconds

    stopping: EventType  # set by the supervisor before it ends its processes

    def run(self, events: object = None, ignore_signals: bool = False) -> None:
        self.quick_ends, self.again = 0, True
        threading.Thread(target=self._end_with_the_supervisor, daemon=True).start()
        while self.again:
            self.began = time.monotonic()
            super().run(events, ignore_signals)

    def _end_with_the_supervisor(self) -> None:
        """Ends the process when the supervisor was killed: nobody would ever end it, or see that it is there."""
        supervisor = os.getppid()
        while os.getppid() == supervisor:
            time.sleep(0.5)
            self._end_what_it_left()
        self.stopping.set()
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, sig)
            time.sleep(KILL_WAIT)
        os._exit(1)

    def _end_what_it_left(self) -> None:
        """Ends the children of a process that was killed: gunicorn's take in nothing new, yet it waits for them."""
        child = self._child
        if child is not None and child.poll() is not None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def _send_message(self, data: object, type: str = "line") -> None:  # noqa: A002  # honcho's own name
        """Sends on what the supervisor may know: that the process stopped only when it stays so."""
        if type == "stop":
            quick = time.monotonic() - self.began < self.QUICK
            self.quick_ends = self.quick_ends + 1 if quick else 0
            self.again = self.quick_ends < self.MAX_QUICK_ENDS and not self.stopping.wait(timeout=1)
            if self.again:
                data, type = b"ended by itself; starting it again\n", "line"  # noqa: A001  # honcho's own name
        super()._send_message(data, type)


class Supervisor(Manager):  # type: ignore[misc]  # honcho ships no types
    """honcho's manager, but one process that ends is started again instead of ending all the others."""

    def __init__(self) -> None:
        super().__init__()
        self.stopping = Event()
        self._process_ctor = self._restarting

    def _restarting(self, *args: object, **options: object) -> Restarting:
        process = Restarting(*args, **options)
        process.stopping = self.stopping
        return process

    def terminate(self) -> None:
        self.stopping.set()
        super().terminate()


def supervise(running: list[Service], announce: str, began: float) -> int:
    """Runs the services until Ctrl-C, and says when they are all ready."""
    supervisor = Supervisor()
    for service in running:
        supervisor.add_process(
            service.name, f"exec {shlex.join(service.nice_command)}", env=dict(service.env), cwd=str(ROOT)
        )
    threading.Thread(target=announce_when_ready, args=(running, announce, began), daemon=True).start()
    supervisor.loop()
    # Ctrl-C is how one stops it: not a failure.
    return (
        0 if supervisor.stopping.is_set() and supervisor.returncode in {130, 143} else int(supervisor.returncode or 0)
    )


def announce_when_ready(running: list[Service], announce: str, began: float) -> None:
    give_up_at = time.monotonic() + READY_WITHIN
    for waiting in not_ready_yet(running):
        if time.monotonic() > give_up_at:
            print(f"Not ready after {READY_WITHIN:.0f} s: {', '.join(waiting)}. Their lines above say why.", flush=True)
            give_up_at = float("inf")  # said once; it may still come
        time.sleep(0.1)
    print(f"\n{announce}\n  Ready after {time.monotonic() - began:.1f} s. Ctrl-C stops everything.\n", flush=True)


def not_ready_yet(running: list[Service]) -> Iterator[list[str]]:
    """The names of the services that are not ready, each time it is asked, until there are none."""
    while waiting := [each.name for each in running if each.ready_url and not answers(each.ready_url)]:
        yield waiting


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def announcement(env: Mapping[str, str], kept_in: Path) -> str:
    address = env["PUBLIC_URL"]
    return "\n".join(
        [
            f"  Scorepod runs at  {address}",
            f"  Demo user         {env['DEMO_EMAIL']}   {env['DEMO_PASSWORD']}",
            f"  Admin user        {env['ADMIN_EMAIL']}  {env['ADMIN_PASSWORD']}   ({address}/admin/)",
            f"  Passwords made up at the first start are kept in {kept_in}.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
