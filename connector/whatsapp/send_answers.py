"""What came back from POST /{phone number id}/messages: taken, refused, or nobody knows.

A send has no idempotency key. So only Meta's own error object says that nothing was sent; every other answer that is
not an acceptance (a proxy's page, half a body, a 5xx without JSON) leaves it open, like an answer that never came.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from connector.whatsapp.lenient import as_list, as_object, as_text
from connector.whatsapp.send_errors import ErrorRule, MetaError, read_error, rule_of
from connector.whatsapp.text import identifier


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """WhatsApp has it. `message_status` held_for_quality_assessment may still be dropped."""

    wamid: str
    message_status: str = "accepted"
    wa_id: str = ""
    """The person's phone as WhatsApp writes it: it may differ from the one that was given. "" for a BSUID."""
    user_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Nothing was sent. `retry_after`: seconds, where the answer said so."""

    error: MetaError
    rule: ErrorRule
    retry_after: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Unclear:
    """It may have been sent, or not: only a status that carries our callback data tells."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsent:
    """It certainly was not sent: not a byte of the request left."""

    reason: str


SendAnswer = Taken | Refused | Unclear | Unsent


def read_answer(*, http_status: int, body: bytes, retry_after: str = "") -> SendAnswer:
    """What an answer means. `retry_after`: the header, as sent."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unclear(reason=f"the answer, HTTP {http_status}, is not JSON")
    error = read_error(document) if isinstance(document, dict) and "error" in document else None
    if error is not None:
        rule = rule_of(error, http_status=http_status)
        return Refused(error=error, rule=rule, retry_after=_seconds(retry_after))
    content = as_object(document)
    message = as_object(next(iter(as_list(content.get("messages"))), None))
    wamid = identifier(message.get("id"))
    if not wamid or not 200 <= http_status < 300:
        return Unclear(reason=f"the answer, HTTP {http_status}, has neither a message id nor Meta's error")
    contact = as_object(next(iter(as_list(content.get("contacts"))), None))
    return Taken(
        wamid=wamid,
        message_status=as_text(message.get("message_status")) or "accepted",
        wa_id=identifier(contact.get("wa_id")),
        user_id=identifier(contact.get("user_id")),
    )


def _seconds(header: str) -> float | None:
    try:
        seconds = float(header)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None
