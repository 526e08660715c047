"""A PostgreSQL of our own on a free port. It refuses to run as root, so there it runs as the user of its package."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import POSTGRESQL
from tests.product import free_ports


@pytest.fixture(scope="package")
def database_url() -> Iterator[str]:
    """Where an empty database waits."""
    who = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    [port] = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="scorepod-postgresql-"))
    if who:
        shutil.chown(folder, "postgres", "postgres")

    def run(program: str, *arguments: str) -> None:
        command = [shutil.which(program, path=POSTGRESQL), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)

    try:
        run("initdb", "--auth=trust", "--username=postgres", "--no-sync")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -h 127.0.0.1", "start")
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
