"""What a batch costs, and what it costs others: rows a second of a pod, and single requests beside them.

    python -m bench.batch [--seconds 10] [--only faq,images] [--out results.json]

Starts the product as bench.serving does. First each pod is given rows in large requests, at normal priority (all that
it can do) and at low priority (what a batch job would get of that). Then single normal requests are timed, alone and
beside low ones that keep the pod busy: of one connection that asks again as soon as it is answered, and of one that
pauses as people do. wrk makes the load, on the same machine.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from bench import wrk
from bench.pods import MODELS, TOP_K, prepare_store
from bench.serving import POD_PORT, PORTS, WARM_UP, parse_arguments, pod_requests, product, report
from bench.workloads import pictures, questions
from bench.wrk import Target, load, write_requests
from scoring_service.contract import LOW_PRIORITY, InferRequest, RequestedOutput, Tensor, encode_request

NORMAL_PRIORITY = 1
ROWS = {"faq": (32, 100, 200), "images": (8, 32)}  # in one request
CONNECTIONS = (1, 4)
BODIES = 10  # different requests
PAUSE = 0.05  # seconds between two questions of one who pauses
OUTPUTS = {"faq": ("faq_id", "answer_id"), "images": ("label_id", "label")}


def main() -> None:
    options = parse_arguments(__doc__)
    wrk.required()
    with tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder:
        var = Path(folder)
        prepare_store(var / "models", ["faq", "images"])
        rows = []
        with product(var) as token:
            for subject in options.only.split(","):
                rows += throughput(subject, var / "pod", token, options.seconds)
                rows += beside_a_batch(subject, var / "beside", token, options.seconds)
    report(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


# What is measured -----------------------------------------------------------------------------------------------------


def throughput(subject: str, folder: Path, token: str, seconds: int) -> list[dict[str, object]]:
    """Rows a second in large requests, by their priority, rows a request and connections."""
    rows = []
    for name, priority in (("pod, normal", NORMAL_PRIORITY), ("pod, low", LOW_PRIORITY)):
        for count in ROWS[subject]:
            target = batch_requests(subject, folder / f"{priority}-{count}", token, count, priority)
            for connections in CONNECTIONS:
                load(target, connections, WARM_UP)
                measured = load(target, connections, seconds)
                rows.append(figures(subject, name, f"{connections} × {count} rows", measured, count))
    return rows


def beside_a_batch(subject: str, folder: Path, token: str, seconds: int) -> list[dict[str, object]]:
    """How long single requests take alone and beside low ones, and how many rows these still get through."""
    single = pod_requests(subject, folder / "single", token)
    count = max(ROWS[subject])
    low = batch_requests(subject, folder / "low", token, count, LOW_PRIORITY)
    load(single, 1, WARM_UP)
    rows = []
    for asker, ask in (("one after another", asks_at_once), ("with pauses", asks_with_pauses)):
        rows.append(figures(subject, "single, alone", asker, ask(single, token, subject, seconds)))
        with in_the_background(low, max(CONNECTIONS), seconds + 2 * WARM_UP) as beside:
            time.sleep(WARM_UP)
            rows.append(figures(subject, "single, beside", asker, ask(single, token, subject, seconds)))
        rows.append(figures(subject, "low, beside", asker, beside[0], count))
    return rows


def asks_at_once(single: Target, token: str, subject: str, seconds: int) -> dict[str, float]:
    return load(single, 1, seconds)


def asks_with_pauses(single: Target, token: str, subject: str, seconds: int) -> dict[str, float]:
    """One caller that reads each answer for a while before it asks again."""
    address = f"{single.address}/v2/models/{MODELS[subject]}/infer"
    bodies = [encode_request(asking(subject, [each], {}), binary=subject == "images") for each in inputs(subject)]
    durations, failed = [], 0
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60) as client:
        until = time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            content, headers = bodies[len(durations) % len(bodies)]
            failed += client.post(address, content=content, headers=headers).is_error
            durations.append(time.monotonic() - began)
            time.sleep(PAUSE)
    hundredths = statistics.quantiles(durations, n=100, method="inclusive")
    return {
        "requests": len(durations),
        "seconds": seconds,
        "p50_ms": hundredths[49] * 1000,
        "p99_ms": hundredths[98] * 1000,
        "failed": failed,
    }


@contextmanager
def in_the_background(target: Target, connections: int, seconds: int) -> Iterator[list[dict[str, float]]]:
    """The load goes on meanwhile; its figures are in the list afterwards."""
    measured: list[dict[str, float]] = []
    thread = threading.Thread(target=lambda: measured.append(load(target, connections, seconds)))
    thread.start()
    try:
        yield measured
    finally:
        thread.join()


def figures(subject: str, what: str, setting: str, measured: dict[str, float], rows: int = 1) -> dict[str, object]:
    return {
        "subject": subject,
        "what": what,
        "setting": setting,
        "per_second": rows * measured["requests"] / measured["seconds"],
        **{name: measured[name] for name in ("p50_ms", "p99_ms", "failed")},
    }


# What is asked --------------------------------------------------------------------------------------------------------


def inputs(subject: str) -> Sequence[str | bytes]:
    return questions() if subject == "faq" else pictures()


def asking(subject: str, elements: Sequence[str | bytes], parameters: dict[str, object]) -> InferRequest:
    """As the site asks: probabilities as bytes, texts in JSON."""
    name = "question" if subject == "faq" else "image"
    return InferRequest(
        inputs=[Tensor(name=name, shape=[len(elements)], datatype="BYTES", data=list(elements))],
        parameters={"top_k": TOP_K, **parameters},
        outputs=[
            RequestedOutput("probability", {"binary_data": True}),
            *(RequestedOutput(output) for output in OUTPUTS[subject]),
        ],
    )


def batch_requests(subject: str, folder: Path, token: str, rows: int, priority: int) -> Target:
    """Writes what wrk sends: requests of so many rows."""
    given = inputs(subject)
    bodies = []
    for number in range(BODIES):
        elements = [given[(number * rows + row) % len(given)] for row in range(rows)]
        request = asking(subject, elements, {"priority": priority, "row_errors": True})
        bodies.append(encode_request(request, binary=subject == "images"))
    path = f"/v2/models/{MODELS[subject]}/infer"
    return write_requests(
        folder / subject, PORTS[POD_PORT[subject]], path, {"Authorization": f"Bearer {token}"}, bodies
    )


if __name__ == "__main__":
    main()
