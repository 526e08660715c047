"""How fast it serves, in one run: the model called in a loop, the pod over HTTP, the site's API with a key.

    python -m bench.serving [--seconds 10] [--only faq,images] [--out results.json]

Starts the whole product in a temporary folder, with the sample FAQ and a ResNet-152 of random weights (speed does not
depend on them), and loads it with wrk (apt-get install wrk): keep-alive connections, each asking again as soon as it
has its answer. wrk shares the machine with what it measures, so the figures are those of one machine doing both.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx

from bench import wrk
from bench.pods import MODELS, TOP_K, prepare_store
from bench.workloads import pictures, questions
from bench.wrk import Target, load, write_requests
from scoring_service.contract import InferRequest, Tensor, encode_request
from scoring_service.loading import load_version
from scoring_service.runtimes.base import Row, Runtime
from webapp.embedded import (
    environment,
    not_ready_yet,
    read_or_make_secrets,
    services,
)

ROOT = Path(__file__).resolve().parents[1]
PORTS = {"PORT": 18000, "SCORING_CPU_PORT": 18001, "SCORING_GPU_PORT": 18002}
CONNECTIONS = (1, 8, 32)
WARM_UP = 2  # seconds
POD_PORT = {"faq": "SCORING_CPU_PORT", "images": "SCORING_GPU_PORT"}


def main() -> None:
    options = parse_arguments(__doc__)
    wrk.required()
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder:
        var = Path(folder)
        prepare_store(var / "models", ["faq", "images"])
        rows = []
        for subject in options.only.split(","):
            rows += in_a_loop(subject, var / "models", options.seconds)
        with product(var) as token:
            key = make_key(var)
            for subject in options.only.split(","):
                rows += over_http("pod", subject, pod_requests(subject, var / "pod", token), options.seconds)
                rows += over_http("site", subject, site_requests(subject, var / "site", key), options.seconds)
    report(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


def parse_arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="length of each measurement (default 10)")
    parser.add_argument("--only", default="faq,images", help="faq, images or both (default both)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    return parser.parse_args()


# What is measured -----------------------------------------------------------------------------------------------------


@contextmanager
def product(var: Path, apart: bool = False) -> Iterator[str]:
    """The running product, without rate limits; yields the token of its pods.

    apart: the pods have the first core to themselves, as on a node of their own, and all else has the others.
    """
    unlimited = {
        f"RATE_LIMIT_{what}_PER_{who}": "1000000000"
        for what in ("REQUESTS", "FAQ", "IMAGES", "OTHER")
        for who in ("KEY", "USER")
    }
    made_up = read_or_make_secrets(var / "secrets.env")
    env = {**environment(var, PORTS, made_up), **unlimited, "LOG_FORMAT": "json"}
    subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    # Each with its log in a file, as in a cluster: a terminal's prefixed lines would cost what they print.
    running = services(PORTS, env)
    with ExitStack() as stack:
        for service in running:
            log = stack.enter_context((var / f"{service.name}.log").open("w"))
            cores = core_list(service.name.startswith("scoring")) if apart else []
            process = subprocess.Popen(
                [*cores, *service.nice_command], cwd=ROOT, env=dict(service.env), stdout=log, stderr=log
            )
            stack.callback(process.wait, timeout=60)
            stack.callback(process.terminate)
        until = time.monotonic() + 300
        for waiting in not_ready_yet(running):
            if time.monotonic() > until:
                sys.exit(f"Not ready: {', '.join(waiting)}. Their logs are in {var}.")
            time.sleep(0.2)
        yield made_up["SCORING_TOKEN"]


def core_list(first: bool) -> list[str]:
    """What keeps a command on the first core of this process, or on all others."""
    mine, *others = sorted(os.sched_getaffinity(0))
    return ["taskset", "--cpu-list", str(mine) if first else ",".join(map(str, others))]


def secret(var: Path, name: str) -> str:
    kept = dict(line.split("=", 1) for line in (var / "secrets.env").read_text().splitlines())
    return kept[name]


def make_key(var: Path, scopes: Sequence[str] = ("faq:read", "images:read")) -> str:
    """A new API key of the demo user, made on the page as a person would."""
    with httpx.Client(base_url=f"http://127.0.0.1:{PORTS['PORT']}", follow_redirects=True) as browser:
        browser.get("/accounts/login/")
        form = {"login": "demo@example.com", "password": secret(var, "DEMO_PASSWORD")}
        browser.post("/accounts/login/", data={**form, "csrfmiddlewaretoken": browser.cookies["csrf"]})
        page = browser.post(
            "/keys/",
            data={
                "name": "bench",
                "scopes": list(scopes),
                "csrfmiddlewaretoken": browser.cookies["csrf"],
            },
        )
    found = re.search(r"sp_\w+_[\w-]+", page.text)
    if not found:
        sys.exit(f"No key was made: {page.status_code}")
    return found.group()


# In a loop ------------------------------------------------------------------------------------------------------------


def in_a_loop(subject: str, store: Path, seconds: int) -> list[dict[str, object]]:
    """The runtime called without a server, on the thread that loaded it, for each batch size."""
    version = json.loads((store / MODELS[subject] / "routing.json").read_text())["champion"]
    inputs: Sequence[str | bytes] = questions() if subject == "faq" else pictures()
    rows = [Row((each,), {"top_k": TOP_K}) for each in inputs]
    with ThreadPoolExecutor(1) as thread:
        _, runtime = thread.submit(load_version, store / MODELS[subject] / version).result()
        batches = CONNECTIONS if subject == "faq" else (1, 8)
        return [thread.submit(loop, subject, runtime, rows, size, seconds).result() for size in batches]


def loop(subject: str, runtime: Runtime, rows: list[Row], size: int, seconds: int) -> dict[str, object]:
    batches = [[rows[(start + offset) % len(rows)] for offset in range(size)] for start in range(0, len(rows), size)]
    durations: list[float] = []
    began = time.monotonic()
    turn = 0
    while (now := time.monotonic()) < began + WARM_UP + seconds:
        runtime.score(batches[turn % len(batches)])
        if now > began + WARM_UP:
            durations.append(time.monotonic() - now)
        turn += 1
    hundredths = statistics.quantiles(durations, n=100, method="inclusive")
    return {
        "subject": subject,
        "what": "model in a loop",
        "setting": f"batch {size}",
        "per_second": size * len(durations) / sum(durations),
        "p50_ms": hundredths[49] * 1000,
        "p99_ms": hundredths[98] * 1000,
        "failed": 0,
    }


# Over HTTP ------------------------------------------------------------------------------------------------------------


def pod_requests(subject: str, folder: Path, token: str) -> Target:
    """Writes what wrk sends to the pod: questions as JSON, pictures as binary tensors."""
    bodies = []
    for each in questions() if subject == "faq" else pictures():
        tensor = Tensor(name="question" if subject == "faq" else "image", shape=[1], datatype="BYTES", data=[each])
        bodies.append(
            encode_request(InferRequest(inputs=[tensor], parameters={"top_k": TOP_K}), binary=subject == "images")
        )
    path = f"/v2/models/{MODELS[subject]}/infer"
    return write_requests(
        folder / subject, PORTS[POD_PORT[subject]], path, {"Authorization": f"Bearer {token}"}, bodies
    )


def site_requests(subject: str, folder: Path, key: str) -> Target:
    """Writes what wrk sends to the site's API."""
    bodies: list[tuple[bytes, dict[str, str]]]
    if subject == "faq":
        path = "/api/v1/faq/match"
        bodies = [
            (json.dumps({"question": each, "top_k": TOP_K}).encode(), {"Content-Type": "application/json"})
            for each in questions()
        ]
    else:
        path = f"/api/v1/images/classify?model={MODELS[subject]}"
        bodies = [(each, {"Content-Type": "image/jpeg"}) for each in pictures()]
    return write_requests(folder / subject, PORTS["PORT"], path, {"Authorization": f"Bearer {key}"}, bodies)


def over_http(what: str, subject: str, target: Target, seconds: int) -> list[dict[str, object]]:
    rows = []
    for connections in CONNECTIONS:
        load(target, connections, WARM_UP)
        measured = load(target, connections, seconds)
        rows.append(
            {
                "subject": subject,
                "what": what,
                "setting": f"{connections} connection{'s' if connections > 1 else ''}",
                "per_second": measured["requests"] / measured["seconds"],
                **{name: measured[name] for name in ("p50_ms", "p99_ms", "failed")},
            }
        )
    return rows


def report(rows: list[dict[str, object]]) -> None:
    print(f"\n{'':8}{'':18}{'':16}{'per second':>11}{'p50 ms':>9}{'p99 ms':>9}{'failed':>8}")
    for row in rows:
        print(
            f"{row['subject']:8}{row['what']:18}{row['setting']:16}"
            f"{row['per_second']:>11,.1f}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['failed']:>8}"
        )


if __name__ == "__main__":
    main()
