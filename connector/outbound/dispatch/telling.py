"""What the log is told of each step of a send. Pure; ids are made of the send, so that a step told twice is one.

The message itself, sent or not, is a `Message` of its own, so that both CRMs show it on the person's timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from connector.events import (
    ConversationEvent,
    Message,
    Origin,
    Person,
    SendAccepted,
    SendAttempted,
    SendBlocked,
    SendFailed,
    SendUnknown,
    make_event_id,
)
from connector.outbound.dispatch.send import BusinessNumber, Send
from connector.outbound.gate import Verdict

_NOT_SENT = "Not sent"


def attempted(send: Send, number: BusinessNumber, *, at: datetime) -> SendAttempted:
    """It is about to leave. `send.attempts` counts this attempt."""
    return SendAttempted(
        event_id=f"send.attempted:{send.send_id}:{send.attempts}",
        attempt=send.attempts,
        **_step(send, number, at),
    )


def accepted(
    send: Send, number: BusinessNumber, *, wamid: str, message_status: str, at: datetime
) -> Sequence[ConversationEvent]:
    """WhatsApp has it."""
    event = SendAccepted(
        event_id=f"send.accepted:{send.send_id}",
        wamid=wamid,
        message_status=message_status,
        **_step(send, number, at),
    )
    return (event, *_messages(send, number, wamid=wamid, status="accepted", at=at))


def blocked(
    send: Send, number: BusinessNumber, *, policy: str, reason: str, verdict: Verdict, at: datetime
) -> Sequence[ConversationEvent]:
    """It may not be sent."""
    event = SendBlocked(
        event_id=f"send.blocked:{send.send_id}",
        policy=policy,
        reason=reason,
        verdict=verdict.to_json(),
        **_step(send, number, at),
    )
    return (event, *_never_sent(send, number, reason=reason, code=0, at=at))


def failed(
    send: Send, number: BusinessNumber, *, code: int, cause: str, reason: str, at: datetime
) -> Sequence[ConversationEvent]:
    """WhatsApp refused it for good, or its time ran out. `code`: Meta's, 0 for ours."""
    event = SendFailed(
        event_id=f"send.failed:{send.send_id}",
        code=code,
        cause=cause,
        reason=reason,
        **_step(send, number, at),
    )
    return (event, *_never_sent(send, number, reason=reason, code=code, at=at))


def unknown(send: Send, number: BusinessNumber, *, reason: str, at: datetime) -> SendUnknown:
    """Nobody knows whether it was sent, and no status came."""
    return SendUnknown(event_id=f"send.unknown:{send.send_id}", reason=reason, **_step(send, number, at))


def _never_sent(
    send: Send, number: BusinessNumber, *, reason: str, code: int, at: datetime
) -> Sequence[Message]:
    error: dict[str, Any] = {"title": _NOT_SENT, "message": reason, **({"code": code} if code else {})}
    return _messages(send, number, wamid=f"send:{send.send_id}", status="failed", at=at, errors=[error])


def _messages(
    send: Send,
    number: BusinessNumber,
    *,
    wamid: str,
    status: str,
    at: datetime,
    errors: Sequence[dict[str, Any]] = (),
) -> Sequence[Message]:
    """The message on the person's timeline; none when the recipient is nobody we know."""
    if send.contact_id is None:
        return ()
    message = Message(
        event_id=make_event_id(
            kind="message",
            number=number.phone_number_id,
            subject=wamid,
            recipient=str(send.contact_id),
            content=send.send_id,
        ),
        direction="outbound",
        wamid=wamid,
        via="platform",
        message_type="template",
        text=send.rendered or send.template_name,
        content={"template": {"name": send.template_name, "language": send.template_language}},
        reported_status=status,
        errors=list(errors),
        **_where(send, number, at),
    )
    return (message,)


def _step(send: Send, number: BusinessNumber, at: datetime) -> dict[str, Any]:
    return {
        "send_id": send.send_id,
        "trigger_id": send.trigger_id,
        "template": send.template_name,
        "language": send.template_language,
        "category": send.category,
        "purpose": send.purpose,
        "reference": send.reference,
        **_where(send, number, at),
    }


def _where(send: Send, number: BusinessNumber, at: datetime) -> dict[str, Any]:
    return {
        "waba_id": number.waba_id,
        "phone_number_id": number.phone_number_id,
        "business_phone": number.display_phone.lstrip("+"),
        "at": at,
        "person": Person(contact_id=send.contact_id, bsuid=send.bsuid or None, phone=send.phone or None),
        "origin": Origin(
            topic=send.topic, partition=send.partition, offset=send.offset, received_at=send.created_at
        ),
    }
