"""How log lines look. One line an event, with the request's id; never a secret, never what somebody asked."""

import re
import traceback
from typing import Any

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from webapp import tracing

HIDDEN = "[hidden]"
SECRET_WORDS = ("password", "secret", "token", "authorization", "cookie", "api_key", "question")
# A whole API key; its public prefix may stay, so that a person can say which key a line is about.
API_KEY = re.compile(r"(sp_[a-z0-9]{1,16}_)[A-Za-z0-9_-]+")
# The part of a link from an e-mail that lets its bearer confirm an address or set a password.
MAILED_LINK = re.compile(r"(/confirm-email/|/password/reset/key/)[^/\s?]+")


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event without values whose name says secret, and without keys and mailed links inside other values."""
    for name, value in event.items():
        if any(word in name.lower() for word in SECRET_WORDS):
            event[name] = HIDDEN
        elif isinstance(value, str):
            event[name] = without_secrets(value)
    return event


def one_line_a_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event, but for the one that django-structlog adds when the body of a file is sent: its request has a line."""
    if event["event"] == "streaming_finished":
        raise structlog.DropEvent
    return event


def first_line_of_celery(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event; of Celery's own only the first line, since behind it come whole messages with what somebody asked."""
    record = event.get("_record")
    if record is not None and record.name.startswith("celery.worker."):
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def traceback_of(exc_info: ExcInfo) -> str:
    """The traceback, without local variables, which hold passwords and questions, and of each error's text the first
    line: behind it PostgreSQL quotes the row that it refuses, and with it what somebody asked.
    """
    error: BaseException | None = exc_info[1]
    parts: list[str] = []
    while error and len(parts) < 10:
        first_line = str(error).partition("\n")[0]
        parts.append("".join([*traceback.format_tb(error.__traceback__), f"{type(error).__name__}: {first_line}"]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))


def without_secrets(text: str) -> str:
    return MAILED_LINK.sub(rf"\1{HIDDEN}", API_KEY.sub(rf"\1{HIDDEN}", text))


def logging_config(*, form: str, level: str) -> dict[str, Any]:
    """Django's LOGGING: everything through structlog. form: "json" (one object a line) or "console" (for people).

    A line on the console has no time: `make run` puts it before the lines of all processes.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        tracing.add_trace_id,
    ]
    if form == "json":
        shared += [structlog.stdlib.add_logger_name, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    ending: list[Processor] = [structlog.processors.ExceptionRenderer(traceback_of), hide_secrets]
    if form == "json":
        ending.append(structlog.processors.JSONRenderer(ensure_ascii=False))
    else:
        ending.append(structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            one_line_a_request,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": [
                    first_line_of_celery,
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *ending,
                ],
            }
        },
        "handlers": {
            "out": {"class": "logging.StreamHandler", "formatter": "line"},
            "nowhere": {"class": "logging.NullHandler"},
        },
        "root": {"handlers": ["out"], "level": level},
        "loggers": {
            # Django's own handlers would write everything a second time.
            "django": {"handlers": [], "propagate": True},
            # The access log says the same in one line, with the request's id.
            "django.request": {"handlers": ["nowhere"], "propagate": False},
            "django.server": {"handlers": ["nowhere"], "propagate": False},
            "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
            "gunicorn.error": {"handlers": [], "propagate": True},
            # These tell each call with its address.
            "httpx2": {"level": "WARNING"},
            "httpcore2": {"level": "WARNING"},
            # So do these with each task; celery.py writes one line for it.
            "celery": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
        },
    }
