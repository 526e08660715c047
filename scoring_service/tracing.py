"""The pod's part of traces (OpenTelemetry), off unless OTEL_EXPORTER_OTLP_ENDPOINT says where they go.

Who calls says which trace it is, by W3C's traceparent; a request without one begins its own. Spans name routes, models
and versions, and how long rows waited; never what somebody asked. While traces are off, nothing of OpenTelemetry is
imported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

HEADER = "traceparent"

_tracer: Any = None


def start(endpoint: str, service: str) -> None:
    """Sends spans from now on, in the background. endpoint: "" leaves traces off; service: what traces call us.

    The rest of OpenTelemetry's variables hold as well: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on.
    """
    global _tracer  # noqa: PLW0603  # one for the process, from its start on
    if not endpoint:
        return
    # Importing takes a while, which only those pay who want traces.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("scorepod")


def on() -> bool:
    return _tracer is not None


@contextmanager
def request_span(parent: str, request_id: str) -> Iterator[None]:
    """What happens inside is the pod's part of the trace; its log lines have the trace's id. parent: HEADER, or ""."""
    if _tracer is None:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({HEADER: parent})
    with (
        _tracer.start_as_current_span(
            "request",
            context=context,
            kind=trace.SpanKind.SERVER,
            attributes={"request_id": request_id},
            record_exception=False,  # its text may be what somebody asked
            set_status_on_exception=False,
        ) as span,
        structlog.contextvars.bound_contextvars(trace_id=trace.format_trace_id(span.get_span_context().trace_id)),
    ):
        yield


def note(attributes: Mapping[str, str | int | float], *, name: str = "", failed: bool = False) -> None:
    """Adds attributes to the span of the request. name: a better one, known only now."""
    if _tracer is None:
        return
    from opentelemetry import trace

    span = trace.get_current_span()
    span.set_attributes(dict(attributes))
    if name:
        span.update_name(name)
    if failed:
        span.set_status(trace.StatusCode.ERROR)
