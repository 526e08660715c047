"""Images and containers of the tests' own: buildah and podman over a store that nobody else sees.

They work with few rights: in a container or a sandbox too, without systemd, where no registry can be reached.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
# Cgroups that are half of the second kind are refused by crun, not by runc; journald and systemd may be missing.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


@dataclass
class Engine:
    folder: Path
    env: dict[str, str]

    def run(
        self, *command: str | Path, check: bool = True, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command over the store, in the folder of the store: conmon leaves files where it is started."""
        outcome = subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            env=env or self.env,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )
        if check and outcome.returncode:
            raise AssertionError(f"{command}: {outcome.returncode}\n{outcome.stdout[-8000:]}\n{outcome.stderr[-8000:]}")
        return outcome

    def podman(self, *arguments: str | Path, check: bool = True, **options: Any) -> str:
        """What it printed, without blanks around it."""
        return self.run("podman", *arguments, check=check, **options).stdout.strip()

    def build(self, *arguments: str | Path, **env: str) -> str:
        """`docker/build.sh` with these arguments; what it printed."""
        return self.run(ROOT / "docker" / "build.sh", *arguments, env={**self.env, **env}).stdout.strip()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        """kind: image or container."""
        return json.loads(self.podman(kind, "inspect", name))[0]

    def log(self, container: str) -> str:
        """What it has written so far, to standard output and error."""
        outcome = self.run("podman", "logs", container, check=False)
        return outcome.stdout + outcome.stderr

    def remove_containers(self) -> None:
        """All of them. One that another needs is not removed before that one, so it is asked for again."""
        for _ in range(10):
            self.podman("rm", "--all", "--force", "--time", "2", check=False)
            if not self.podman("ps", "--all", "--quiet"):
                return

    def kill(self, container: str) -> None:
        """As the kernel does when memory runs out: the engine learns of it afterwards, and restarts what it should."""
        os.kill(self.inspect("container", container)["State"]["Pid"], signal.SIGKILL)


@contextmanager
def an_engine() -> Iterator[Engine]:
    """A store in a folder of its own, which is removed with all that runs.

    IMAGES_DIR names a folder that stays, so that the next run need not build all anew.
    """
    kept = os.environ.get("IMAGES_DIR")
    folder = Path(kept or tempfile.mkdtemp(prefix="scorepod-images-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    storage = folder / "storage.conf"
    driver = "overlay" if _overlay_works(folder) else "vfs"
    storage.write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n')
    limit = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])  # above it, one needs a capability
    (folder / "containers.conf").write_text(CONTAINERS_CONF.format(files=limit))
    engine = Engine(
        folder,
        {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "BUILDER": "buildah",
            "COMPOSE": f"{sys.executable} -m podman_compose",
            "TMPDIR": str(folder / "tmp"),
        },
    )
    engine.remove_containers()  # of a run that was cut off
    engine.podman("volume", "prune", "--force", check=False)
    try:
        yield engine
    finally:
        engine.remove_containers()
        engine.podman("volume", "prune", "--force", check=False)
        engine.podman("network", "prune", "--force", check=False)
        if not kept:
            engine.podman("system", "reset", "--force", check=False)
            shutil.rmtree(folder, ignore_errors=True)


def _overlay_works(folder: Path) -> bool:
    """Whether layers can be mounted over one another there; else each is a whole copy, and takes that much longer."""
    probe = Path(tempfile.mkdtemp(prefix="probe-", dir=folder))
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir()
    options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
    command = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, str(probe / "merged")]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    finally:
        shutil.rmtree(probe)
