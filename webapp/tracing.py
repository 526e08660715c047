"""Traces of the site and its workers, off unless OTEL_EXPORTER_OTLP_ENDPOINT says where they go.

A request is one trace: the site's part, each call to a pod with the pod's part, and the tasks it has sent. Spans name
routes, models and tasks; never an address with what somebody asked, nor the text of an error. While traces are off,
nothing of OpenTelemetry is imported.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

from structlog.typing import EventDict, WrappedLogger

Kind = Literal["SERVER", "CLIENT", "CONSUMER"]
Attributes = Mapping[str, str | int | float]
HEADER = "traceparent"  # of W3C Trace Context, between programs and in messages

_tracer: Any = None


class Span(Protocol):
    """A part of a trace that is going on."""

    def note(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """Adds attributes. name: a better one, known only now."""


class _Off:
    def note(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        pass


class _On:
    def __init__(self, span: Any) -> None:
        self._span = span

    def note(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        from opentelemetry.trace import StatusCode  # only while traces are on

        self._span.set_attributes(attributes)
        if name:
            self._span.update_name(name)
        if failed:
            self._span.set_status(StatusCode.ERROR)


OFF = _Off()


def start(endpoint: str, service: str) -> None:
    """Sends spans from now on, in the background. endpoint: "" leaves traces off; service: what traces call us.

    The rest of OpenTelemetry's variables hold as well: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and so on.
    """
    global _tracer  # noqa: PLW0603  # one for the process, from its start on
    if not endpoint or _tracer is not None:
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


@contextmanager
def span(name: str, kind: Kind, attributes: Attributes | None = None, *, parent: str = "") -> Iterator[Span]:
    """What happens inside, as a part of the trace. parent: the HEADER that came with it; "" for the span around it."""
    if _tracer is None:
        yield OFF
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({HEADER: parent}) if parent else None
    with _tracer.start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind],
        attributes=dict(attributes or {}),
        record_exception=False,  # its text may be what somebody asked
        set_status_on_exception=False,
    ) as current:
        going_on = _On(current)
        try:
            yield going_on
        except BaseException:
            going_on.note({}, failed=True)
            raise


def headers() -> dict[str, str]:
    """What has the receiver's part join this trace; {} outside of one."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return {name: value for name, value in carrier.items() if name == HEADER}


def add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The event with the id of the trace it is in, if it is in one."""
    if _tracer is not None:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
