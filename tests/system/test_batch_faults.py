"""Jobs while processes are killed and servers go: in the end each is complete, every row once and in its order.

The pods' model answers every question with itself, so that what is right is known of each row; a direct scoring says
the same of each. What happens, and when, comes from a seed: a failure can be had again.
"""

import json
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cluster import PODS, Cluster, cluster, wait_until
from tests.scoring_service import obedient
from tests.servers import PostgreSQL, Redis, a_postgresql, a_redis

MODEL = "faq-javascript"
SEED = 20261127
DISTINCT = 500  # questions; no two jobs that are near each other have the same one at the same row
SLOW_MS = 300  # a call of the model: jobs last long enough to be disturbed
PATIENCE = 150.0  # seconds for all jobs once the last blow has fallen

CREATE = """
import json
from pathlib import Path
from webapp.accounts.models import User
from webapp.batch import services, uploads
from webapp.batch.services import Options
from webapp.keys import services as keys
from webapp.keys.models import Scope
from webapp.keys.principal import Principal
owner, _ = User.objects.get_or_create(email="batches@example.com")
who = Principal(owner, None, frozenset(Scope.values))
made = {}
for name, questions in json.loads(Path(FILE).read_text()).items():
    lines = [json.dumps({"custom_id": f"{name}-{n}", "question": each}) for n, each in enumerate(questions)]
    upload = uploads.store_stream(["\\n".join(lines).encode()], f"{name}.jsonl")
    made[name] = str(services.create(who, upload=upload, options=Options(top_k=1), name=name).pk)
made["key"] = keys.create(owner, name="client", scopes=["batch"]).secret
print(json.dumps(made))
"""

AT_WORK = "SELECT count(*) FROM batch_chunk WHERE state = 'running'"
HOW_FAR = "SELECT count(*), sum(CASE WHEN state IN ('completed', 'cancelled') THEN 1 ELSE 0 END) FROM batch_job"

READ = """
import json
from pathlib import Path
from webapp.batch import files, queries
from webapp.batch.models import Job
found = {}
for job in Job.objects.all():
    rows = [
        [row.row, row.id, row.question, [[each.id, each.probability] for each in row.answers], row.error]
        for row in files.results_of(job, queries.done_chunks_of(job))
    ]
    left = sorted(path.name for path in (files.folder(job) / "results").glob("*"))
    name = f"{job.name} again" if job.retry_of_id else job.name
    assert name not in found, f"{name} was made twice"
    counts = [job.total, job.completed, job.failed]
    found[name] = {"state": job.state, "counts": counts, "rows": rows, "files": len(left),
                       "chunks": job.chunks.count(), "attempts": sum(job.chunks.values_list("attempts", flat=True))}
Path(FILE).write_text(json.dumps(found))
print("written")
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's folder of a model that takes its time."""
    store = tmp_path_factory.mktemp("store")
    obedient.write(store, MODEL, parameters={"slow_ms": SLOW_MS})
    return store / MODEL


@dataclass
class Site:
    """A cluster, and what is done to it. key: of its API; log: what was done, by seconds since the beginning."""

    cluster: Cluster
    chance: random.Random
    began: float
    log: list[str]
    key: str = ""

    def note(self, what: str) -> None:
        self.log.append(f"{time.monotonic() - self.began:6.1f} s  {what}")

    def shell(self, script: str, file: Path) -> str:
        return self.cluster.manage("shell", "-v0", "-c", script.replace("FILE", repr(str(file)))).splitlines()[-1]

    def kill(self, name: str, away: float) -> None:
        """Kills a process, and starts it again after so many seconds."""
        self.note(f"kill -9 {name}, away for {away:.1f} s")
        self.cluster.kill(name)
        time.sleep(away)
        self.cluster.programs[name].start()

    def pause(self, least: float, most: float) -> None:
        time.sleep(self.chance.uniform(least, most))

    def post(self, path: str, call: str = "", content: str = "") -> dict:
        """What the API answers in the end: repeated as a client does, also while a batch has not ended yet.

        call: the Idempotency-Key.
        """
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/jsonl"}
        if call:
            headers["Idempotency-Key"] = call
        until = time.monotonic() + PATIENCE
        while True:
            try:
                url = f"{self.cluster.url}/api/v1/batches{path}"
                answer = httpx.post(url, content=content, headers=headers, timeout=10)
                said = f"{answer.status_code}"
            except httpx.TransportError as error:
                answer, said = None, type(error).__name__
            self.note(f"POST {path}: {said}")
            if answer is not None and (answer.is_success or (answer.status_code == 409 and path.endswith("/cancel"))):
                return answer.json()  # a cancel whose answer was lost has nothing left to do
            assert answer is None or answer.status_code == 409 or answer.status_code >= 500, answer.text
            assert time.monotonic() < until, f"POST {path} is never answered, in the end {said}"
            time.sleep(1)


