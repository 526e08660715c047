"""How things stand, asked anew at each scrape: queues, batches, webhooks, what serves, disks, the certificate.

One process of an installation tells it, the one that has the schedule: else each figure would be there several times.
"""

import shutil
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import structlog
from celery.signals import beat_init, worker_init
from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import connection
from django.db.models import Count, Max, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from webapp import liveness, metrics, queues
from webapp.batch.models import Chunk, Job
from webapp.celery import app
from webapp.registry.models import Pulse, Version
from webapp.webhooks.models import Delivery

log = structlog.get_logger(__name__)

CERTIFICATE_KNOWN_FOR = 600.0  # seconds
CONNECT_WITHIN = 3.0  # seconds


@worker_init.connect
def serve_metrics_of_a_worker(**_options: object) -> None:
    """Before it looks for its broker: until it has found one it is asked how it is, too."""
    _serve(liveness.of_worker, has_schedule=app.conf.worker_beat, works=True)


@beat_init.connect
def serve_metrics_of_beat(**_options: object) -> None:
    if not app.conf.worker_beat:  # else it is the thread of a worker
        _serve(liveness.of_beat, has_schedule=True, works=False)


def _serve(rounds: liveness.Rounds, *, has_schedule: bool, works: bool) -> None:
    """has_schedule: tells how the whole installation stands, too. works: writes to the folders, and tells of them."""
    if not settings.METRICS_BIND:
        return
    told = metrics.registry()
    if works:
        told.register(Disks())
    if has_schedule:
        told.register(Standing())
    probes = {"/health/live": rounds.not_live_because, "/health/ready": rounds.not_ready_because}
    metrics.serve(settings.METRICS_BIND, told, probes)


class Standing(Collector):
    """What the database, the broker and the public address say right now."""

    def __init__(self) -> None:
        self._certificate = Certificate(settings.PUBLIC_URL)

    def describe(self) -> Iterable[Metric]:
        """Nothing: it is not asked before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _of_the_broker()
        yield from _of_the_database()
        yield from self._certificate.collect()


class Disks(Collector):
    """How full the folders are that this process writes to."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        size = Gauge("scorepod_disk_size_bytes", "Size of the disk that a folder is on", labels=["folder"])
        free = Gauge("scorepod_disk_free_bytes", "What is free on it", labels=["folder"])
        for name, folder in (("batches", settings.BATCH_DIR), ("models", settings.MODEL_STORE)):
            if folder.is_dir():
                disk = shutil.disk_usage(folder)
                size.add_metric([name], disk.total)
                free.add_metric([name], disk.free)
        yield size
        yield free


def _of_the_broker() -> Iterator[Metric]:
    lengths = queues.lengths()
    yield Gauge("scorepod_broker_up", "1: the broker answers", value=int(bool(lengths)))
    waiting = Gauge("scorepod_queue_messages", "Messages that wait in a queue", labels=["queue"])
    for name, length in lengths.items():
        waiting.add_metric([name], length)
    yield waiting


def _of_the_database() -> Iterator[Metric]:
    """All of it, or only that the database does not answer."""
    try:
        found = [*_of_batches(), *_of_webhooks(), *_of_versions(), *_of_workers()]
    except AnyDatabaseError as error:
        log.warning("standing_unknown", error=type(error).__name__)
        found = []
    finally:
        connection.close()  # this thread ends with the scrape
    yield Gauge("scorepod_database_up", "1: the database answers", value=int(bool(found)))
    yield from found


def _of_batches() -> Iterator[Metric]:
    counted = dict(Job.objects.filter(ended_at=None).order_by().values_list("state").annotate(Count("pk")))
    jobs = Gauge("scorepod_batch_jobs", "Batches that have not ended", labels=["state"])
    for state in map(str, (Job.State.DRAFT, *Job.OPEN)):
        jobs.add_metric([state], counted.get(state, 0))
    yield jobs

    of_open = Chunk.objects.filter(job__state__in=Job.OPEN, state__in=[Chunk.State.WAITING, Chunk.State.RUNNING])
    counted = dict(of_open.order_by().values_list("state").annotate(Count("pk")))
    chunks = Gauge("scorepod_batch_chunks", "Chunks of open batches that are not done", labels=["state"])
    for state in map(str, (Chunk.State.WAITING, Chunk.State.RUNNING)):
        chunks.add_metric([state], counted.get(state, 0))
    yield chunks

    at_work = Job.objects.filter(state__in=[Job.State.IN_PROGRESS, Job.State.FINALIZING])
    moved = at_work.order_by().annotate(at=Coalesce(Max("chunks__done_at"), "in_progress_at")).values_list("at")
    now = timezone.now()
    still = max(((now - at).total_seconds() for (at,) in moved if at), default=0.0)
    yield Gauge("scorepod_batch_still_seconds", "Since the last chunk was done, of the batch that waits longest", still)


def _of_webhooks() -> Iterator[Metric]:
    pending = Delivery.objects.filter(state=Delivery.State.PENDING)
    counted = pending.aggregate(late=Count("pk", filter=Q(due_at__lte=timezone.now())), all=Count("pk"))
    deliveries = Gauge("scorepod_webhook_deliveries", "Events not delivered yet: due now, or later", labels=["when"])
    deliveries.add_metric(["now"], counted["late"])
    deliveries.add_metric(["later"], counted["all"] - counted["late"])
    yield deliveries


def _of_versions() -> Iterator[Metric]:
    serving = Gauge("scorepod_version_role", "1: the version has the role", labels=["model", "version", "role"])
    for names in Version.objects.exclude(role="").values_list("model__name", "name", "role"):
        serving.add_metric([str(name) for name in names], 1)
    yield serving


def _of_workers() -> Iterator[Metric]:
    seen = Pulse.objects.filter(name="watch").values_list("at", flat=True).first()
    silent = (timezone.now() - seen).total_seconds() if seen else float("inf")
    yield Gauge("scorepod_worker_silent_seconds", "Since a worker last did what is due every two seconds", silent)


class Certificate:
    """When the certificate of the public address ends, as a browser sees it. Looked at every ten minutes."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 443
        self._wanted = address.scheme == "https"
        self._look_at = 0.0  # on the monotonic clock
        self._ends_at: float | None = None  # seconds since 1970

    def collect(self) -> Iterator[Metric]:
        if not self._wanted:
            return
        if time.monotonic() >= self._look_at:
            self._ends_at = self._look()
            self._look_at = time.monotonic() + CERTIFICATE_KNOWN_FOR
        known = int(self._ends_at is not None)
        yield Gauge("scorepod_certificate_valid", "1: the public address shows a certificate that holds", known)
        if self._ends_at is not None:
            yield Gauge("scorepod_certificate_ends_timestamp_seconds", "When it ends", self._ends_at)

    def _look(self) -> float | None:
        try:
            with (
                socket.create_connection((self._host, self._port), CONNECT_WITHIN) as plain,
                ssl.create_default_context().wrap_socket(plain, server_hostname=self._host) as safe,
            ):
                shown = safe.getpeercert() or {}
        except OSError as error:  # SSLError is one
            log.warning("certificate_not_valid", host=self._host, error=str(error))
            return None
        return float(ssl.cert_time_to_seconds(str(shown["notAfter"])))
