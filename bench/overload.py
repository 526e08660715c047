"""What a pod does when three times as many ask as it can answer, and how soon it is over it.

    python -m bench.overload [--only faq,images,sleep] [--seconds 20] [--times 3] [--out results.json]

For each model a pod of its own: first what it can do, asked by as many as go into two calls; then requests at a fixed
rate, three times that, whether they are answered or not; then at half of what it can do, to see when it is over it.
`sleep` is a model that takes no CPU, as one on another device would: with the others, the client takes part of the CPU
on which the pod is measured. A request's time counts from when it was due.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.client import Answer, closed_loop, open_loop, percentile
from bench.pods import POOLS, Server, prepare_store, requests_for, running_pod, write_json

CONNECTIONS = 64  # at capacity
WARM_UP = 3  # seconds
CALM_SECONDS = 6
CALM_SHARE = 0.5  # of what it can do
TARGET_MS = {"faq": 250, "images": 5000, "sleep": 500}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="faq,images,sleep", help="faq, images, sleep, or several (default all)")
    parser.add_argument("--seconds", type=int, default=20, help="length of the overload (default 20)")
    parser.add_argument("--times", type=float, default=3, help="of what it can do (default 3)")
    parser.add_argument("--target-ms", type=int, help=f"SCORING_TARGET_P99_MS (default by model: {TARGET_MS})")
    parser.add_argument("--processes", type=int, help="SCORING_PROCESSES (default: the pod's own)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    subjects = options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="scorepod-overload-") as folder:
        prepare_store(Path(folder) / "models", subjects)
        figures = [measured(subject, Path(folder), options) for subject in subjects]
    report(figures)
    write_json(options.out, figures)


def measured(subject: str, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    target_ms = options.target_ms or TARGET_MS[subject]
    env = {"SCORING_TARGET_P99_MS": str(target_ms), "ALLOW_SCORING_SCRIPTS": "1"}
    if options.processes:
        env["SCORING_PROCESSES"] = str(options.processes)
    requests = requests_for(subject)
    with running_pod(folder / "models", POOLS[subject], folder / f"{subject}.log", **env) as pod:
        closed_loop(pod.port, requests, CONNECTIONS, WARM_UP)
        before = closed_loop(pod.port, requests, CONNECTIONS, options.seconds)
        capacity = rate_of(served(before), options.seconds)
        began, cpu, own_cpu = time.monotonic(), pod.use()["cpu_s"], time.process_time()
        with watched(pod) as memory:
            answers = open_loop(pod.port, requests, options.times * capacity, options.seconds)
        lasted = time.monotonic() - began
        cpu, own_cpu = pod.use()["cpu_s"] - cpu, time.process_time() - own_cpu
        calm = open_loop(pod.port, requests, CALM_SHARE * capacity, CALM_SECONDS)
    good = served(answers)
    refused = [answer for answer in answers if answer.status == 503]
    return {
        "subject": subject,
        "target_ms": target_ms,
        "capacity": capacity,
        "offered": rate_of(answers, options.seconds),
        "served": rate_of(good, max(options.seconds, max((answer.done for answer in good), default=0))),
        "p50_ms": 1000 * percentile([answer.took for answer in good], 50),
        "p99_ms": 1000 * percentile([answer.took for answer in good], 99),
        "refused": len(refused) / len(answers),
        "refused_p50_ms": 1000 * percentile([answer.took for answer in refused], 50),
        "refused_p99_ms": 1000 * percentile([answer.took for answer in refused], 99),
        "retry_after_s": sorted({answer.retry_after for answer in refused}),
        "failed": sum(answer.status not in {200, 503} for answer in [*before, *answers, *calm]),
        "pss_mb_first": memory[0],
        "pss_mb_most": max(memory),
        "pss_mb_last": memory[-1],
        "recovered_s": recovered(calm, target_ms / 1000),
        "cores": os.cpu_count(),
        "cores_pod": cpu / lasted,
        "cores_client": own_cpu / lasted,
    }


def served(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.status == 200]


def rate_of(answers: Sequence[Answer], seconds: float) -> float:
    return len(answers) / seconds


def recovered(calm: Sequence[Answer], target: float) -> float:
    """Seconds from the end of the overload until the last request was due that was not answered within the target."""
    late = [answer.due for answer in calm if answer.status != 200 or answer.took > target]
    return max(late, default=0.0)


@contextmanager
def watched(pod: Server) -> Iterator[list[float]]:
    """The pod's memory in MB, now, each second meanwhile, and at the end."""
    seen = [pod.use()["pss_mb"]]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            seen.append(pod.use()["pss_mb"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        time.sleep(0.5)
        seen.append(pod.use()["pss_mb"])


def report(figures: Sequence[dict[str, object]]) -> None:
    print(
        f"\n{'':8}{'capacity/s':>11}{'offered/s':>11}{'served/s':>10}{'':>7}{'p50 ms':>9}{'p99 ms':>9}{'target':>8}"
        f"{'refused':>9}{'p99 ms':>8}{'MB before, most, after':>25}{'over it after s':>17}{'failed':>8}"
        f"{'cores: pod, client':>20}"
    )
    for each in figures:
        share = float(str(each["served"])) / float(str(each["capacity"]))
        memory = ", ".join(f"{each[f'pss_mb_{which}']:.0f}" for which in ("first", "most", "last"))
        print(
            f"{each['subject']:8}{each['capacity']:>11,.1f}{each['offered']:>11,.1f}{each['served']:>10,.1f}"
            f"{f'({share:.0%})':>7}{each['p50_ms']:>9.1f}{each['p99_ms']:>9.1f}{each['target_ms']:>8}"
            f"{each['refused']:>9.0%}{each['refused_p99_ms']:>8.1f}{memory:>25}{each['recovered_s']:>17.2f}"
            f"{each['failed']:>8}{each['cores_pod']:>14.2f}{each['cores_client']:>6.2f}"
        )


if __name__ == "__main__":
    main()
