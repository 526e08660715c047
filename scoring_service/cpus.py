"""How many CPUs there are for us."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")

_sharing = 1  # processes


def share_among(processes: int) -> None:
    """From now on `cpu_limit` tells this process's part: so many like it use the same CPUs."""
    global _sharing  # noqa: PLW0603  # one for the process, from its start on
    _sharing = processes


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """CPUs this process may use at once, at least 1: those it is bound to, and a container's quota rounded up.

    More threads than the quota would be stopped in turns by the kernel and wait for one another.
    """
    bound = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return max(1, (bound if quota is None else min(bound, math.ceil(quota))) // _sharing)


def _quota(cgroup: Path) -> float | None:
    """CPUs allowed by the control group, version 2 or 1; None when there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in {"max", "-1"}:
        return None
    return int(quota) / int(period)
