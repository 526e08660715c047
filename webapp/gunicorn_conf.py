"""How gunicorn runs the site: few processes, several threads in each, logs through ours alone.

Most of a request's time is spent waiting for a scoring pod, so threads serve it well; more processes add cores.
"""

import os
from typing import Any

from webapp.bodies import LEFT_UNREAD, length_of
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
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108  # its heartbeat: never a disk
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
