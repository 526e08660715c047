"""Durations counted in buckets: small to keep, exact to add up, and good for quantiles within half a bucket.

Each bucket is 5 % wider than the one before: bucket n holds the milliseconds from 1.05ⁿ up to 1.05ⁿ⁺¹.
"""

import math
from collections.abc import Mapping

WIDTH = math.log(1.05)
SHORTEST, LONGEST = 0.01, 1e7  # milliseconds; what lies outside counts as these


def bucket_of(ms: float) -> int:
    return math.floor(math.log(min(max(ms, SHORTEST), LONGEST)) / WIDTH)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Milliseconds that `share` (0 to 1) of the durations do not exceed; None for no durations."""
    left = share * sum(counts.values())
    for bucket, count in sorted(counts.items()):
        if count and left <= count:
            return math.exp((bucket + left / count) * WIDTH)
        left -= count
    return None


def longer_than(counts: Mapping[int, int], ms: float) -> int:
    """How many of the durations lie wholly above so many milliseconds, by their buckets."""
    return sum(count for bucket, count in counts.items() if bucket * WIDTH >= math.log(ms))
