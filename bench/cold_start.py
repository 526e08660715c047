"""How long a pod takes from the start of its process until it is ready.

    python -m bench.cold_start [--only faq,images] [--tries 5] [--out results.json]

Files are in the page cache after the first try. The least of several tries counts, as wall-clock time and as CPU time
of all the pod's processes: on a machine that does other things as well, only the latter says much.
"""

import argparse
import tempfile
from pathlib import Path

from bench.pods import POOLS, prepare_store, running_pod, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default="faq,images", help="faq, images or both (default both)")
    parser.add_argument("--tries", type=int, default=5, help="default 5")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    options = parser.parse_args()
    subjects = options.only.split(",")
    figures = []
    print(f"\n{'':8}{'ready after s':>14}{'median s':>10}{'CPU s':>8}{'processes':>11}{'MB (PSS)':>10}")
    with tempfile.TemporaryDirectory(prefix="scorepod-cold-") as folder:
        store = Path(folder) / "models"
        prepare_store(store, subjects)
        for subject in subjects:
            tries = [tried(store, subject, Path(folder) / f"{subject}.log") for _ in range(options.tries)]
            walls = sorted(each["ready_s"] for each in tries)
            least = min(tries, key=lambda each: each["ready_s"])
            cpu = min(each["cpu_s"] for each in tries)
            figures.append({"subject": subject, "tries": tries})
            print(
                f"{subject:8}{walls[0]:>14.2f}{walls[len(walls) // 2]:>10.2f}{cpu:>8.2f}"
                f"{least['processes']:>11.0f}{least['pss_mb']:>10.0f}"
            )
    write_json(options.out, figures)


def tried(store: Path, subject: str, log: Path) -> dict[str, float]:
    with running_pod(store, POOLS[subject], log) as pod:
        return {"ready_s": pod.cold_start, "processes": len(pod.pids), **pod.use()}


if __name__ == "__main__":
    main()
