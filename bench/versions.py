"""How long a promotion and a rollback take over two pods, and what callers feel of either.

    python -m bench.versions [--rounds 10] [--quiet 60]

Starts site, worker and two CPU pods behind one address (tests/cluster.py) with the sample FAQ in a temporary folder,
lets four callers ask the site's API all the while, some 25 questions a second, and promotes and rolls back a second
version in turn. Everything shares this machine, so that at a higher rate one would measure its lack of cores.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import PODS, Cluster, cluster, wait_until
from tests.system.operating import Asked, Operator, Traffic, make_keys, operating, zipped
from webapp.embedded import train_missing_samples

ROOT = Path(__file__).resolve().parents[1]
MODEL = "faq-javascript"
SERVE = ("-m", "scoring_service", "serve")
KEYS = 20
PACE = 0.15  # seconds between two questions of one caller
AFTER = 1.0  # seconds after a change that still count as its own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="promotions and rollbacks (default 10)")
    parser.add_argument("--quiet", type=int, default=60, help="seconds without any change (default 60)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="scorepod-bench-") as folder,
        cluster(Path(folder), trained(Path(folder)), pod=SERVE) as site,
        operating(site, MODEL) as operator,
    ):
        measure(operator, options.rounds, options.quiet)


def trained(folder: Path) -> Path:
    """The sample FAQ in a store: that of `make run`, or one trained now."""
    kept = ROOT / "var" / "models" / MODEL
    if kept.exists():
        return kept
    train_missing_samples({**os.environ, "MODEL_STORE": str(folder / "trained")})
    return folder / "trained" / MODEL


@dataclass(frozen=True)
class Change:
    """A promotion or rollback: how long it took, by the clock of who asked for it, and what was asked meanwhile."""

    seconds: float
    asked: list[Asked]


def measure(operator: Operator, rounds: int, quiet_for: int) -> None:
    site = operator.cluster
    [version] = operator.register(zipped(site.store / MODEL / "1"))
    traffic = Traffic(site.url, make_keys(site, KEYS), pace=PACE)
    promotions, rollbacks = [], []
    with traffic.flowing():
        time.sleep(3)  # everything is warm then
        began = time.monotonic()
        time.sleep(quiet_for)
        quiet = traffic.between(began)
        for _ in range(rounds):
            promotions.append(change(operator, traffic, "promote", version))
            rollbacks.append(change(operator, traffic, "roll-back"))
    report(quiet, promotions, rollbacks)
    if traffic.failed:
        print(f"\n{len(traffic.failed)} requests failed, the first: {traffic.failed[0]}")


def change(operator: Operator, traffic: Traffic, action: str, version: str | None = None) -> Change:
    to = version or "1"
    began = time.monotonic()
    operator.do(action, version, reason="Measured.")
    wait_until(f"{to} answers", lambda: answering(operator.cluster) == [to] * len(PODS))
    seconds = time.monotonic() - began
    time.sleep(AFTER)
    return Change(seconds, traffic.between(began))


def answering(site: Cluster) -> list[str]:
    time.sleep(0.05)  # who asks the pods takes from them what callers get
    return [each["version"] for name in PODS for each in site.pod(name)["versions"] if each["answering"]]


def report(quiet: list[Asked], promotions: Sequence[Change], rollbacks: Sequence[Change]) -> None:
    limit = 2 * hundredth(quiet, 99)
    heads = ("requests", "failed", "p50 ms", "p99 ms", "max ms", f"over {limit * 1000:.0f} ms")
    print(f"\n{'':12}{'seconds, median':>16}{'most':>8}" + "".join(f"{head:>13}" for head in heads))
    for name, changes in (("quiet", ()), ("promotion", promotions), ("rollback", rollbacks)):
        times = [each.seconds for each in changes]
        took = f"{statistics.median(times):>16.2f}{max(times):>8.2f}" if times else f"{'':>24}"
        asked = [each for change in changes for each in change.asked] if changes else quiet
        durations = [each.seconds for each in asked]
        print(
            f"{name:12}{took}{len(asked):>13,}{sum(each.status != 200 for each in asked):>13,}"
            f"{hundredth(asked, 50) * 1000:>13.1f}{hundredth(asked, 99) * 1000:>13.1f}{max(durations) * 1000:>13.1f}"
            f"{sum(duration > limit for duration in durations):>13,}"
        )
    print("\nThe last column: how many took more than twice the 99th percentile of the quiet time.")


def hundredth(asked: list[Asked], number: int) -> float:
    return statistics.quantiles([each.seconds for each in asked], n=100, method="inclusive")[number - 1]


if __name__ == "__main__":
    main()
