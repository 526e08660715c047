"""Servers that tests start, stop and kill: a Redis and a PostgreSQL of their own, on free ports."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.product import free_ports

# Where Debian puts PostgreSQL's programs and nginx: not on everybody's PATH.
PROGRAMS = os.pathsep.join([*map(str, Path("/usr/lib/postgresql").glob("*/bin")), os.environ["PATH"], "/usr/sbin"])


@dataclass
class Redis:
    """It keeps nothing: started again, it is empty."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        with redis.Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert time.monotonic() < until, "Redis does not answer"
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@dataclass
class PostgreSQL:
    """It refuses to run as root, so there it runs as the user of its package."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Of the database that is there from the beginning, empty."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync")

    def start(self) -> None:
        where = f"-F -p {self.port} -k {self.folder} -h 127.0.0.1"
        self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", where, "start")

    def stop(self) -> None:
        """As by a lost machine: whoever is connected is cut off."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [shutil.which(program, path=PROGRAMS), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **_who())


def _who() -> dict[str, str]:
    return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}


@contextmanager
def a_redis(folder: Path) -> Iterator[Redis]:
    """A running Redis."""
    [port] = free_ports(1)
    server = Redis(port, folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def a_postgresql() -> Iterator[PostgreSQL]:
    """A running PostgreSQL."""
    [port] = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="scorepod-postgresql-"))
    if _who():
        shutil.chown(folder, "postgres", "postgres")
    server = PostgreSQL(port, folder)
    try:
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)
