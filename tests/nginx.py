"""A real nginx, whose configuration changes while it runs."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import wait_until
from tests.servers import PROGRAMS


@dataclass
class Nginx:
    """folder: its configuration and logs; it is made by `start` unless it is there."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def logs(self) -> str:
        """All that it has written, also about requests that failed."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def configuration(self, ports: Sequence[int]) -> str:
        """The text of nginx.conf that leads to these ports of this machine."""
        raise NotImplementedError

    def start(self, ports: Sequence[int]) -> None:
        self.folder.mkdir(exist_ok=True)
        self._write(ports)
        with (self.folder / "start.log").open("ab") as log:
            self.process = subprocess.Popen(command(self.folder), stdout=log, stderr=log)
        wait_until(f"nginx has a worker: {self.logs}", self._workers)

    def point_at(self, ports: Sequence[int]) -> None:
        """Returns when everything new goes to these ports of this machine. What has begun elsewhere goes on there."""
        assert self.process
        before = self._workers()
        self._write(ports)
        self.process.send_signal(signal.SIGHUP)
        wait_until(f"a new worker: {self.logs}", lambda: self._workers() - before)
        wait_until("the old ones take nothing more", lambda: all(map(is_going, before & self._workers())))

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def _write(self, ports: Sequence[int]) -> None:
        (self.folder / "nginx.conf").write_text(self.configuration(ports))

    def _workers(self) -> set[str]:
        assert self.process
        pid = self.process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def command(folder: Path) -> list[str]:
    """How nginx is started with the nginx.conf of the folder, as its image does."""
    program = shutil.which("nginx", path=PROGRAMS)
    assert program
    as_we_are = "user root;" if os.getuid() == 0 else ""
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", f"daemon off; {as_we_are}"]


def is_going(worker: str) -> bool:
    """Whether a worker of nginx takes no more connections, or is gone."""
    try:
        return "shutting down" in Path(f"/proc/{worker}/cmdline").read_text()
    except OSError:
        return True