def jobs_of(chance: random.Random, count: int) -> dict[str, list[str]]:
    """Questions by the name of their job: many small jobs, and some of two chunks."""
    ranges = [(1, 1), (2, 20), (2, 20), (20, 60), (20, 100), (201, 400)]
    sizes = [chance.randint(*chance.choice(ranges)) for _ in range(count)]
    return {
        f"job-{number}": [f"question {(17 * number + row) % DISTINCT}" for row in range(size)]
        for number, size in enumerate(sizes)
    }


# What a program asks for while all this goes on; a row of `BAD` fails, and would again.
BAD = "refuse"
ASKED = {
    "first": [f"question {n}" for n in range(30)],
    "stopped": [f"question {n % DISTINCT}" for n in range(600)],
    "partly": ["question 1", BAD, "question 2", BAD, "question 3"],
    "last": [f"question {n}" for n in range(250)],
}


def ask_meanwhile(site: Site) -> None:
    """Has jobs made, one of them cancelled at once, and what failed tried again."""
    made = {}
    for name, questions in ASKED.items():
        lines = [json.dumps({"custom_id": f"{name}-{n}", "question": each}) for n, each in enumerate(questions)]
        made[name] = site.post(f"?top_k=1&name={name}", f"make-{name}", "\n".join(lines))["id"]
        if name == "stopped":
            site.post(f"/{made[name]}/cancel")
        time.sleep(4)
    site.post(f"/{made['partly']}/retry", "again-partly")


@contextmanager
def jobs_at_work(cluster: Cluster, count: int, tmp_path: Path) -> Iterator[Site]:
    """Has so many jobs made, and some more through the API; in the end all must be as if nothing had happened."""
    chance = random.Random(SEED)
    site = Site(cluster, chance, time.monotonic(), [])
    jobs = jobs_of(chance, count)
    asked, read = tmp_path / "asked.json", tmp_path / "read.json"
    asked.write_text(json.dumps(jobs))
    made = json.loads(site.shell(CREATE, asked))
    site.key = made.pop("key")
    assert set(made) == set(jobs)
    site.note(f"{count} jobs of {sum(map(len, jobs.values()))} rows are made")
    all_jobs = count + len(ASKED) + 1  # one is tried again
    try:
        with ThreadPoolExecutor(max_workers=1) as client:
            meanwhile = client.submit(ask_meanwhile, site)
            yield site
            site.note("the last blow")
            meanwhile.result()
        site.note("the last request")

        def all_ended() -> bool:
            time.sleep(0.5)
            return cluster.rows(HOW_FAR) == [(all_jobs, all_jobs)]

        wait_until("every job has ended", all_ended, within=PATIENCE)
        site.note("all have ended")
    except BaseException as error:
        logs = {name: program.log[-3000:] for name, program in cluster.programs.items() if "worker" in name}
        error.add_note("\n".join([*site.log, *(f"--- {name}\n{log}" for name, log in logs.items())]))
        raise
    site.shell(READ, read)
    check(cluster, jobs, json.loads(read.read_text()))


def check(cluster: Cluster, jobs: dict[str, list[str]], found: dict[str, dict]) -> None:
    """Every row once, in its order, with the answer of a direct scoring; and no file is left of what came late."""
    assert set(found) == {*jobs, *ASKED, "partly again"}
    rows = {name: [(f"{name}-{n}", each) for n, each in enumerate(of)] for name, of in {**jobs, **ASKED}.items()}
    done = [tuple(row[1:3]) for row in found["stopped"]["rows"]]
    assert set(done) <= set(rows["stopped"])
    rows["stopped"] = done  # nobody knows how far it came
    rows["partly again"] = [row for row in rows["partly"] if row[1] == BAD]
    answers = direct(cluster, sorted({question for of in rows.values() for _, question in of} - {BAD}))
    assert all(answer == [question, 1.0] for question, answer in answers.items())
    for name, of in rows.items():
        job, bad = found[name], sum(question == BAD for _, question in of)
        assert job["state"] == ("cancelled" if name == "stopped" else "completed"), name
        assert job["counts"][1:] == [len(of) - bad, bad], name
        numbers = [row[0] for row in job["rows"]]
        assert numbers == (sorted(set(numbers)) if name == "stopped" else list(range(len(of)))), name
        assert [row[1:4] for row in job["rows"]] == [
            [row_id, question, [] if question == BAD else [answers[question]]] for row_id, question in of
        ], name
        assert [bool(row[4]) for row in job["rows"]] == [question == BAD for _, question in of], name
        if name != "stopped":
            assert job["counts"][0] == len(of), name
            assert job["files"] == job["chunks"], name
    whole = [job for name, job in found.items() if name != "stopped"]
    assert sum(job["attempts"] for job in whole) > sum(job["chunks"] for job in whole), "a blow fell"


