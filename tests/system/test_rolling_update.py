"""New pods take the place of old ones while people ask, as the manifests have it: nobody's request is lost.

First those of the site: gunicorn and the proxy beside it are a pod. Then scoring pods, which the site asks, and others.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cluster import OBEDIENT, Cluster, Program, cluster, wait_until
from tests.k8s import manifests
from tests.nginx import command
from tests.product import free_ports
from tests.rollout import GATEWAY, SERVICE, Deployment, Front, Pod, Rules
from tests.scoring_service import obedient
from tests.system.operating import QUESTIONS, Traffic, at_it, make_keys
from tests.system.site_client import sign_in

MODEL, SLOW = "faq-javascript", "takes-its-time"
REPLICAS = 2
LATE = 0.8  # of the time that preStop gives them, load balancers need
NUMBER = count(1)


@pytest.fixture(scope="module")
def objects() -> list[manifests.Object]:
    return manifests.render("base")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder in a store."""
    store = tmp_path_factory.mktemp("rolling")
    obedient.write(store, MODEL, parameters={"answers": {question: [["js-020", 0.9]] for question in QUESTIONS}})
    return store / MODEL


@dataclass
class Callers:
    """Threads that do the same again and again. what: does it once and returns the answer. failed: what went wrong."""

    what: Callable[[], httpx.Response]
    threads: int = 2
    pace: float = 0.05  # seconds between two requests of a thread
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        def keep_on(stop: threading.Event) -> None:
            while not stop.wait(self.pace):
                try:
                    answer = self.what()
                except httpx.TransportError as error:
                    self.failed.append(repr(error))
                else:
                    if answer.status_code == 200:
                        self.answered += 1
                    else:
                        self.failed.append(f"{answer.status_code} {answer.text[:200]}")

        with at_it(keep_on, self.threads):
            yield


# The site -------------------------------------------------------------------------------------------------------------


def web_pod(site: Cluster, objects: list[manifests.Object], env: Mapping[str, str]) -> Pod:
    """gunicorn with the proxy of its pod in front. env: what the manifest gives it."""
    name = f"web-{next(NUMBER)}"
    port, inside = free_ports(2)
    own = {**{key: value for key, value in env.items() if key.startswith("WEB_")}, "WEB_BIND": f"127.0.0.1:{inside}"}
    gunicorn = [sys.executable, "-m", *manifests.workload(objects, "web").container("web")["command"]]
    folder = site.var / f"{name}-proxy"
    folder.mkdir()
    for file, text in manifests.find(objects, "ConfigMap", "proxy-config")["data"].items():
        here = text
        for found, put in (
            (r"listen \[::\]:8080.*\n", ""),
            ("listen 8080", f"listen 127.0.0.1:{port}"),
            (r"server 127\.0\.0\.1:8000", f"server 127.0.0.1:{inside}"),
            ("/tmp/|/etc/nginx/", f"{folder}/"),
            ("/dev/stderr", f"{folder}/error.log"),
        ):
            here = re.sub(found, put, here)
        (folder / file).write_text(here)
    proxy = Program(f"{name}-proxy", command(folder), site.env, site.var / f"{name}-proxy.log")
    main = Program(name, gunicorn, {**site.env, **own}, site.var / f"{name}.log")
    return Pod(port, inside, main, [proxy])


@pytest.fixture(scope="module")
def webs(objects, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Deployment]]:
    """Two pods of the site behind a gateway, with scoring pods and a worker."""
    folder = tmp_path_factory.mktemp("webs")
    gateway = Front(folder / "gateway", port=free_ports(1)[0], form=GATEWAY)
    proxies = {"PUBLIC_URL": gateway.url, "TRUSTED_PROXY_COUNT": "1"}
    with cluster(folder / "var", model, web=False, **proxies) as site:
        rules = Rules.of(objects, "web", "web")
        deployment = Deployment(rules, gateway, LATE * rules.pre_stop, lambda: web_pod(site, objects, rules.env))
        try:
            deployment.start(REPLICAS)
            yield site, deployment
        finally:
            deployment.stop()


@pytest.fixture(scope="module")
def key(webs) -> str:
    [key] = make_keys(webs[0], 1, "faq:read", "batch")
    return key


def slow_upload(url: str, key: str, ended: threading.Event) -> httpx.Response:
    """A batch whose upload lasts until `ended`, and a little longer."""
    head, line = b"question\n" + b"how do I copy an array\n" * 20_000, b"what is a closure\n"
    lines = 120

    def slowly() -> Iterator[bytes]:
        yield head
        for _ in range(lines - 1):
            ended.wait(0.5)
            yield line
        time.sleep(1)
        yield line

    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "text/csv",
        "Content-Length": str(len(head) + lines * len(line)),
    }
    return httpx.post(f"{url}/api/v1/batches", content=slowly(), headers=headers, timeout=60)


def arriving(site: Cluster) -> int:
    """Uploads on their way to the disk."""
    return len(list((site.var / "batches" / "incoming").glob("*")))


def test_new_pods_of_the_site_cost_no_request(webs, key):
    """People search on the page, programs ask, and somebody has been sending a file since before the first one went."""
    site, deployment = webs
    url = deployment.front.url
    programs, told = Traffic(url, [key], kept=False), threading.Event()
    with httpx.Client(base_url=url, timeout=30) as browser, ThreadPoolExecutor() as threads:
        sign_in(browser, "admin@example.com", site.env["ADMIN_PASSWORD"])
        people = Callers(lambda: browser.get("/faq/", params={"q": QUESTIONS[0]}))
        uploads = [threads.submit(slow_upload, url, key, told) for _ in range(2 * REPLICAS)]
        wait_until("the uploads have begun", lambda: arriving(site) == len(uploads))
        with programs.flowing(), people.flowing():
            rolled = threads.submit(deployment.replace_all)
            wait_until("all have been told", lambda: len(deployment.told) == REPLICAS or rolled.done())
            told.set()
            old = rolled.result()
        answers = [each.result() for each in uploads]
    assert programs.failed == []
    assert people.failed == []
    assert [answer.status_code for answer in answers] == [202] * len(uploads), [answer.text for answer in answers]
    assert len(programs.asked) > 100
    assert people.answered > 100
    for pod in [*old, *deployment.pods]:
        assert "/api/v1/faq/match" in pod.main.log, f"{pod.main.name} was asked nothing"


