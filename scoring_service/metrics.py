"""Counters and timings for Prometheus. Labels name models and versions of the store, never what a client made up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

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

    def text(self) -> bytes:
        return generate_latest(self.registry)
