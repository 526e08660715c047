"""How long calls of a model take, learned from those that have ended; and so, how many rows they may have."""

import statistics
from collections import deque

RECENT = 9  # measurements

# How long a call with rows of low priority may take, for whoever comes meanwhile waits for its end: so many times as
# long as one with a single row, or these seconds; longer after a while in which nobody came.
LOW_TIMES, LOW_TIMES_ALONE = 3, 8
LOW_SECONDS = 0.004
PROBE_EVERY = 32  # low calls at most: then one has a single row, unless a single row has come by itself


class CallSize:
    """How many rows a call may have so that it takes no longer than it may."""

    def __init__(self, max_rows: int, longest: float) -> None:
        """longest: seconds of a call."""
        self._max_rows = max_rows
        self._longest = longest
        self.rows = max_rows

    def note(self, rows: int, seconds: float) -> None:
        """A call has ended.

        One that took too long makes the next ones smaller, by half at most, for it may be chance; each that was full
        and quick enough allows one more row.
        """
        if seconds > self._longest:
            fitting = int(rows * self._longest / seconds)
            self.rows = max(1, min(self.rows, max(fitting, self.rows // 2)))
        elif rows >= self.rows:
            self.rows = min(self.rows + 1, self._max_rows)


class RowCost:
    """Seconds that a row costs in a call with so many others. Sizes of calls are told apart by powers of two.

    Medians, for a call that had to wait for the processor says nothing of the next one.
    """

    def __init__(self) -> None:
        self._measured: dict[int, deque[float]] = {}  # seconds a row
        self._usual: dict[int, float] = {}  # their median

    def note(self, rows: int, seconds: float) -> None:
        size = rows.bit_length()
        measured = self._measured.setdefault(size, deque(maxlen=RECENT))
        measured.append(seconds / rows)
        self._usual[size] = statistics.median(measured)

    def among(self, rows: int) -> float:
        """In a call with so many rows: as measured, else as in the next smaller call that was, where a row costs more.

        0.0 while nothing is known.
        """
        size = rows.bit_length()
        if size in self._usual:
            return self._usual[size]
        smaller = [known for known in self._usual if known < size]
        nearest = max(smaller) if smaller else min(self._usual, default=0)
        return self._usual.get(nearest, 0.0)


class Pace:
    """How many rows of low priority one call of the model may have, learned from how long calls take."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._single: deque[float] = deque(maxlen=RECENT)  # seconds of calls with one row
        self._each: deque[float] = deque(maxlen=RECENT)  # seconds a row of low calls
        self._since_single = 0  # low calls
        self._probe_after = 0  # so many of them; at first one call has hardly told what the next one will take

    def longest(self, *, alone: bool) -> float:
        """Seconds that a low call may take. alone: no other rows have come for a while."""
        single = statistics.median(self._single) if self._single else 0.0
        return max((LOW_TIMES_ALONE if alone else LOW_TIMES) * single, LOW_SECONDS)

    def rows(self, *, alone: bool) -> int:
        """For the next low call."""
        if self._since_single >= self._probe_after or not self._single:
            return 1
        # The median, for a call that had to wait for the processor says nothing of the model. A row among others costs
        # no more than one alone, whatever was measured while the machine was slow: else calls would shrink to one row,
        # and nothing would ever be measured of larger ones again.
        single = statistics.median(self._single)
        each = min(statistics.median(self._each), single) if self._each else single
        return max(1, min(int(self.longest(alone=alone) / max(each, 1e-9)), self._max_rows))

    def note_normal(self, rows: int, seconds: float) -> None:
        """A call with normal rows has ended."""
        if rows == 1:
            self._single.append(seconds)
            self._since_single = 0
            self._probe_after = min(2 * self._probe_after + 1, PROBE_EVERY)

    def note_low(self, rows: int, seconds: float, *, most: int, alone: bool) -> None:
        """A low call has ended; it might have had `most` rows.

        With fewer it says little of what so many take, unless they took too long already.
        """
        self._since_single += 1
        if rows == 1:
            self.note_normal(rows, seconds)
        elif rows == most or seconds > self.longest(alone=alone):
            self._each.append(seconds / rows)
