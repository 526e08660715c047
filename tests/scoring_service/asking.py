"""Asking a pod or the command line, in as few words as a test wants to spend on it."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.pods import CLIENT, Pod
from tests.product import ROOT

INFER = "/v2/models/obedient/infer"


def question(*texts: str, **request: Any) -> dict[str, Any]:
    """The body of an inference request for questions."""
    return {"inputs": [{"name": "question", "datatype": "BYTES", "shape": [len(texts)], "data": texts}], **request}


def ask(pod: Pod, *texts: str, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
    """The pod's answer to the questions, on a connection of its own."""
    return CLIENT.post(f"{pod.url}{INFER}", json=question(*texts, **request), headers=headers)


def answers(response: httpx.Response, output: str = "faq_id") -> list[Any]:
    """The data of one output of a good answer."""
    assert response.status_code == 200, response.text
    [data] = [tensor["data"] for tensor in response.json()["outputs"] if tensor["name"] == output]
    return data


def error_of(response: httpx.Response) -> str:
    """The message of an error in the protocol's form."""
    body = response.json()
    assert response.headers["Content-Type"] == "application/json"
    assert list(body) == ["error"], body
    return body["error"]


def metric(pod: Pod, name: str, **labels: str) -> float:
    """The sum of a metric's series that carry all these labels."""
    total = 0.0
    for line in CLIENT.get(f"{pod.url}/metrics").text.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")).items():
            total += float(found[2])
    return total


class Asking:
    """A request that is under way in a thread of its own."""

    def __init__(self, pod: Pod, *texts: str, **options: Any) -> None:
        self._outcome: httpx.Response | httpx.TransportError | None = None
        self._thread = threading.Thread(target=self._ask, args=(pod, texts, options), daemon=True)
        self._thread.start()

    def _ask(self, pod: Pod, texts: tuple[str, ...], options: dict[str, Any]) -> None:
        try:
            self._outcome = ask(pod, *texts, **options)
        except httpx.TransportError as error:
            self._outcome = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def response(self) -> httpx.Response:
        """The answer, once it is there. Raises what the connection raised."""
        self._thread.join(timeout=60)
        assert self._outcome is not None, "no answer came"
        if isinstance(self._outcome, httpx.TransportError):
            raise self._outcome
        return self._outcome


class Gate:
    """Keeps a pod's model busy: `hold` starts a call that ends when the gate is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row = f"hold {path}"

    def hold(self, pod: Pod) -> Asking:
        """Returns when the model is at it, and nothing else is queued."""
        before = metric(pod, "scoring_queue_seconds_count", model="obedient")
        asking = Asking(pod, self.row)
        pod.wait_until("takes the row", lambda pod: metric(pod, "scoring_queue_seconds_count") > before)
        return asking

    def open(self) -> None:
        self.path.touch()


def wait_for_queue(pod: Pod, rows: int) -> None:
    pod.wait_until(f"has {rows} rows waiting", lambda pod: metric(pod, "scoring_queued_rows") == rows)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`python -m scoring_service` with the arguments and, of the settings, only those in `env`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SCORING_", "MODEL_"))}
    command = [sys.executable, "-m", "scoring_service", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**inherited, **env}, capture_output=True, text=True, check=False)