def direct(cluster: Cluster, questions: Sequence[str]) -> dict[str, list[object]]:
    """What a pod answers to each when it is asked directly: the best entry and its probability."""
    found: dict[str, list[object]] = {}
    for first in range(0, len(questions), 100):
        some = questions[first : first + 100]
        tensor = {"name": "question", "shape": [len(some)], "datatype": "BYTES", "data": some}
        answer = httpx.post(
            f"{cluster.pod_urls['pod-1']}/v2/models/{MODEL}/infer",
            json={"inputs": [tensor], "parameters": {"top_k": 1}},
            headers={"Authorization": f"Bearer {cluster.env['SCORING_TOKEN']}"},
            timeout=30,
        )
        outputs = {each["name"]: each["data"] for each in answer.raise_for_status().json()["outputs"]}
        pairs = map(list, zip(outputs["faq_id"], outputs["probability"], strict=True))
        found.update(zip(some, pairs, strict=True))
    return found


def test_with_redis_and_postgresql_every_row_is_scored_once(model, tmp_path):
    with a_redis(tmp_path) as redis, a_postgresql() as postgresql:
        env = {"REDIS_URL": redis.url, "DATABASE_URL": postgresql.url, "BATCH_OPEN_JOBS": "1000"}
        with (
            cluster(tmp_path / "var", model, workers=2, **env) as running,
            jobs_at_work(running, 200, tmp_path) as site,
        ):
            blows = [
                *(_kill_worker("worker") for _ in range(3)),
                *(_kill_worker("worker-2") for _ in range(3)),
                *(_kill_worker(pod) for pod in PODS for _ in range(2)),
                lambda site: lose_redis(site, redis),
                lambda site: lose_postgresql(site, postgresql),
                lose_pods,
            ]
            strike(site, blows)


def test_on_one_machine_every_row_is_scored_once(model, tmp_path):
    with (
        cluster(tmp_path / "var", model, workers=2, BATCH_OPEN_JOBS="1000") as running,
        jobs_at_work(running, 40, tmp_path) as site,
    ):
        blows = [*(_kill_worker(name) for name in (*WORKERS, "worker", *PODS)), lose_pods]
        strike(site, blows)


Blow = Callable[[Site], None]
WORKERS = ("worker", "worker-2")


def strike(site: Site, blows: list[Blow]) -> None:
    """First one that is sure to hit; then the blows, in an order that the seed decides."""
    lose_workers_at_work(site)
    site.chance.shuffle(blows)
    for blow in blows:
        site.pause(0.5, 3)
        blow(site)


def lose_workers_at_work(site: Site) -> None:
    """All workers are gone while one of them has a chunk."""

    def at_work() -> bool:
        return site.cluster.rows(AT_WORK) != [(0,)]

    def hit() -> bool:
        if not at_work():
            return False
        site.note("kill -9 all workers")
        site.cluster.kill(*WORKERS)
        lost = at_work()  # the chunk that was seen may have been done just before
        site.cluster.start(*WORKERS)
        return lost

    wait_until("a worker was killed while it had a chunk", hit)


def _kill_worker(name: str) -> Blow:
    return lambda site: site.kill(name, site.chance.uniform(0, 2))


def lose_redis(site: Site, redis: Redis) -> None:
    site.note("Redis is gone for 3 s, and empty afterwards")
    redis.stop()
    time.sleep(3)
    redis.start()


def lose_postgresql(site: Site, postgresql: PostgreSQL) -> None:
    site.note("PostgreSQL is gone for 6 s")
    postgresql.stop()
    time.sleep(6)
    postgresql.start()


def lose_pods(site: Site) -> None:
    site.note("one pod is gone for 10 s, and both of them for 3 s of that")
    site.cluster.kill(PODS[0])
    time.sleep(4)
    site.cluster.programs[PODS[1]].end(signal.SIGKILL)
    time.sleep(3)
    site.cluster.programs[PODS[1]].start()
    time.sleep(3)
    site.cluster.programs[PODS[0]].start()
