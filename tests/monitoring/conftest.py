"""The product as it is watched in a cluster, after a day of people and programs: not all has gone well."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2 as httpx
import pytest
from PIL import Image

from tests.cluster import Cluster, cluster, wait_until
from tests.monitoring.collector import Collector, collecting
from tests.monitoring.post import PostOffice, posting
from tests.monitoring.scrapes import Scrape, scrape
from tests.scoring_service import obedient
from tests.servers import Redis, a_redis
from tests.system.site_client import sign_in
from tests.webapp.webhooks.receiver import Receiver, receiving

MODEL = "faq-javascript"
ANSWERED = {"how do I paint a zebra": [["js-045", 0.9]]}  # by the pods' model
NONSENSE = ("the pet hospital of Springfield", "how far is Timbuktu")  # are answered with an entry that is not there


@dataclass
class Watched:
    """The running product, and what was said to it. secrets, asked: texts that no log may hold."""

    cluster: Cluster
    redis: Redis
    receiver: Receiver
    collector: Collector
    mails: PostOffice
    http: httpx.Client
    key: str = ""
    secrets: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # of requests, by what was asked
    log_of_the_day: dict[str, str] = field(default_factory=dict)  # before tests did anything of their own

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def scrape(self) -> Scrape:
        """What the site, the worker and both pods tell right now."""
        pods = {name: f"{url}/metrics" for name, url in self.cluster.pod_urls.items()}
        return scrape({**self.cluster.metrics_urls, **pods})

    def logs(self) -> dict[str, str]:
        return {name: program.log for name, program in self.cluster.programs.items()}

    def match(self, question: str) -> httpx.Response:
        self.asked.append(question)
        answer = httpx.post(
            f"{self.cluster.url}/api/v1/faq/match", json={"question": question}, headers=self.bearer, timeout=30
        )
        self.ids[question] = answer.headers["X-Request-ID"]
        return answer


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    obedient.write(
        folder / "store", MODEL, parameters={"answers": {**ANSWERED, **{each: [["nowhere", 0.9]] for each in NONSENSE}}}
    )
    with (
        a_redis(folder) as redis,
        receiving() as receiver,
        collecting() as collector,
        posting() as mails,
        cluster(
            folder / "var",
            folder / "store" / MODEL,
            metrics=True,
            REDIS_URL=redis.url,
            WEBHOOK_ALLOW_PRIVATE="on",
            EMAIL_URL=mails.url,
            WEB_WORKERS="2",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="200",  # milliseconds
        ) as running,
        httpx.Client(base_url=running.url, timeout=30) as http,
    ):
        watched = Watched(running, redis, receiver, collector, mails, http)
        sign_in_and_make_a_key(watched)
        ask(watched)
        score_a_batch(watched)
        send_wrong_keys(watched)
        forget_the_password(watched)
        watched.log_of_the_day = watched.logs()
        yield watched


def sign_in_and_make_a_key(watched: Watched) -> None:
    env, http = watched.cluster.env, watched.http
    sign_in(http, "demo@example.com", "not my password at all")
    sign_in(http, "demo@example.com", env["DEMO_PASSWORD"])
    form = {"name": "mine", "scopes": ["faq:read", "images:read", "batch", "webhooks"]}
    made = http.post("/keys/", data={**form, "csrfmiddlewaretoken": http.cookies["csrf"]})
    assert made.status_code == 201, made.text
    watched.key = re.search(r"sp_\w+_[\w-]+", made.text).group()
    watched.secrets += [
        "not my password at all",
        watched.key.rpartition("_")[2],
        http.cookies["session"],
        http.cookies["csrf"],
        *(env[name] for name in ("DEMO_PASSWORD", "ADMIN_PASSWORD")),
        *(env[name] for name in ("SECRET_KEY", "API_KEY_HMAC_SECRET", "SCORING_TOKEN")),
    ]


def ask(watched: Watched) -> None:
    """By every door; there comes an answer, nonsense for an answer, a crash of the model, and no pod is there."""
    [question] = ANSWERED
    assert watched.match(question).status_code == 200
    assert watched.match("crash on my aunt's birthday").status_code == 502
    assert watched.match("refuse").status_code == 422
    watched.asked.remove("refuse")  # a word that logs may hold
    page = watched.http.get("/faq/", params={"q": question})
    assert page.status_code == 200
    watched.ids["page"] = page.headers["X-Request-ID"]
    by_page, by_reference = NONSENSE
    watched.asked += NONSENSE
    watched.http.get("/faq/", params={"q": by_page})
    score = f"{watched.cluster.url}/score"
    httpx.post(score, json={"input": by_reference}, headers=watched.bearer)
    httpx.post(score, content=b'{"input": "half a question about Gondwana', headers=watched.bearer)
    watched.asked.append("half a question about Gondwana")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    answer = httpx.post(
        f"{watched.cluster.url}/api/v1/images/classify",
        files={"files": ("grandmother.png", picture.getvalue(), "image/png")},
        headers=watched.bearer,
    )
    assert answer.status_code in {404, 503}, "no pod has a model for pictures"
    watched.asked.append("grandmother.png")


def score_a_batch(watched: Watched) -> None:
    """One endpoint hears of its end, another one is not there."""
    api = f"{watched.cluster.url}/api/v1"
    for url in (watched.receiver.url, "http://127.0.0.1:9/hooks/s3cr3t-path"):
        made = httpx.post(
            f"{api}/webhooks", json={"url": url, "event_types": ["batch.completed"]}, headers=watched.bearer
        )
        assert made.status_code == 201, made.text
        watched.secrets.append(made.json()["secret"].removeprefix("whsec_"))
    watched.secrets.append("s3cr3t-path")
    questions = ["where do llamas sleep", "refuse", *(f"llama number {number}" for number in range(300))]
    body = "\n".join(json.dumps({"question": each}) for each in questions)
    kind = {"Content-Type": "application/jsonl"}
    made = httpx.post(f"{api}/batches?top_k=1", content=body, headers={**watched.bearer, **kind}, timeout=30)
    assert made.status_code in {201, 202}, made.text
    watched.ids["batch"] = made.headers["X-Request-ID"]
    watched.asked += ["where do llamas sleep", "llama number"]

    def state() -> str:
        return httpx.get(f"{api}/batches/{made.json()['id']}", headers=watched.bearer).json()["status"]

    wait_until("the batch is complete", lambda: state() == "completed")
    wait_until("the receiver has heard of it", lambda: watched.receiver.received)
    wait_until(
        "the other endpoint was tried", lambda: watched.scrape.sum("scorepod_webhook_attempts_total", outcome="again")
    )


def send_wrong_keys(watched: Watched) -> None:
    wrong = watched.key[:-6] + "abcdef"
    for key in (wrong, "sp_aaaaaaaa_" + "b" * 43):
        answer = httpx.get(f"{watched.cluster.url}/api/v1/me", headers={"X-API-Key": key})
        assert answer.status_code == 401
        watched.secrets.append(key.rpartition("_")[2])


def forget_the_password(watched: Watched) -> None:
    """And sets a new one by the link in the mail."""
    with httpx.Client(base_url=watched.cluster.url, timeout=30, follow_redirects=True) as http:
        http.get("/accounts/password/reset/")
        form = {"email": "demo@example.com", "csrfmiddlewaretoken": http.cookies["csrf"]}
        http.post("/accounts/password/reset/", data=form).raise_for_status()
        wait_until("the mail has come", lambda: "/password/reset/key/" in "".join(watched.mails.texts))
        link = re.search(r"/accounts/password/reset/key/\S+", "".join(watched.mails.texts)).group()
        page = http.get(link).raise_for_status()
        new = "a rather new passphrase 42"
        form = {"password1": new, "password2": new, "csrfmiddlewaretoken": http.cookies["csrf"]}
        http.post(page.url.path, data=form).raise_for_status()
    watched.secrets += [link.rstrip("/").rpartition("/")[2], new]
