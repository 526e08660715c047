"""The whole stack of docker/compose.yaml but for the pod with PyTorch: started by one command, asked, and killed."""

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cluster import wait_until
from tests.docker.images.engine import ROOT, Engine
from tests.product import free_ports
from tests.system.site_client import sign_in

pytestmark = pytest.mark.images
QUESTION = "how do I copy an object without changing the original"
ALWAYS = ("web", "worker", "trainer", "beat", "scoring-cpu", "postgres", "redis")
LIMITS = [f"RATE_LIMIT_{what}_PER_{whom}" for what in ("REQUESTS", "FAQ", "OTHER") for whom in ("KEY", "USER")]
BATCH_ROWS = 2000
ONCE = ("migrate", "sample-faq")


@dataclass
class Stack:
    engine: Engine
    secrets: Path
    url: str
    env: dict[str, str]
    key: str = ""

    def compose(self, *arguments: str) -> str:
        return self.engine.run(ROOT / "docker" / "compose.sh", *arguments, env=self.env, timeout=600).stdout

    def container(self, service: str) -> str:
        return f"scorepod_{service}_1"

    def state(self, service: str) -> dict[str, object]:
        return self.engine.inspect("container", self.container(service))["State"]

    def ask(self) -> httpx.Response:
        return httpx.post(
            f"{self.url}/score", json={"input": QUESTION}, headers={"Authorization": f"Bearer {self.key}"}, timeout=10
        )

    def answers(self) -> bool:
        try:
            return self.ask().status_code == 200
        except httpx.TransportError:
            return False

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def opened_by(self, secrets: dict[str, str]) -> set[str]:
        """Which of them open what they are for. Their names are those of KNOCK's functions."""
        command = ("exec", "--interactive", self.container("web"), "python3", "-c", KNOCK)
        return {*self.engine.podman(*command, input=json.dumps(secrets) + "\n").split()}

    @contextmanager
    def signed_in(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            sign_in(client, "demo@example.com", self.secret("demo_password"))
            yield client

    def make_key(self, name: str) -> str:
        with self.signed_in() as client:
            form = {"name": name, "scopes": ["faq:read", "batch"], "csrfmiddlewaretoken": client.cookies["csrf"]}
            answer = client.post("/keys/", data=form)
        assert answer.status_code == 201, answer.text
        return re.search(r"sp_\w+_[\w-]+", answer.text).group()

    def batch(self) -> str:
        """Sends a small batch; its address."""
        table = "question\n" + "\n".join(f"{QUESTION} {number}" for number in range(BATCH_ROWS))
        answer = httpx.post(
            f"{self.url}/api/v1/batches",
            files={"file": ("questions.csv", table)},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=30,
        )
        assert answer.status_code in {201, 202}, answer.text
        return f"{self.url}/api/v1/batches/{answer.json()['id']}"

    def done(self, batch: str) -> bool:
        try:
            answer = httpx.get(batch, headers={"Authorization": f"Bearer {self.key}"}, timeout=10)
        except httpx.TransportError:
            return False
        if answer.status_code != 200:
            return False
        assert answer.json()["status"] not in {"failed", "cancelled", "expired"}, answer.text
        return answer.json()["status"] == "completed"

    def rows_of(self, batch: str) -> int:
        """How many rows of a batch have an answer, in the order in which they were sent."""
        answer = httpx.get(f"{batch}/results?format=jsonl", headers={"Authorization": f"Bearer {self.key}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert [row["row"] for row in rows] == list(range(1, len(rows) + 1))
        return sum(bool(row["answers"]) for row in rows)


@pytest.fixture(scope="module")
def stack(built: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    [port] = free_ports(1)
    secrets = tmp_path_factory.mktemp("secrets")
    settings = {"PORT": port, "IMAGE_MODELS": "off", **servers(built), **dict.fromkeys(LIMITS, 1_000_000)}
    (secrets / "site.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    stack = Stack(built, secrets, f"http://127.0.0.1:{port}", {**built.env, "SECRETS": str(secrets)})
    try:
        stack.compose("up")
        wait_until("the sample model is trained", lambda: stack.state("sample-faq")["Status"] == "exited", within=300)
        stack.key = stack.make_key("stack")
        wait_until("a question is answered", stack.answers, within=120)
        yield stack
    finally:
        built.remove_containers()
        built.podman("volume", "prune", "--force")


def servers(engine: Engine) -> dict[str, str]:
    """Which images of PostgreSQL and Redis to run: the official ones, or Debian's where no registry can be reached."""
    if "localhost/" not in (base := engine.build("base")):
        return {}
    names = {}
    for target in ("postgres", "redis"):
        name = names[f"{target.upper()}_IMAGE"] = f"localhost/scorepod-test-{target}:dev"
        here = Path(__file__).parent
        engine.run(
            *("buildah", "build", "--quiet", "--layers", "--format", "docker", "--target", target),
            *("--build-arg", f"BASE={base}", "--tag", name, "--file", here / "standins.Dockerfile", here),
        )
    return names


def test_one_command_starts_everything(stack):
    assert {service: stack.state(service)["Status"] for service in ALWAYS} == dict.fromkeys(ALWAYS, "running")
    assert {service: stack.state(service)["ExitCode"] for service in ONCE} == dict.fromkeys(ONCE, 0)


def test_a_question_is_answered_through_the_site(stack):
    rows = stack.ask().json()
    assert len(rows) == 112
    assert rows == sorted(rows, key=lambda row: -row[2])


def test_the_guide_and_the_static_files_are_there(stack):
    page = httpx.get(f"{stack.url}/api/docs", follow_redirects=True)
    assert page.status_code == 200
    [sheet, *_more] = re.findall(r'href="(/static/[^"]+\.css)"', page.text)
    assert httpx.get(f"{stack.url}{sheet}").status_code == 200


def test_what_containers_say_of_themselves_can_be_read(stack):
    assert "scorepod_requests_total" in stack.compose("get", "web", "/metrics")
    assert json.loads(stack.compose("get", "scoring-cpu", "/v2/pod"))["ready"] is True
    assert stack.compose("get", "worker", "/health/ready").strip() == "ok"


@pytest.mark.parametrize("service", ALWAYS)
def test_every_container_runs_with_as_few_rights_as_the_file_says(stack, service):
    seen = stack.engine.inspect("container", stack.container(service))
    assert seen["HostConfig"]["ReadonlyRootfs"] is True
    assert not seen["EffectiveCaps"]
    assert seen["HostConfig"]["Memory"] > 0
    assert seen["HostConfig"]["PidsLimit"] == 256
    status = stack.engine.podman("exec", stack.container(service), "cat", "/proc/1/status")
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert not re.search(r"^Uid:\t0", status, re.MULTILINE)


@pytest.mark.parametrize("service", ALWAYS)
def test_its_health_command_agrees(stack, service):
    stack.engine.podman("healthcheck", "run", stack.container(service))


def test_a_pod_reaches_nothing_outside(stack):
    look = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=3)"
    outcome = stack.engine.run("podman", "exec", stack.container("scoring-cpu"), "python3", "-c", look, check=False)
    assert "Network is unreachable" in outcome.stderr


def test_no_process_shows_a_secret_and_no_log_tells_one(stack):
    files = {*stack.secrets.iterdir()} - {stack.secrets / "site.env", stack.secrets / "email_url"}
    secrets = {path.read_text().split()[-1] for path in files}
    for service in (*ALWAYS, *ONCE):
        container = stack.engine.podman("container", "inspect", stack.container(service))
        logs = stack.engine.log(stack.container(service))
        assert not [secret for secret in secrets if secret in container or secret in logs], service


@contextmanager
def asking(stack: Stack, right: object) -> Iterator[Counter[int | str]]:
    """Asks without a pause; counts what came back by its status, 0 where nothing did, and "wrong" beside 200."""
    seen: Counter[int | str] = Counter()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answer = stack.ask()
            except httpx.TransportError:
                seen[0] += 1
                ended.wait(0.1)
                continue
            seen[answer.status_code] += 1
            seen["wrong"] += answer.status_code == 200 and answer.json() != right

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield seen
    finally:
        ended.set()
        asker.join()


@pytest.mark.parametrize("service", ALWAYS)
def test_the_stack_recovers_when_a_container_is_killed(stack, service):
    """Meanwhile no answer is wrong or an error of ours; a batch that was under way is finished, with every row."""
    right = stack.ask().json()
    batch = stack.batch()
    before = stack.state(service)["Pid"]
    with asking(stack, right) as seen:
        wait_until("questions are on their way", lambda: seen[200] >= 3)
        stack.engine.kill(stack.container(service))
        wait_until(f"{service} runs again", lambda: stack.state(service)["Pid"] not in {0, before}, within=60)
        wait_until("a question is answered", stack.answers, within=60)
        wait_until("the batch is done", lambda: stack.done(batch), within=120)
    assert seen.pop("wrong") == 0
    assert set(seen) <= {0, 200, 503}, seen
    assert stack.rows_of(batch) == BATCH_ROWS


def test_what_was_written_survives_a_new_start_of_all(stack):
    batch = stack.batch()
    wait_until("the batch is done", lambda: stack.done(batch), within=60)
    stack.compose("down")
    stack.compose("up")
    wait_until("a question is answered", stack.answers, within=60)
    assert stack.rows_of(batch) == BATCH_ROWS


# Tried where the site is. What it is given is a line of JSON: by name of a secret, what is to be tried.
KNOCK = """
import json, urllib.error, urllib.request
import psycopg, redis

def database_url(value):
    psycopg.connect(value).close()

def redis_url(value):
    redis.Redis.from_url(value).ping()

def scoring_token(value):
    headers = {"Authorization": f"Bearer {value}"}
    urllib.request.urlopen(urllib.request.Request("http://scoring-cpu:8001/v2/pod", headers=headers))

opened = []
for name, value in json.loads(input()).items():
    try:
        globals()[name](value)
        opened.append(name)
    except (psycopg.OperationalError, redis.AuthenticationError, urllib.error.HTTPError):
        pass
print(*opened)
"""


def test_new_secrets_open_what_the_old_ones_no_longer_do(stack):
    doors = ("database_url", "redis_url", "scoring_token")
    old = {name: stack.secret(name) for name in doors}
    assert stack.opened_by(old) == {*doors}
    with stack.signed_in() as client:
        stack.compose("rotate", "secret_key", "scoring_token", "webhook_keys", "postgres_password", "redis_password")
        assert client.get("/keys/").status_code == 302
    assert stack.opened_by(old) == set()
    assert stack.opened_by({name: stack.secret(name) for name in doors}) == {*doors}
    wait_until("a key of before opens the site", stack.answers, within=60)
    batch = stack.batch()
    wait_until("the batch is done", lambda: stack.done(batch), within=60)


def test_keys_end_with_the_secret_under_which_they_are_kept(stack):
    stack.compose("rotate", "api_key_hmac_secret")
    assert stack.ask().status_code == 401
    stack.key = stack.make_key("after the rotation")
    wait_until("a new key opens the site", stack.answers, within=60)


def test_a_backup_brings_everything_back_into_an_empty_stack(stack, tmp_path):
    batch = stack.batch()
    wait_until("the batch is done", lambda: stack.done(batch), within=60)
    right = stack.ask().json()
    stack.compose("backup", str(tmp_path / "backup"))
    stack.compose("down", "--volumes")
    shutil.rmtree(stack.secrets)
    stack.compose("restore", str(tmp_path / "backup"))
    wait_until("a question is answered", stack.answers, within=60)
    assert stack.ask().json() == right
    assert stack.rows_of(batch) == BATCH_ROWS
    stack.make_key("afterwards")


def test_a_restore_never_touches_a_stack_that_has_something(stack, tmp_path):
    stack.compose("backup", str(tmp_path / "backup"))
    with pytest.raises(AssertionError, match="has secrets already"):
        stack.compose("restore", str(tmp_path / "backup"))
    assert stack.answers()
