"""Spans of what a CRM was told. Called when tracing is on only."""

from __future__ import annotations

from collections.abc import Sequence

from connector.crm.port import Written
from connector.sync.claims import ActivityOutcome
from connector.telemetry.trace_ids import message_subject
from connector.telemetry.tracing import Traces


def trace_written(
    traces: Traces, sink: str, outcomes: Sequence[ActivityOutcome], *, lost: Sequence[str], began: int
) -> None:
    """One drain, just settled: a span in the trace of each message. `lost`: creates whose answer was lost."""
    wanted = [(trace, item) for item in outcomes if (trace := traces.wanted(message_subject(item.wamid)))]
    doubts = [trace for wamid in lost if (trace := traces.wanted(message_subject(wamid)))]
    if not wanted and not doubts:
        return
    drain = traces.add(
        f"{sink} drain",
        None,
        began=began,
        kind="client",
        attributes={"connector.crm": sink, "connector.items": len(outcomes) + len(lost)},
        links=[*(trace for trace, _ in wanted), *doubts],
    )
    for trace, item in wanted:
        result = item.result
        word = type(result).__name__.lower()
        attributes = {"connector.crm": sink, "connector.result": word}
        if isinstance(result, Written):
            attributes |= {
                "connector.record_id": result.record_id,
                "connector.contact_record_id": item.on_record_id,
            }
        error = "" if isinstance(result, Written) else word
        traces.add(
            f"write {sink}",
            trace,
            began=began,
            kind="client",
            attributes=attributes,
            links=[drain],
            error=error,
        )
    for trace in doubts:
        attributes = {"connector.crm": sink, "connector.result": "lost_answer"}
        traces.add(
            f"write {sink}",
            trace,
            began=began,
            kind="client",
            attributes=attributes,
            links=[drain],
            error="lost_answer",
        )
