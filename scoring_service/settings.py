"""What the environment says, read once. docs/operations.md describes each variable."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scoring_service.cpus import cpu_limit
from scoring_service.memory import container_limit

MOST_BY_DEFAULT = 4  # processes
TARGET_P99_MS = {"cpu": 1000, "gpu": 5000}  # a large network on a CPU takes half a second for some pictures


class BadSetting(ValueError):
    """A variable is missing or makes no sense; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times are in seconds, sizes in bytes."""

    store: Path
    pool: Literal["cpu", "gpu"]  # only versions whose manifest names this pool are loaded
    host: str
    port: int
    token: str = field(repr=False)  # empty: nobody is asked for one
    processes: int  # that answer requests
    max_rows: int  # rows in one model call
    queue_rows: int  # rows waiting for one version; more are refused
    target_p99: float  # within which nearly all are to be answered; who would wait longer is refused
    max_body: int
    scoring_scripts: bool  # whether versions that run code of their own are loaded
    memory: int | None  # that the pod may use; None: as much as there is
    default_deadline: float  # for requests that do not say how long they wait
    store_poll: float
    not_ready: float  # between the signal to stop and closing the door, so that load balancers notice
    drain: float  # for the requests inside, after that
    head_timeout: float  # for a connection's first byte, and from a request's first byte to the end of its headers
    send_timeout: float  # for a client to take some of its answer
    max_connections: int  # of one process
    connection_age: float  # an older keep-alive connection is closed after its next answer
    log_format: Literal["json", "console"]
    traces_endpoint: str  # where spans go; empty: traces are off
    environment: str  # what GET /score reports as azEnvironment
    location: str

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        store = Path(required(env, "MODEL_STORE"))
        pool: Literal["cpu", "gpu"] = "cpu" if choice(env, "SCORING_POOL", ("cpu", "gpu")) == "cpu" else "gpu"
        return cls(
            store=store,
            pool=pool,
            host=env.get("SCORING_HOST", "127.0.0.1"),
            port=number(env, "SCORING_PORT", None, 0, 65535),
            token=secret(env, "SCORING_TOKEN"),
            processes=number(env, "SCORING_PROCESSES", default_processes(pool), 1, 64),
            max_rows=number(env, "SCORING_MAX_ROWS", 32, 1, 4096),
            queue_rows=number(env, "SCORING_QUEUE_ROWS", 1024, 1, 1_000_000),
            target_p99=number(env, "SCORING_TARGET_P99_MS", TARGET_P99_MS[pool], 1, 3_600_000) / 1000,
            max_body=number(env, "SCORING_MAX_BODY_MB", 100, 1, 4096) * 2**20,
            scoring_scripts=scoring_scripts_allowed(env),
            memory=number(env, "SCORING_MEMORY_MB", None, 64, 2**24) * 2**20
            if env.get("SCORING_MEMORY_MB")
            else container_limit(),
            default_deadline=number(env, "SCORING_DEFAULT_DEADLINE_MS", 30_000, 1, 3_600_000) / 1000,
            store_poll=number(env, "SCORING_STORE_POLL_MS", 500, 10, 60_000) / 1000,
            not_ready=number(env, "SCORING_NOT_READY_S", 5, 0, 600),
            drain=number(env, "SCORING_DRAIN_S", 30, 0, 3600),
            head_timeout=number(env, "SCORING_HEAD_TIMEOUT_S", 20, 1, 600),
            send_timeout=number(env, "SCORING_SEND_TIMEOUT_S", 20, 1, 600),
            max_connections=number(env, "SCORING_MAX_CONNECTIONS", 1000, 1, 100_000),
            connection_age=number(env, "SCORING_CONNECTION_AGE_S", 300, 1, 86_400),
            log_format="json" if choice(env, "LOG_FORMAT", ("json", "console"), "json") == "json" else "console",
            traces_endpoint=env.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
            environment=env.get("SCORING_ENVIRONMENT", "self-hosted"),
            location=env.get("SCORING_LOCATION", "local"),
        )


def default_processes(pool: Literal["cpu", "gpu"]) -> int:
    """As many as there are CPUs, each for one of them, but four at most: more would be idle in most places.

    Image models use all CPUs, or the GPU, from within one process.
    """
    return min(cpu_limit(), MOST_BY_DEFAULT) if pool == "cpu" and sys.platform == "linux" else 1


def scoring_scripts_allowed(env: Mapping[str, str]) -> bool:
    return choice(env, "ALLOW_SCORING_SCRIPTS", ("0", "1"), "0") == "1"


def required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise BadSetting(f"{name} is not set")
    return value


def secret(env: Mapping[str, str], name: str) -> str:
    """The value of NAME, or what the file named in NAME_FILE holds (a mounted secret); empty when there is neither.

    Raises BadSetting for a file without a secret: whoever mounts one does not mean to open the pod to all.
    """
    path = env.get(f"{name}_FILE")
    if not path:
        return env.get(name, "")
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{name}_FILE: {path} cannot be read: {error}") from error
    if not value:
        raise BadSetting(f"{name}_FILE: {path} is empty")
    return value


def choice(env: Mapping[str, str], name: str, choices: tuple[str, ...], default: str | None = None) -> str:
    value = required(env, name) if default is None else env.get(name, default)
    if value not in choices:
        raise BadSetting(f"{name} must be {' or '.join(choices)}, not {value!r}")
    return value


def number(env: Mapping[str, str], name: str, default: int | None, least: int, most: int) -> int:
    value = required(env, name) if default is None else env.get(name, str(default))
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= most):
        raise BadSetting(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return int(value)
