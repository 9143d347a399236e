"""Which trace a record belongs to. Pure: the ids follow from the message or send, so no table has to carry them.

W3C Trace Context (https://www.w3.org/TR/trace-context/) in the Kafka header `traceparent`. A trace's first span has an id
that follows, too: every stage hangs its span below it, whether it met the record on a topic or in a table
(docs/decisions/trace-ids-are-derived.md).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SENDS = "trg_"  # what our send ids, and so our callback data, begin with (connector/outbound/told.py)
_HEADER = re.compile(r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_ALL = 2**56


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace, by which others refer to it."""

    trace_id: int
    span_id: int

    @property
    def header(self) -> str:
        """The value of `traceparent`: sampled, as what is not has no header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-01"

    def is_among(self, share: float) -> bool:
        """Whether the trace is one of that share of all: the same answer in every role."""
        return self.trace_id % _ALL < share * _ALL


def context_of(subject: str) -> TraceContext:
    """The first span of a message's or send's trace. `subject`: as of `subject_of`."""
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()
    return TraceContext(int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1)


def context_in(header: bytes | str | None) -> TraceContext | None:
    """What a `traceparent` says; None when there is none, it is not sampled, or it is malformed."""
    text = header.decode("ascii", "replace") if isinstance(header, bytes) else header or ""
    found = _HEADER.fullmatch(text)
    if found is None or not int(found["flags"], 16) & 1:
        return None
    trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
    return TraceContext(trace_id, span_id) if trace_id and span_id else None


def message_subject(wamid: str) -> str:
    """Of a message. One that was never sent has no id of WhatsApp's: it belongs to its send."""
    return wamid if wamid.startswith(f"send:{_SENDS}") else f"message:{wamid}"


def send_subject(send_id: str) -> str:
    """Of a send, from its trigger to its last status."""
    return f"send:{send_id}"


def subject_of(fields: Mapping[str, Any]) -> str:
    """What a record is about, of the fields of its value: a message, a send, or "" for anything else.

    A status of a send of ours belongs to the send, any other to the message that it names.
    """
    if send_id := fields.get("send_id"):
        return send_subject(send_id)
    wamid, callback = fields.get("wamid"), fields.get("callback_data")
    update = fields.get("update")
    if wamid is None and isinstance(update, Mapping):
        wamid, callback = update.get("id"), update.get("biz_opaque_callback_data")
    if isinstance(callback, str) and callback.startswith(_SENDS):
        return send_subject(callback)
    return message_subject(wamid) if isinstance(wamid, str) and wamid else ""
