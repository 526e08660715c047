"""Structured logs: one line an event, with the request's id where there is one. No question, picture or token."""

import asyncio
import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import ExcInfo


def places_of(exc_info: ExcInfo) -> str:
    """Where an error was raised, and those it came from, by type: their texts may hold what somebody asked."""
    error: BaseException | None = exc_info[1]
    parts: list[str] = []
    while error and len(parts) < 10:
        parts.append("".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))


def write_places(stream: TextIO, exc_info: ExcInfo) -> None:
    stream.write(f"\n{places_of(exc_info)}")


class RequestLog:
    """A line for each answered request, as structlog would write it, in a fraction of its time.

    All that a turn of the event loop has to tell is written at once.
    """

    def __init__(self, log_format: Literal["json", "console"]) -> None:
        self._console = structlog.get_logger() if log_format == "console" else None
        self._lines: list[str] = []

    def write(
        self, method: str, path: str, status: int, milliseconds: float, version: str, *, request_id: str = ""
    ) -> None:
        """version: that answered; empty where none did. request_id: empty where it is in the context."""
        event: dict[str, Any] = {"method": method, "path": path, "status": status, "ms": milliseconds}
        if request_id:
            event["request_id"] = request_id
        if version:
            event["version"] = version
        if self._console:
            self._console.info("request", **event)
            return
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event |= {"event": "request", **structlog.contextvars.get_contextvars(), "level": "info", "time": now}
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        line = msgspec.json.encode(event)
        self._lines.append(line.decode() if line.isascii() else json.dumps(event))  # some characters end lines, too

    def _flush(self) -> None:
        sys.stderr.write("\n".join([*self._lines, ""]))
        sys.stderr.flush()
        self._lines.clear()


def configure(log_format: Literal["json", "console"]) -> None:
    """Sends our events, and what libraries log, to standard error in the one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.ExceptionRenderer(places_of),
    ]
    if log_format == "json":
        last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    else:
        # The supervisor already prefixes each line with the time.
        shared = [each for each in shared if not isinstance(each, structlog.processors.TimeStamper)]
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=write_places
        )
        shared = shared[:-1]  # the console renderer formats exceptions itself
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
