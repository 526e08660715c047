"""What an operator does to models, with nothing but HTTP; and the callers who notice nothing of it."""

import io
import itertools
import json
import ssl
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.cluster import Cluster, wait_until
from tests.system.site_client import sign_in

QUESTIONS = ("how do I copy an array", "what is a closure", "remove duplicates from an array", "wait for a promise")
CALLERS = 4  # threads
PACE = 0.1  # seconds: together they ask some 35 questions a second, and leave the machine to those who answer

# Who asks: each key belongs to a person of its own, so that a share of the keys is a share of independent draws.
MAKE_KEYS = """
import json
from webapp.accounts.models import User
from webapp.keys import services
people = [User.objects.create(email=f"caller-{{n}}@example.com") for n in range({count})]
print(json.dumps([services.create(each, name="caller", scopes={scopes}).secret for each in people]))
"""


def make_keys(cluster: Cluster, count: int, *scopes: str) -> list[str]:
    """Keys for questions unless other scopes are named; once in a cluster."""
    code = MAKE_KEYS.format(count=count, scopes=list(scopes or ("faq:read",)))
    return json.loads(cluster.manage("shell", "-v0", "-c", code).splitlines()[-1])


class Operator:
    """The administrator at the admin's pages of one model. `http`: a browser's session with the site."""

    def __init__(self, cluster: Cluster, model: str, http: httpx.Client) -> None:
        self.cluster = cluster
        self.model = model
        self.http = http
        sign_in(http, "admin@example.com", cluster.env["ADMIN_PASSWORD"])
        self.key = self._make_key()

    def _make_key(self) -> str:
        answer = self._post("/keys/", {"name": "operator", "scopes": ["faq:read", "admin:read", "models:pin"]})
        return "sp_" + answer.text.partition("sp_")[2].split("<")[0].split('"')[0]

    def _post(self, path: str, fields: Mapping[str, Any], **more: Any) -> httpx.Response:
        token = {"csrfmiddlewaretoken": self.http.cookies["csrf"]}
        return self.http.post(path, data={**fields, **token}, headers={"Referer": self.cluster.url}, **more)

    def do(self, action: str, version: str | None = None, **fields: Any) -> str:
        """Confirms an action of the model's page or, with a version, of the version's; returns the page after it."""
        at = f"/admin/models/{self.model}/" + (f"versions/{version}/" if version else "") + action
        answer = self._post(at, fields)
        assert answer.status_code == 302, f"{action}: {answer.status_code} {answer.text[:2000]}"
        return self.http.get(answer.headers["Location"]).raise_for_status().text

    def upload(self, artifact: bytes) -> str:
        """Uploads a version as the page's script does; returns its name."""
        answer = self._post(
            f"/admin/models/{self.model}/upload",
            {},
            files={"artifact": ("version.zip", artifact, "application/zip")},
        )
        assert answer.status_code == 302, answer.text[:2000]
        return answer.headers["Location"].rstrip("/").rpartition("/")[2]

    # What it has come to

    def _get(self, path: str) -> dict[str, Any]:
        return self.http.get(path, headers={"Authorization": f"Bearer {self.key}"}).raise_for_status().json()

    def page(self, path: str) -> str:
        """A page of the model in the admin."""
        return self.http.get(f"/admin/models/{self.model}/{path}").raise_for_status().text

    def versions(self) -> dict[str, dict[str, Any]]:
        """Each version of the model by its name: state, role, percent …"""
        [model] = [each for each in self._get("/api/v1/models")["models"] if each["name"] == self.model]
        return {version["version"]: version for version in model["versions"]}

    def state(self, version: str) -> str:
        return self.versions()[version]["state"]

    def events(self) -> list[dict[str, Any]]:
        """What happened to the model, newest first."""
        return self._get(f"/api/v1/models/{self.model}/history?limit=100")["data"]

    def kinds(self, version: str) -> list[str]:
        """What happened to the version, oldest first."""
        return [event["kind"] for event in reversed(self.events()) if event["version"] == version]

    def wait_for(self, kind: str, version: str, *, times: int = 1, within: float = 60) -> float:
        """Returns the seconds it took until the event of that kind had happened to the version so many times."""
        return wait_until(
            f"{kind} of {version}; {self.events()[:3]}", lambda: self.kinds(version).count(kind) >= times, within
        )

    def register(self, *artifacts: bytes) -> list[str]:
        """Uploads versions, and waits until all have passed their checks."""
        names = [self.upload(artifact) for artifact in artifacts]
        unchecked = {"registered", "checking"}
        wait_until("checked", lambda: not unchecked.intersection(map(self.state, names)), within=120)
        assert {self.state(name) for name in names} == {"ready"}, self.events()
        return names


