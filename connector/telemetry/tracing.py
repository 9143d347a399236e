"""Traces, when they are switched on: finished spans of what roles did, handed to OpenTelemetry's exporter.

Spans are made after the fact, of times that the roles have anyway, and set-wise as the work is. Off, which is the default,
each place costs one look at a variable, and OpenTelemetry is not imported.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from connector.errors import SettingsError
from connector.settings import TracingSettings
from connector.telemetry.trace_ids import TraceContext, context_of, subject_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | bool]

_MOST_LINKS = 128  # the specification's default limit
_QUEUE = 16_384  # spans: a few batches of every stage; beyond it the exporter drops, and says so
_EXPORT_TIMEOUT = 3.0  # seconds; a collector that is away must not hold up the end of a process


class Traces:
    """Makes spans. Thread-safe as far as the processor is."""

    def __init__(
        self,
        processor: SpanProcessor,
        *,
        role: str,
        share: float = 1.0,
        now: Callable[[], int] = time.time_ns,
        random_bits: Callable[[int], int] = random.getrandbits,
    ) -> None:
        """`share`: of all messages and sends. `now`: nanoseconds since the epoch."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        resource = Resource.create({"service.name": f"connector-{role}", "service.namespace": "connector"})
        scope = InstrumentationScope("connector")
        kinds = {kind.name.lower(): kind for kind in SpanKind}

        def known(context: TraceContext) -> Any:
            return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)

        def span(
            name: str,
            context: TraceContext,
            *,
            parent: TraceContext | None,
            kind: Kind,
            began: int,
            attributes: Attributes,
            links: Sequence[TraceContext],
            error: str,
        ) -> None:
            finished = ReadableSpan(
                name,
                context=known(context),
                parent=known(parent) if parent else None,
                resource=resource,
                attributes=attributes,
                links=[Link(known(link)) for link in links[:_MOST_LINKS]],
                kind=kinds[kind],
                instrumentation_scope=scope,
                status=Status(StatusCode.ERROR, error) if error else Status(),
                start_time=began,
                end_time=max(began, self.now()),
            )
            processor.on_end(finished)

        self._span = span
        self._share = share
        self._random_bits = random_bits
        self.now = now

    def header(self, fields: Mapping[str, Any]) -> str:
        """The `traceparent` of a record with these fields; "" when it is in no trace."""
        subject = subject_of(fields)
        context = context_of(subject) if subject else None
        return context.header if context is not None and context.is_among(self._share) else ""

    def wanted(self, subject: str) -> TraceContext | None:
        """The trace of a message or send, if it is among those that are traced."""
        context = context_of(subject)
        return context if context.is_among(self._share) else None

    def begin(
        self,
        name: str,
        trace: TraceContext,
        *,
        began: int,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        links: Sequence[TraceContext] = (),
    ) -> TraceContext:
        """The first span of a trace. Told again, it is the same span."""
        self._span(
            name,
            trace,
            parent=None,
            kind=kind,
            began=began,
            attributes=attributes or {},
            links=links,
            error="",
        )
        return trace

    def add(
        self,
        name: str,
        trace: TraceContext | None,
        *,
        began: int,
        kind: Kind = "internal",
        attributes: Attributes | None = None,
        links: Sequence[TraceContext] = (),
        error: str = "",
    ) -> TraceContext:
        """A span below `trace`, or of a trace of its own. `error`: what went wrong, a word; never what people wrote."""
        span_id = self._random_bits(64) or 1
        context = TraceContext(trace.trace_id if trace else self._random_bits(128) or 1, span_id)
        self._span(
            name,
            context,
            parent=trace,
            kind=kind,
            began=began,
            attributes=attributes or {},
            links=links,
            error=error,
        )
        return context


_active: Traces | None = None


def active() -> Traces | None:
    """Where spans go; None while tracing is off."""
    return _active


@contextmanager
def traced(traces: Traces) -> Iterator[None]:
    """Within it `traces` are active."""
    global _active  # noqa: PLW0603 - one exporter a process, as with the metrics' registry
    before, _active = _active, traces
    try:
        yield
    finally:
        _active = before


@contextmanager
def tracing_as_set(settings: TracingSettings, *, role: str) -> Iterator[None]:
    """What the settings say, for the life of a role; what is not sent at its end is dropped after seconds.

    Raises `SettingsError` when an endpoint is set and OpenTelemetry is not installed.
    """
    if not settings.endpoint:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "CONNECTOR_TRACING__ENDPOINT is set, and OpenTelemetry is not installed.",
            advice="install whatsapp-crm-connector[tracing], or leave the setting out",
        ) from error
    exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces", timeout=_EXPORT_TIMEOUT)
    processor = BatchSpanProcessor(exporter, max_queue_size=_QUEUE)
    try:
        with traced(Traces(processor, role=role, share=settings.share)):
            yield
    finally:
        closing = threading.Thread(target=processor.shutdown, daemon=True)
        closing.start()
        closing.join(_EXPORT_TIMEOUT)
