"""What Prometheus is told of the site and its workers.

Labels name what is ours: routes, tasks, models and versions that have answered; never what a client made up. Counting
costs some microseconds and waits for nobody. What is counted is served on a port of its own, METRICS_BIND, which nobody
outside may reach. docs/operations.md says what each alert makes of it.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from django.http import HttpRequest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger(__name__)

# Seconds. 0.5 and 2.5 are what the alerts promise of questions and pictures.
OF_A_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
OF_A_WAIT = (0.05, 0.25, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
OF_A_TASK = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 900)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
STATIC, HEALTH, NO_ROUTE = "static", "health", "none"  # what belongs to no view

# The site ------------------------------------------------------------------------------------------------------------

requests = Counter("scorepod_requests", "Answered HTTP requests", ("route", "method", "status"))
request_seconds = Histogram("scorepod_request_seconds", "From request to answer", ("route",), buckets=OF_A_REQUEST)
in_flight = Gauge("scorepod_requests_in_flight", "Requests being answered now", multiprocess_mode="livesum")
threads = Gauge("scorepod_web_threads", "Requests that can be answered at once", multiprocess_mode="livesum")
logins = Counter("scorepod_logins", "Sign-ins with a password, by outcome: ok or failed", ("outcome",))
keys_refused = Counter("scorepod_keys_refused", "API keys that opened nothing, by reason", ("reason",))
limits_failed_open = Counter("scorepod_limits_failed_open", "Requests let through because no limit could be counted")
cache_errors = Counter("scorepod_cache_errors", "Calls of the cache that Redis did not answer")

# Calls to pods -------------------------------------------------------------------------------------------------------

# outcome: ok, refused (the input), unavailable, timeout, error; version: "" where no pod said which it was.
pod_calls = Counter("scorepod_pod_calls", "Calls to scoring pods", ("model", "version", "outcome"))
pod_call_seconds = Histogram(
    "scorepod_pod_call_seconds", "From call to answer, retries included", ("model", "version"), buckets=OF_A_REQUEST
)
pod_retries = Counter("scorepod_pod_retries", "Calls tried once more, by pool and reason", ("pool", "reason"))
rows = Counter("scorepod_rows", "Questions and pictures, by where they came from", ("source", "model", "outcome"))

# Background work -----------------------------------------------------------------------------------------------------

tasks = Counter("scorepod_tasks", "Tasks that have ended, by Celery's state", ("task", "state"))
task_seconds = Histogram("scorepod_task_seconds", "From start to end of a task", ("task",), buckets=OF_A_TASK)
task_wait = Histogram("scorepod_task_wait_seconds", "From sending to start of a task", ("queue",), buckets=OF_A_WAIT)
tasks_not_sent = Counter("scorepod_tasks_not_sent", "Tasks that the broker did not take", ("queue",))
# outcome: done, given_back (tried again), late (another worker had it), broke (an error of ours)
chunks = Counter("scorepod_batch_chunks_ended", "Chunks of batches that a worker has let go of", ("outcome",))
jobs_ended = Counter("scorepod_batch_jobs_ended", "Batches that have ended", ("state",))
# outcome: delivered, again (failed, tried again), given_up (all attempts failed, or the endpoint is gone)
webhook_attempts = Counter("scorepod_webhook_attempts", "Attempts to deliver an event", ("outcome",))

# What may never have happened is there as a zero: else nobody would see its first time.
for metric, values in (
    (logins, ("ok", "failed")),
    (chunks, ("done", "given_back", "late", "broke")),
    (jobs_ended, ("completed", "failed", "expired", "cancelled")),
    (webhook_attempts, ("delivered", "again", "given_up")),
):
    for value in values:
        metric.labels(value)


def route_of(request: HttpRequest, *, static_url: str, health: bool) -> str:
    """The name of the view that answers, or what the address is where none does."""
    if match := request.resolver_match:
        return match.view_name
    if health:
        return HEALTH
    return STATIC if request.path.startswith(static_url) else NO_ROUTE


def note_request(route: str, method: str | None, status: int, seconds: float) -> None:
    requests.labels(route, method if method in METHODS else "other", status).inc()
    request_seconds.labels(route).observe(seconds)


@dataclass
class PodCall:
    """A call on its way. Whoever reads the answer tells the version; outcome: as of `pod_calls`."""

    version: str = ""
    outcome: str = "error"


@contextmanager
def pod_call(model: str) -> Iterator[PodCall]:
    """Counts what happens inside as one call for the model."""
    call, began = PodCall(), time.perf_counter()
    try:
        yield call
    finally:
        pod_calls.labels(model, call.version, call.outcome).inc()
        pod_call_seconds.labels(model, call.version).observe(time.perf_counter() - began)


# Serving -------------------------------------------------------------------------------------------------------------


def registry() -> CollectorRegistry:
    """What is counted: by all processes of one program that keep it in PROMETHEUS_MULTIPROC_DIR, else by this one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    of_all = CollectorRegistry()
    MultiProcessCollector(of_all)  # type: ignore[no-untyped-call]  # theirs
    return of_all


class Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, so that a scrape that takes long keeps no probe waiting."""

    daemon_threads = True


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # theirs
        """Nothing: a line for each scrape and probe helps nobody."""


Probe = Callable[[], str]  # why not; empty: all is well


def serve(bind: str, counted: CollectorRegistry, probes: Mapping[str, Probe] | None = None) -> WSGIServer | None:
    """Serves /metrics in a thread, and the probes at their paths; returns the server.

    bind: host:port, [host]:port for IPv6. A port that is taken is an error in the log, and no reason not to work.
    """
    name, _, port = bind.rpartition(":")
    host = name.strip("[]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        of_family: type[Server] = type("Server", (Server,), {"address_family": family})
        server = make_server(host, int(port), _application(counted, probes or {}), of_family, Silent)
    except OSError as error:
        log.error("metrics_not_served", address=bind, error=str(error))
        return None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log.info("metrics_served", address=bind)
    return server


def _application(counted: CollectorRegistry, probes: Mapping[str, Probe]) -> "WSGIApplication":
    metrics: WSGIApplication = make_wsgi_app(counted)

    def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        probe = probes.get(environ["PATH_INFO"])
        if probe is None:
            return metrics(environ, start_response)
        why_not = probe()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
        start_response("503 Service Unavailable" if why_not else "200 OK", headers)
        return [f"{why_not or 'ok'}\n".encode()]

    return application
