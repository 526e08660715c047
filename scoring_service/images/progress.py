"""Showing on standard error how far a long step is."""

import sys
import time
from typing import TextIO

_WIDTH = 30
_LINE_EVERY = 10  # percent, where there is no terminal to redraw a line on


class Bar:
    """A bar that redraws itself on a terminal, and a line for every tenth elsewhere (logs)."""

    def __init__(self, title: str, *, unit: str, scale: float = 1, out: TextIO | None = None) -> None:
        """`scale`: how many of the counted things make one `unit` (1e6 bytes make a MB)."""
        self._title, self._unit, self._scale = title, unit, scale
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._started = time.monotonic()
        self._drawn_at = 0.0
        self._said = 0  # percent of the last line

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Shows `done` of `total` counted things; `note` follows, such as an accuracy."""
        if total is None or total <= 0:
            return
        percent = 100 * done // total
        finished = done >= total
        if self._live:
            now = time.monotonic()
            if now - self._drawn_at < 0.1 and not finished:
                return
            self._drawn_at = now
            filled = _WIDTH * done // total
            bar = "█" * filled + "░" * (_WIDTH - filled)
            end = "\n" if finished else ""
            self._out.write(f"\r\033[K{self._title} {bar} {self._text(percent, done, total, note)}{end}")
        elif percent // _LINE_EVERY > self._said // _LINE_EVERY or finished:
            self._said = percent
            self._out.write(f"{self._title}: {self._text(percent, done, total, note)}\n")
        self._out.flush()

    def _text(self, percent: int, done: int, total: int, note: str) -> str:
        seconds = time.monotonic() - self._started
        left = seconds * (total - done) / done if done else 0
        parts = [f"{percent} %, {done / self._scale:.0f} of {total / self._scale:.0f} {self._unit}"]
        parts.append(f"{left:.0f} s left" if done < total else f"{seconds:.0f} s")
        if note:
            parts.append(note)
        return ", ".join(parts)