@contextmanager
def operating(cluster: Cluster, model: str) -> Iterator[Operator]:
    with httpx.Client(base_url=cluster.url, timeout=30, trust_env=False) as http:
        yield Operator(cluster, model, http)


def zipped(folder: Path, **manifest: Any) -> bytes:
    """The version in the folder as an artifact to upload; manifest: fields of its manifest to change."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.name != "manifest.json" and path.is_file():
                file.write(path, path.relative_to(folder).as_posix())
        described = {**json.loads((folder / "manifest.json").read_text()), **manifest}
        file.writestr("manifest.json", json.dumps(described))
    return archive.getvalue()


@dataclass(frozen=True)
class Asked:
    """One question of a caller. began: by the clock of time.monotonic; version: that answered, "" after a failure."""

    caller: int
    began: float
    seconds: float
    status: int
    version: str
    said: str


@contextmanager
def at_it(keep_on: Callable[[threading.Event], None], threads: int) -> Iterator[None]:
    """So many threads do it while the block runs, and for a moment before and after; they end at the event."""
    stop = threading.Event()
    running = [threading.Thread(target=keep_on, args=(stop,)) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        time.sleep(0.5)
        yield
        time.sleep(0.5)
    finally:
        stop.set()
        for thread in running:
            thread.join()


@dataclass
class Traffic:
    """Callers who ask again and again, each with the next of the keys.

    pace: seconds between two questions of one caller. forgiven: failures that a test expects. tls: what they trust;
    None: what is known everywhere. kept: whether they ask all on one connection each.
    """

    url: str
    keys: Sequence[str]
    pace: float = PACE
    questions: Sequence[str] = QUESTIONS
    tls: ssl.SSLContext | None = None
    kept: bool = True
    asked: list[Asked] = field(default_factory=list)
    forgiven: list[Asked] = field(default_factory=list)

    @property
    def failed(self) -> list[Asked]:
        return [each for each in self.asked if each.status != 200]

    def between(self, start: float, end: float = float("inf")) -> list[Asked]:
        """What was asked and answered in that time."""
        return [each for each in self.asked if start <= each.began and each.began + each.seconds <= end]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Callers ask while the block runs, and for a moment before and after."""
        turns = itertools.count()  # the next number of a count is taken by one thread only

        def keep_asking(stop: threading.Event) -> None:
            limits = httpx.Limits(max_keepalive_connections=None if self.kept else 0)
            tls = True if self.tls is None else self.tls
            with httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=tls, limits=limits) as http:
                while not stop.is_set():
                    turn = next(turns)
                    question = self.questions[turn % len(self.questions)]
                    self.asked.append(self._ask(http, turn % len(self.keys), question))
                    time.sleep(self.pace)

        with at_it(keep_asking, CALLERS):
            yield

    def _ask(self, http: httpx.Client, caller: int, question: str) -> Asked:
        began = time.monotonic()
        try:
            answer = http.post(
                "/api/v1/faq/match",
                json={"question": question, "top_k": 3},
                headers={"Authorization": f"Bearer {self.keys[caller]}"},
            )
        except httpx.TransportError as error:
            return Asked(caller, began, time.monotonic() - began, 0, "", repr(error))
        version = answer.json()["version"] if answer.status_code == 200 else ""
        said = "" if version else answer.text
        return Asked(caller, began, time.monotonic() - began, answer.status_code, version, said)
