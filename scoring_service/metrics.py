"""Counters and timings for Prometheus. Labels name models and versions of the store, never what a client made up."""

import sys
from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one pod, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of_version = ("model", "version")
        self.requests = Counter(
            "scoring_requests", "Answered HTTP requests", ("route", "method", "status"), registry=self.registry
        )
        self.duration = Histogram(
            "scoring_request_seconds", "From request to answer", ("route",), buckets=SECONDS, registry=self.registry
        )
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.rows = Counter(
            "scoring_rows", "Rows by outcome", (*of_version, "outcome", "priority"), registry=self.registry
        )
        self.queue_wait = Histogram(
            "scoring_queue_seconds",
            "A row's wait for its batch",
            (*of_version, "priority"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.model_time = Histogram(
            "scoring_model_seconds", "One call of the model", of_version, buckets=SECONDS, registry=self.registry
        )
        self.batch_rows = Histogram(
            "scoring_batch_rows", "Rows in one call of the model", of_version, buckets=ROWS, registry=self.registry
        )
        self.queued = Gauge(
            "scoring_queued_rows", "Rows waiting now", (*of_version, "priority"), registry=self.registry
        )
        self.loaded = Gauge("scoring_version_loaded", "1: ready to answer", of_version, registry=self.registry)
        self.load_time = Gauge(
            "scoring_version_load_seconds", "Verifying, loading, warming up", of_version, registry=self.registry
        )

        self.processes = Gauge("scoring_processes", "Processes of the pod that serve", registry=self.registry)
        self.processes.set(1)
        self.in_flight = Gauge("scoring_requests_in_flight", "Requests being answered now", registry=self.registry)
        self.ready = Gauge("scoring_ready", "1: the pod takes requests", registry=self.registry)
        self.store_readable = Gauge(
            "scoring_store_readable", "1: the model store could be read at the last look", registry=self.registry
        )
        self.unusable = Gauge(
            "scoring_version_unusable", "1: wanted here, and cannot be loaded", of_version, registry=self.registry
        )
        self.memory = Gauge("scoring_memory_bytes", "Memory that the pod has now", registry=self.registry)
        self.memory_limit = Gauge(
            "scoring_memory_limit_bytes", "Memory that it may have; 0: no limit", registry=self.registry
        )
        self.registry.register(DeviceMemory())
        ProcessCollector(registry=self.registry)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """An answered request; seconds: from request to answer."""
        key = (route, method, status)
        if key not in self._of_requests:  # looking labels up takes longer than counting
            self._of_requests[key] = self.requests.labels(*key), self.duration.labels(route)
        counter, duration = self._of_requests[key]
        counter.inc()
        duration.observe(seconds)

    def note_state(
        self,
        *,
        ready: bool,
        store_readable: bool,
        unusable: Collection[tuple[str, str]],
        memory: int,
        memory_limit: int | None,
    ) -> None:
        """How the pod stands at the moment of a scrape. unusable: model and version; memory in bytes."""
        self.ready.set(ready)
        self.store_readable.set(store_readable)
        self.memory.set(memory)
        self.memory_limit.set(memory_limit or 0)
        self.unusable.clear()
        for model, version in unusable:
            self.unusable.labels(model, version).set(1)


class DeviceMemory(Collector):
    """Memory of the GPU that the models run on; nothing where they run on the CPU."""

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily(
            "scoring_device_memory_bytes", "Memory of the GPU: total, used by all, held for our models", labels=["kind"]
        )
        torch = sys.modules.get("torch")  # a pod without image models has not imported it
        if torch and torch.cuda.is_available() and torch.cuda.is_initialized():
            free, total = torch.cuda.mem_get_info()
            for kind, size in (("total", total), ("used", total - free), ("models", torch.cuda.memory_reserved())):
                found.add_metric([kind], size)
        yield found
