"""Whether a pod that works for long grows: memory, descriptors and threads by the minute.

    python -m bench.soak [--only faq] [--minutes 20] [--share 0.8] [--out results.json]

Requests come at a fixed rate, four fifths of what the pod can do, on connections that are new each minute. The first
fifth of the minutes is left out of the judgement: allocators and caches fill then. Ends with status 1 where something
grew.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.client import closed_loop, open_loop, percentile
from bench.pods import POOLS, prepare_store, requests_for, running_pod, write_json

CONNECTIONS = 64  # at capacity
WARM_UP = 10  # seconds
LEFT_OUT = 0.2  # of the minutes
MAY_GROW = {"pss_mb": 0.02, "private_mb": 0.02, "descriptors": 0.0, "threads": 0.0}  # by so much of the first value


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="faq", choices=[*POOLS], help="default faq")
    parser.add_argument("--minutes", type=int, default=20, help="default 20")
    parser.add_argument("--share", type=float, default=0.8, help="of what the pod can do (default 0.8)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    subject = options.only
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="scorepod-soak-") as folder:
        store = Path(folder) / "models"
        prepare_store(store, [subject])
        log = Path(folder) / "pod.log"
        requests = requests_for(subject)
        with running_pod(store, POOLS[subject], log, ALLOW_SCORING_SCRIPTS="1") as pod:
            capacity = len(closed_loop(pod.port, requests, CONNECTIONS, WARM_UP)) / WARM_UP
            print(f"{options.share * capacity:,.0f} requests/s, {options.share:.0%} of what it can do")
            print(
                f"\n{'minute':>6}{'answered/s':>12}{'p99 ms':>8}{'refused':>9}{'failed':>8}{'PSS MB':>9}"
                f"{'private MB':>12}{'descriptors':>13}{'threads':>9}"
            )
            for minute in range(options.minutes + 1):
                answers = open_loop(pod.port, requests, options.share * capacity, 60 if minute else 1)
                time.sleep(1)  # connections end
                took = [answer.took for answer in answers if answer.status == 200]
                row = {
                    "minute": minute,
                    "per_second": len(took) / (60 if minute else 1),
                    "p99_ms": 1000 * percentile(took, 99),
                    "refused": sum(answer.status == 503 for answer in answers),
                    "failed": sum(answer.status not in {200, 503} for answer in answers),
                    **pod.use(),
                }
                rows.append(row)
                print(
                    f"{minute:>6}{row['per_second']:>12,.1f}{row['p99_ms']:>8.1f}{row['refused']:>9.0f}"
                    f"{row['failed']:>8.0f}{row['pss_mb']:>9.1f}{row['private_mb']:>12.1f}"
                    f"{row['descriptors']:>13.0f}{row['threads']:>9.0f}",
                    flush=True,
                )
    write_json(options.out, rows)
    growing = [name for name in MAY_GROW if grew(name, rows)]
    print(f"\nGrew: {', '.join(growing)}." if growing else "\nFlat: memory, descriptors and threads.")
    sys.exit(bool(growing))


def grew(name: str, rows: Sequence[dict[str, float]]) -> bool:
    """Whether the last third of the minutes that count has clearly more than the first: by their least values."""
    values = [row[name] for row in rows[int(LEFT_OUT * len(rows)) :]]
    third = max(1, len(values) // 3)
    return min(values[-third:]) > min(values[:third]) * (1 + MAY_GROW[name])


if __name__ == "__main__":
    main()
