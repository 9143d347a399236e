"""Spans of records: what a door kept, and what a stage made of a batch. Called when tracing is on only."""

from __future__ import annotations

from collections.abc import Sequence

from connector.streams.codec import HEADER_EVENT_ID, HEADER_TRACE, EncodedRecord
from connector.streams.outcomes import Dead, Outcome, Record
from connector.telemetry.trace_ids import context_in
from connector.telemetry.tracing import Traces

# Updates and requests whose record begins its trace; others add to one that began elsewhere.
_BEGINS = (b"message:", b"echo:", b"send.requested:")


def trace_received(
    traces: Traces, door: str, records: Sequence[EncodedRecord], *, began: int, caller: str | None
) -> None:
    """A request whose records are durable. `began`: nanoseconds since the epoch. `caller`: its `traceparent`."""
    found = []
    for record in records:
        headers = dict(record.headers)
        if (trace := context_in(headers.get(HEADER_TRACE))) is not None:
            found.append((trace, headers[HEADER_EVENT_ID].startswith(_BEGINS)))
    if not found:
        return
    request = traces.add(
        f"POST {door}",
        context_in(caller),
        began=began,
        kind="server",
        attributes={"connector.records": len(records)},
        links=[trace for trace, _ in found],
    )
    for trace, begins in found:
        span = traces.begin if begins else traces.add
        span(f"received {door}", trace, began=began, kind="producer", links=[request])


def trace_handled(
    traces: Traces, stage: str, records: Sequence[Record], outcomes: Sequence[Outcome], *, seconds: float
) -> None:
    """A batch of a stage, just settled: a span in the trace of each record, and one of the batch that they link to."""
    found = [
        (trace, record, outcome)
        for record, outcome in zip(records, outcomes, strict=True)
        if (trace := context_in(record.headers.get(HEADER_TRACE))) is not None
    ]
    if not found:
        return
    began = traces.now() - int(seconds * 1e9)
    batch = traces.add(
        f"{stage} batch",
        None,
        began=began,
        kind="consumer",
        attributes={"messaging.system": "kafka", "messaging.batch.message_count": len(records)},
        links=[trace for trace, _, _ in found],
    )
    for trace, record, outcome in found:
        traces.add(
            stage,
            trace,
            began=began,
            kind="consumer",
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
            },
            links=[batch],
            error=outcome.cause if isinstance(outcome, Dead) else "",
        )
