"""Whether limits are exact under load: 64 keys at once, through the real site with several processes and a Redis.

    python -m bench.limits [--processes 4] [--requests 40]

Starts Redis, the site under gunicorn and a pod with the sample FAQ in a temporary folder, and has 64 keys of two people
ask as fast as they can, each over a connection of its own. Prints how many requests were let in beside how many should
have been; ends with status 1 where the two differ, or where Redis was too slow to be asked.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Barrier
from urllib.error import URLError
from urllib.request import urlopen

from tests.product import free_ports
from webapp.embedded import environment, read_or_make_secrets

ROOT = Path(__file__).resolve().parents[1]
PEOPLE, KEYS = 2, 32  # a person may have no more than 50 keys
WITHIN = 120  # seconds for everything to be there
FAQ = "faq-javascript"
ME, MATCH = "/api/v1/me", "/api/v1/faq/match"
MAKE_KEYS = """
import json
from webapp.accounts.models import Plan, User
from webapp.keys import services
plan = Plan.objects.create(name={name!r}, **{plan})
secrets = []
for number in range({people}):
    user = User.objects.create_user(f"{{plan.pk}}-{{number}}@example.com", plan=plan)
    for key in range({keys}):
        secrets.append(services.create(user, name=str(key), scopes=["faq:read"]).secret)
