"""The whole product as a user starts it: `python -m webapp.embedded` in a folder of its own, on free ports."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READY_WITHIN = 600  # seconds; the first start trains the sample models


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@dataclass
class Product:
    """A running product. `lines` is what it has printed so far."""

    process: subprocess.Popen[str]
    var: Path
    ports: dict[str, int]
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    @property
    def cpu_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SCORING_CPU_PORT']}"

    @property
    def gpu_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['SCORING_GPU_PORT']}"

    @property
    def secrets(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.var / "secrets.env").read_text().splitlines())

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def pids(self, name: str) -> list[int]:
        """Ids of the processes started under that name, the newest last."""
        return [int(pid) for pid in re.findall(rf"{name} started \(pid=(\d+)\)", self.log)]

    def wait_for(self, text: str, *, times: int = 1, within: float = 60) -> None:
        """Returns when the product has printed the text so many times; fails when it ends or does not in time."""
        until = time.monotonic() + within
        while self.log.count(text) < times:
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"never printed {text!r}:\n{self.log[-4000:]}")
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@contextmanager
def started(
    var: Path, ports: dict[str, int] | None = None, *, read: int | None = None, **env: str
) -> Iterator[Product]:
    """Starts the product with its data in `var`, without waiting for it, and ends it on the way out.

    read: how many lines of what it prints are read, before the pipe is closed; None: all.
    """
    if ports is None:
        ports = dict(zip(("PORT", "SCORING_CPU_PORT", "SCORING_GPU_PORT"), free_ports(3), strict=True))
    ours = ("SECRET_KEY", "API_KEY_HMAC_SECRET", "DATABASE_URL", "PUBLIC_URL", "SCORING_CPU_URL", "SCORING_GPU_URL")
    clean = {name: value for name, value in os.environ.items() if name not in {*ours, "LOG_FORMAT", "VAR_DIR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "webapp.embedded"],
        cwd=ROOT,
        env={**clean, "VAR_DIR": str(var), **{name: str(port) for name, port in ports.items()}, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    product = Product(process, var, ports)

    def listen() -> None:
        product.lines.extend(islice(iter(process.stdout.readline, ""), read))
        process.stdout.close()

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    try:
        yield product
    finally:
        try:
            if process.poll() is None:
                product.interrupt()
        finally:
            process.kill()  # one that does not end
            reader.join(timeout=10)


@contextmanager
def running(var: Path, ports: dict[str, int] | None = None, **env: str) -> Iterator[Product]:
    """As `started`, once the product says that it is ready."""
    with started(var, ports, **env) as product:
        product.wait_for("Ready after", within=READY_WITHIN)
        yield product
