"""How gunicorn runs the site: few processes, several threads in each, logs through ours alone.

Most of a request's time is spent waiting for a scoring pod, so threads serve it well; more processes add cores.

METRICS_BIND is served by gunicorn's own process, which has nothing else to do: it adds up what its workers keep in
files of a folder in memory.
"""

import os
import shutil
import tempfile
from typing import Any

worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108  # its heartbeat: never a disk
metrics_bind = os.environ.get("METRICS_BIND", "")
if metrics_bind and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # there already, when this file is read anew
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="scorepod-metrics-", dir=worker_tmp_dir)

# Only now: prometheus_client looks for the folder when it is imported.
from prometheus_client.multiprocess import mark_process_dead

from webapp import metrics
from webapp.bodies import LEFT_UNREAD, length_of, linger
from webapp.logs import logging_config

bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
wsgi_app = "webapp.wsgi:application"
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "1"))
threads = int(os.environ.get("WEB_THREADS", "16"))
timeout = 60  # seconds without a sign of life from a process
graceful_timeout = int(os.environ.get("WEB_GRACEFUL_TIMEOUT_S", "30"))  # longer than the longest scoring call
# Seconds that an idle connection stays: longer than proxies keep theirs (nginx a minute), so that none sends a request
# on one that is just being closed.
keepalive = 75
# Django itself decides which proxy's headers count (TRUSTED_PROXY_COUNT).
forwarded_allow_ips = ""
limit_request_line = 8190  # bytes: the most that gunicorn bounds at all
control_socket_disable = True

accesslog = None  # AccessLogMiddleware writes a better one
logconfig_dict: dict[str, Any] = logging_config(
    form=os.environ.get("LOG_FORMAT", "json"), level=os.environ.get("LOG_LEVEL", "INFO")
)


def pre_request(_worker: Any, request: Any) -> None:
    """Ends the connection after a body that may be left unread, so that the answer's Connection header says so."""
    if length_of(dict(request.headers).get("CONTENT-LENGTH")) > LEFT_UNREAD:
        request.must_close = True


def post_request(_worker: Any, request: Any, environ: dict[str, Any], _answer: Any) -> None:
    """Lets the sender of a large body that was refused have the answer, before gunicorn closes the connection."""
    if request.must_close and getattr(request.body.reader, "length", 0):  # bytes of it that nobody has read
        linger(environ["gunicorn.socket"])


def when_ready(server: Any) -> None:
    server.metrics = metrics.serve(metrics_bind, metrics.registry()) if metrics_bind else None


def post_fork(server: Any, _worker: Any) -> None:
    """The socket is the parent's: a worker that outlives it must not hold its port."""
    if getattr(server, "metrics", None):
        server.metrics.socket.close()
    metrics.threads.inc(threads)


def child_exit(_server: Any, worker: Any) -> None:
    """Forgets what the worker was doing; what it has counted stays."""
    if metrics_bind:
        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # theirs


def on_exit(_server: Any) -> None:
    if metrics_bind:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
