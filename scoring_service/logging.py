"""Structured logs: one line an event, with the request's id where there is one. No question, picture or token."""

import logging
import sys
from typing import Literal

import structlog


def configure(log_format: Literal["json", "console"]) -> None:
    """Sends our events, and what libraries log, to standard error in the one format."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    if log_format == "json":
        last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    else:
        # The supervisor already prefixes each line with the time.
        shared = [each for each in shared if not isinstance(each, structlog.processors.TimeStamper)]
        # Plain: the other formatters print local variables, what somebody asked among them.
        last = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
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