print(json.dumps(secrets))
"""


@dataclass(frozen=True)
class Trial:
    """What is tried: the limits of the plan, what is asked, and how many of the requests are to be let in."""

    name: str
    plan: Mapping[str, int]
    path: str
    let_in: int


TRIALS = (
    Trial("the minute of each person", {"other_per_key": 10**6, "other_per_user": 900}, ME, PEOPLE * 900),
    Trial("the minute of each key", {"other_per_key": 25, "other_per_user": 10**6}, ME, PEOPLE * KEYS * 25),
    Trial(
        "the month of each person",
        {"faq_per_key": 10**6, "faq_per_user": 10**6, "month_rows_per_user": 300},
        MATCH,
        PEOPLE * 300,
    ),
)


@dataclass(frozen=True)
class Site:
    """A running site. log: the file that its processes write to."""

    port: int
    env: dict[str, str]
    log: Path

    def keys(self, name: str, plan: Mapping[str, int]) -> list[str]:
        """New keys of new people with such a plan."""
        script = MAKE_KEYS.format(name=name, plan=dict(plan), people=PEOPLE, keys=KEYS)
        said = subprocess.run(
            [sys.executable, "manage.py", "shell", "-v0", "-c", script],
            cwd=ROOT, env=self.env, check=True, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip
        return list(json.loads(said.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=4, help="of the site (default 4)")
    parser.add_argument("--requests", type=int, default=40, help="of each key (default 40)")
    options = parser.parse_args()
    exact = True
    with (
        tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder,
        site(Path(folder), processes=options.processes, scoring=True) as running,
    ):
        print(f"{'':28}{'asked':>8}{'let in':>8}{'quota':>8}{'req/s':>8}")
        for trial in TRIALS:
            began = time.monotonic()
            statuses = ask(running, trial, options.requests)
            took = time.monotonic() - began
            asked, let_in = sum(statuses.values()), statuses[200]
            others = {status: count for status, count in statuses.items() if status not in {200, 429}}
            print(f"{trial.name:28}{asked:8}{let_in:8}{trial.let_in:8}{asked / took:8.0f} {others or ''}", flush=True)
            exact &= let_in == trial.let_in and not others and took < 60  # else the first of the minute are free again
        if "rate_limits_unavailable" in running.log.read_text():
            exact = False
            print("Redis did not answer in time, and requests were let through uncounted.")
    sys.exit(0 if exact else 1)


def ask(site: Site, trial: Trial, requests: int) -> Counter[int]:
    """The statuses of so many requests of each key, all keys at once."""
    keys = site.keys(trial.name, trial.plan)
    gate = Barrier(len(keys))

    def work(key: str) -> Counter[int]:
        gate.wait()
        return Counter(_statuses(site.port, key, trial.path, requests))

    with ThreadPoolExecutor(len(keys)) as threads:
        return sum(threads.map(work, keys), Counter())


def _statuses(port: int, key: str, path: str, requests: int) -> Iterator[int]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json.dumps({"question": "how do I copy an array"}) if path == MATCH else None
    try:
        for _ in range(requests):
            connection.request("POST" if body else "GET", path, body, headers)
            answer = connection.getresponse()
            answer.read()
            yield answer.status
    finally:
        connection.close()


# What runs ------------------------------------------------------------------------------------------------------------


@contextmanager
def site(var: Path, *, processes: int, scoring: bool) -> Iterator[Site]:
    """A site of so many processes with a Redis of its own, and where it is to score with a pod."""
    ports = dict(zip(("PORT", "SCORING_CPU_PORT", "SCORING_GPU_PORT", "REDIS"), free_ports(4), strict=True))
    made_up = read_or_make_secrets(var / "secrets.env")
    env = {
        **os.environ,
        **environment(var, ports, made_up),
        "VAR_DIR": str(var),
        "REDIS_URL": f"redis://127.0.0.1:{ports['REDIS']}/0",
        "WEB_BIND": f"127.0.0.1:{ports['PORT']}",
        "WEB_WORKERS": str(processes),
        "WEB_THREADS": "24",  # a connection holds none while it waits, and 64 of them come
        "LOG_LEVEL": "WARNING",
    }
    redis = ["redis-server", "--port", str(ports["REDIS"]), "--save", "", "--dir", str(var)]
    web = [sys.executable, "-m", "gunicorn", "--config", "webapp/gunicorn_conf.py"]
    pod = [sys.executable, "-m", "scoring_service", "serve"]
    of_pod = {"SCORING_POOL": "cpu", "SCORING_PORT": str(ports["SCORING_CPU_PORT"]), "SCORING_NOT_READY_S": "0"}
    ready = [f"http://127.0.0.1:{ports['PORT']}/health/ready"]
    if scoring:
        _prepare_model(var / "models", env)
        ready.append(f"http://127.0.0.1:{ports['SCORING_CPU_PORT']}/v2/health/ready")
    with ExitStack() as stack:
        stack.enter_context(_running(redis, env, var / "redis.log"))
        prepare = [sys.executable, "manage.py", *(["prepare"] if scoring else ["migrate", "-v0"])]
        subprocess.run(prepare, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
        stack.enter_context(_running(web, env, var / "web.log"))
        if scoring:
            stack.enter_context(_running(pod, {**env, **of_pod}, var / "pod.log"))
        _wait_for(ready)
        yield Site(ports["PORT"], env, var / "web.log")


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str], log_file: Path) -> Iterator[None]:
    with log_file.open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _prepare_model(store: Path, env: Mapping[str, str]) -> None:
    """The sample FAQ, from var/models when `make run` has trained it already."""
    if (ROOT / "var" / "models" / FAQ).exists():
        shutil.copytree(ROOT / "var" / "models" / FAQ, store / FAQ)
        return
    entries = sorted(map(str, (ROOT / "webapp" / "faq" / "sample").glob("*.jsonl")))
    train = ["train-faq", "--model", FAQ, "--title", "JavaScript FAQ (sample)", "--sample", "--entries", *entries]
    subprocess.run([sys.executable, "-m", "scoring_service", *train], cwd=ROOT, env=dict(env), check=True)


def _wait_for(urls: Sequence[str]) -> None:
    until = time.monotonic() + WITHIN
    waiting = list(urls)
    while waiting:
        if time.monotonic() > until:
            sys.exit(f"Not ready: {', '.join(waiting)}")
        try:
            with urlopen(waiting[0], timeout=5):
                waiting.pop(0)
        except (URLError, OSError):
            time.sleep(0.2)


if __name__ == "__main__":
    main()
