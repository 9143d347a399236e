"""Spans of a send: what was decided, and what WhatsApp answered. Called when tracing is on only."""

from __future__ import annotations

from collections.abc import Sequence

from connector.outbound.dispatch.judging import Judged
from connector.telemetry.trace_ids import message_subject, send_subject
from connector.telemetry.tracing import Traces
from connector.whatsapp.send_answers import Refused, SendAnswer, Taken


def trace_judged(traces: Traces, judged: Sequence[Judged], *, seconds: float) -> None:
    """Judgements of one claim, just committed. What is held is told once it is not: it is judged again and again."""
    began = traces.now() - int(seconds * 1e9)
    for item in judged:
        trace = traces.wanted(send_subject(item.send.send_id))
        if trace is None or item.fate == "held":
            continue
        attributes: dict[str, str | int] = {
            "connector.fate": item.fate,
            "connector.attempt": item.send.attempts,
        }
        if (decisive := item.verdict.decisive) is not None:
            attributes["connector.policy"] = decisive.policy
        error = "" if item.fate == "sending" else item.fate
        traces.add("judged", trace, began=began, attributes=attributes, error=error)


def trace_answered(traces: Traces, send_id: str, answer: SendAnswer, *, seconds: float) -> None:
    """An attempt and its answer. The message, once WhatsApp has it, has a trace of its own; they link to each other."""
    trace = traces.wanted(send_subject(send_id))
    if trace is None:
        return
    began = traces.now() - int(seconds * 1e9)
    word = type(answer).__name__.lower()
    attributes: dict[str, str | int] = {"connector.answer": word}
    if isinstance(answer, Refused):
        attributes |= {"connector.cause": answer.rule.cause, "connector.code": answer.error.code}
    message = traces.wanted(message_subject(answer.wamid)) if isinstance(answer, Taken) else None
    sent = traces.add(
        "send to WhatsApp",
        trace,
        began=began,
        kind="client",
        attributes=attributes,
        links=[message] if message else [],
        error="" if isinstance(answer, Taken) else word,
    )
    if message is not None:
        traces.begin("taken by WhatsApp", message, began=began, kind="producer", links=[sent])