def test_pods_of_the_site_that_end_before_the_gateway_knows_cost_requests(webs, key):
    """So what the test above sees is the work of the manifests' pause."""
    _, deployment = webs
    hasty = replace(deployment, rules=replace(deployment.rules, pre_stop=0))
    programs = Traffic(deployment.front.url, [key], kept=False)
    try:
        with programs.flowing():
            hasty.replace_all()
    finally:
        deployment.pods = hasty.pods
    assert programs.failed
    assert {each.status for each in programs.failed} <= {502, 503}


# Scoring pods ---------------------------------------------------------------------------------------------------------


def scoring_pod(site: Cluster, env: Mapping[str, str]) -> Pod:
    """A pod that serves what its routing says. env: what the manifest gives it."""
    name = f"scoring-{next(NUMBER)}"
    [port] = free_ports(1)
    given = {key: env[key] for key in ("SCORING_POOL", "SCORING_NOT_READY_S", "SCORING_DRAIN_S")}
    own = {**site.env, **given, "SCORING_PORT": str(port)}
    return Pod(port, port, Program(name, [sys.executable, *OBEDIENT], own, site.var / f"{name}.log"))


@pytest.fixture(scope="module")
def pods(objects, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Deployment]]:
    """Two scoring pods behind their Service, and a site that asks them there."""
    folder = tmp_path_factory.mktemp("pods")
    service = Front(folder / "service", port=free_ports(1)[0], form=SERVICE)
    with cluster(folder / "var", model, SCORING_CPU_URL=service.url) as site:
        site.kill("pod-1", "pod-2", "balancer")  # others take their place
        obedient.write(site.store, SLOW)
        rules = Rules.of(objects, "scoring-cpu", "scoring")
        deployment = Deployment(rules, service, LATE * rules.pre_stop, lambda: scoring_pod(site, rules.env))
        try:
            deployment.start(REPLICAS)
            yield site, deployment
        finally:
            deployment.stop()


def asked(text: str) -> dict[str, object]:
    """The body of a request to a pod, with one question."""
    return {"inputs": [{"name": "question", "datatype": "BYTES", "shape": [1], "data": [text]}]}


def test_new_scoring_pods_cost_no_request(pods, tmp_path):
    """The site asks, programs ask the pods themselves, and calls that began before the first pod went take their time.

    All keep their connections, as they do in a cluster, until a pod ends them.
    """
    site, deployment = pods
    url, gate = deployment.front.url, tmp_path / "gate"
    people, [key] = Traffic(site.url, make_keys(site, 1)), [site.env["SCORING_TOKEN"]]
    headers = {"Authorization": f"Bearer {key}"}

    def slow_call() -> httpx.Response:
        return httpx.post(f"{url}/v2/models/{SLOW}/infer", json=asked(f"hold {gate}"), headers=headers, timeout=60)

    with httpx.Client(base_url=url, headers=headers, timeout=30) as http, ThreadPoolExecutor(20) as threads:
        programs = Callers(lambda: http.post(f"/v2/models/{MODEL}/infer", json=asked(QUESTIONS[0])))
        slow = [threads.submit(slow_call) for _ in range(6 * REPLICAS)]
        with people.flowing(), programs.flowing():
            rolled = threads.submit(deployment.replace_all)
            wait_until("all have been told", lambda: len(deployment.told) == REPLICAS or rolled.done())
            time.sleep(int(deployment.rules.env["SCORING_NOT_READY_S"]) + 1)
            gate.touch()
            old = rolled.result()
        answers = [each.result() for each in slow]
    assert people.failed == []
    assert programs.failed == []
    assert [answer.status_code for answer in answers] == [200] * len(slow), [answer.text for answer in answers]
    assert len(people.asked) > 100
    assert programs.answered > 100
    for pod in old:
        lines = [json.loads(line) for line in pod.main.log.splitlines()]
        assert 200 in {line["status"] for line in lines if line.get("path") == f"/v2/models/{SLOW}/infer"}
    for pod in [*old, *deployment.pods]:
        assert f"/v2/models/{MODEL}/infer" in pod.main.log


def test_scoring_pods_that_end_before_their_service_knows_cost_requests(pods):
    """So what the test above sees is the work of the manifests' pauses: preStop and SCORING_NOT_READY_S."""
    site, deployment = pods
    headers = {"Authorization": f"Bearer {site.env['SCORING_TOKEN']}"}
    env = {**deployment.rules.env, "SCORING_NOT_READY_S": "0"}
    deployment.make = lambda: scoring_pod(site, env)
    deployment.replace_all()
    hasty = replace(deployment, rules=replace(deployment.rules, pre_stop=0))

    def ask() -> httpx.Response:
        url = f"{deployment.front.url}/v2/models/{MODEL}/infer"
        return httpx.post(url, json=asked(QUESTIONS[0]), headers=headers, timeout=30)

    programs = Callers(ask)
    try:
        with programs.flowing():
            hasty.replace_all()
    finally:
        deployment.pods = hasty.pods
    assert programs.failed
