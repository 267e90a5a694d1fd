"""A span for each answer, sent to the OTLP collector that `MINIVAULT_OTEL_ENDPOINT` names; needs the extra `otel`.

Spans join their client's trace (`traceparent`, and its sampling decision). They wait in a bounded queue for a thread of
their own: a collector that is gone or hangs costs spans, never an answer.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from minivault import __version__
from minivault.errors import ConfigError
from minivault.observe.ended import Ended, Refused
from minivault.observe.gen_ai import attributes_of, operation

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

QUEUE_SPANS = 2048
EXPORT_TIMEOUT_S = 5.0
_CLOSE_S = 1.0


class Traces:
    """A watcher (`Watcher`) that exports spans."""

    def __init__(self, endpoint: str, every_s: float = 2.0) -> None:
        ensure_installed()
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        session = requests.Session()
        session.trust_env = False  # a proxy would be another machine than the one that was named
        address = f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/traces"
        self._exporter: SpanExporter = OTLPSpanExporter(address, timeout=EXPORT_TIMEOUT_S, session=session)
        named = Resource({"service.name": "minivault", "service.version": __version__})
        resource = named.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, QUEUE_SPANS, every_s * 1000))
        self._tracer = self._provider.get_tracer("minivault", __version__)

    def ended(self, ended: Ended) -> None:
        """Queue the span of an answer."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        span = self._tracer.start_span(
            f"{operation(ended)} {ended.model}",
            TraceContextTextMapPropagator().extract({"traceparent": ended.traceparent}),
            SpanKind.INTERNAL,  # as the conventions call a model in the same process
            attributes_of(ended),
            start_time=ended.began_ns,
        )
        if ended.error_code:
            span.set_status(Status(StatusCode.ERROR, ended.error_code))
        span.end(ended.began_ns + ended.timings.get("total_ns", 0))

    def refused(self, refused: Refused) -> None:
        """Nothing was generated: metrics count it."""

    def close(self) -> None:
        """Send what waits, for a second at most; nothing is tried again after that."""
        sending = threading.Thread(target=self._provider.shutdown, name="minivault-traces-end", daemon=True)
        sending.start()
        sending.join(_CLOSE_S)
        if sending.is_alive():
            self._exporter.shutdown()


def ensure_installed() -> None:
    """Raise ConfigError where the extra is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401
    except ImportError:
        message = "MINIVAULT_OTEL_ENDPOINT needs the extra `otel`: pip install 'minivault[otel]'"
        raise ConfigError(message, field="MINIVAULT_OTEL_ENDPOINT") from None
