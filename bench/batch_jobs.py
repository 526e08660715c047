"""What a batch job gets of a pod, and what people who search meanwhile notice of it.

    python -m bench.batch_jobs [--rows 100000] [--seconds 60] [--apart] [--out results.json]

Starts the product as bench.serving does. The pod's own saturation is measured first: rows a second in requests as large
as those of a batch, by wrk. Then a job of so many questions goes through the API, the worker, and the same pod, half a
minute after anybody else has asked. At last a person searches on the page, five questions a second: alone, beside a
process that only keeps a processor busy, and while a job runs. All of it shares this machine; the one that computes
tells how much of the difference is the machine's. With --apart the pods have one core to themselves and all else has
the others: what the worker makes of a pod that it need not share a core with.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx2 as httpx

from bench import wrk
from bench.batch import NORMAL_PRIORITY, batch_requests
from bench.pods import prepare_store
from bench.serving import PORTS, WARM_UP, make_key, product, report, secret
from bench.workloads import questions
from bench.wrk import Target, load

SITE = f"http://127.0.0.1:{PORTS['PORT']}"
ROWS_A_REQUEST = 200  # as in a chunk
CONNECTIONS = (2, 4)
PAUSE = 0.2  # seconds between two questions of the person
POLL = 0.5  # seconds
NOBODY_FOR = 31.0  # seconds; then a pod takes it that no person is there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="questions of the job (default 100,000)")
    parser.add_argument("--seconds", type=int, default=60, help="length of each search (default 60)")
    parser.add_argument("--apart", action="store_true", help="the pods on a core of their own")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    if options.apart and len(os.sched_getaffinity(0)) == 1:
        sys.exit("--apart needs two cores.")
    wrk.required()
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder:
        var = Path(folder)
        prepare_store(var / "models", ["faq", "images"])
        with product(var, options.apart) as token:
            if options.apart:
                os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[1:])  # wrk's core, too
            api = httpx.Client(
                base_url=SITE,
                headers={"Authorization": f"Bearer {make_key(var, scopes=['faq:read', 'batch'])}"},
                timeout=600,
                trust_env=False,
            )
            rows = saturation(batch_requests("faq", var / "pod", token, ROWS_A_REQUEST, NORMAL_PRIORITY))
            time.sleep(NOBODY_FOR)
            rows.append(job_alone(api, options.rows))
            rows += searching(api, var, options.seconds)
    report(rows)
    most, by_job = (
        max(float(row["per_second"]) for row in rows[: len(CONNECTIONS)]),
        float(rows[len(CONNECTIONS)]["per_second"]),
    )
    print(f"\nThe job reached {by_job / most:.0%} of what the pod can do.")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


def saturation(target: Target) -> list[dict[str, Any]]:
    """Rows a second that the pod scores when nothing else holds it up."""
    rows = []
    for connections in CONNECTIONS:
        load(target, connections, WARM_UP)
        measured = load(target, connections, 10)
        per_second = ROWS_A_REQUEST * measured["requests"] / measured["seconds"]
        setting = f"{connections} × {ROWS_A_REQUEST} rows"
        rows.append(
            line("pod", setting, per_second, **{name: measured[name] for name in ("p50_ms", "p99_ms", "failed")})
        )
    return rows


def job_alone(api: httpx.Client, rows: int) -> dict[str, Any]:
    """Rows a second from the moment that the job is validated until its last chunk is committed."""
    batch = wait_for(api, create(api, rows))
    if batch["status"] != "completed":
        sys.exit(f"The job ended as {batch['status']}: {batch['errors']}")
    counts = batch["request_counts"]
    began, ended = (datetime.fromisoformat(batch[name]) for name in ("in_progress_at", "finalizing_at"))
    validated = (began - datetime.fromisoformat(batch["created_at"])).total_seconds()
    print(f"Validated {counts['total']:,} rows in {validated:.1f} s.")
    per_second = counts["total"] / (ended - began).total_seconds()
    return line("job", f"{counts['total']:,} rows", per_second, failed=counts["failed"])


def searching(api: httpx.Client, var: Path, seconds: int) -> list[dict[str, Any]]:
    """How long the page's search takes alone and beside a job, in turn."""
    with signed_in(var) as browser:
        search(browser, 10)  # everything is warm then
        alone = search(browser, seconds)
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as computing:
            beside_another = search(browser, seconds)
            computing.kill()
        address = create(api, 50_000 * max(1, seconds // 10))
        while api.get(address).json()["status"] == "validating":
            time.sleep(POLL)
        beside = search(browser, seconds)
        done = api.get(address).json()
        if done["status"] != "in_progress":
            print("The job ended before the search did: ask for fewer seconds.")
        api.post(f"{address}/cancel")
        wait_for(api, address)
    return [
        searched("page, alone", alone),
        searched("page, busy core", beside_another),
        searched("page, beside job", beside),
    ]


def searched(what: str, durations: list[float]) -> dict[str, Any]:
    hundredths = statistics.quantiles(durations, n=100, method="inclusive")
    return line(
        what, f"{len(durations)} searches", 1 / PAUSE, p50_ms=hundredths[49] * 1000, p99_ms=hundredths[98] * 1000
    )


def line(what: str, setting: str, per_second: float, **figures: float) -> dict[str, Any]:
    known = {"p50_ms": 0.0, "p99_ms": 0.0, "failed": 0, **figures}
    return {"subject": "faq", "what": what, "setting": setting, "per_second": per_second, **known}


# What the site is asked -----------------------------------------------------------------------------------------------


def create(api: httpx.Client, rows: int) -> str:
    """The address of a new job of so many questions, no two the same."""
    asked = islice(cycle(questions()), rows)
    lines = (json.dumps({"custom_id": str(n), "question": f"{each} {n}"}) for n, each in enumerate(asked))
    answer = api.post(
        "/api/v1/batches",
        content="\n".join(lines).encode(),
        headers={"Content-Type": "application/jsonl"},
    )
    answer.raise_for_status()
    return str(answer.json()["urls"]["self"])


def wait_for(api: httpx.Client, address: str) -> dict[str, Any]:
    """The job once it has ended."""
    while True:
        batch: dict[str, Any] = api.get(address).raise_for_status().json()
        if batch["status"] in {"completed", "failed", "expired", "cancelled"}:
            return batch
        time.sleep(POLL)


@contextmanager
def signed_in(var: Path) -> Iterator[httpx.Client]:
    """The demo user's browser."""
    with httpx.Client(base_url=SITE, follow_redirects=True, trust_env=False, timeout=30) as browser:
        page = browser.get("/accounts/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token, "the sign-in form has a safety token"
        form = {"login": "demo@example.com", "password": secret(var, "DEMO_PASSWORD")}
        browser.post("/accounts/login/", data={**form, "csrfmiddlewaretoken": token.group(1)}).raise_for_status()
        yield browser


def search(browser: httpx.Client, seconds: int) -> list[float]:
    """Seconds that each of the searches took."""
    durations = []
    until = time.monotonic() + seconds
    for question in cycle(questions()):
        began = time.monotonic()
        if began >= until:
            return durations
        browser.get("/faq/", params={"q": question}, headers={"HX-Request": "true"}).raise_for_status()
        durations.append(time.monotonic() - began)
        time.sleep(max(0.0, PAUSE - durations[-1]))
    return durations


if __name__ == "__main__":
    main()
