"""What the outbound role says about people and sends on `conversation.events`. Pure: rows in, events out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector.events import (
    ConsentChanged,
    Message,
    Origin,
    Person,
    PersonIntroduced,
    SendFailed,
    make_event_id,
)
from connector.identity.directory import Alias
from connector.outbound.store.consents import ConsentChange
from connector.streams.codec import EncodedRecord, encode
from connector.topics import CONVERSATION_EVENTS, CRM_TRIGGERS

STAGE = "outbound"
"""Who wrote the record, and the stage under which it waits in shared.outgoing."""


def consent_changed(change: ConsentChange, *, origin: Origin) -> EncodedRecord:
    """The ledger's new standing of one purpose. The same change makes the same event."""
    act = change.act
    event = ConsentChanged(
        event_id=make_event_id(
            kind="consent.changed",
            number=change.purpose,
            subject=str(change.person_id),
            recipient=change.state,
            content=[act.act_id, change.at.isoformat()],
        ),
        waba_id="",
        at=change.at,
        person=Person(contact_id=change.person_id),
        origin=origin,
        purpose=change.purpose,
        state=change.state,
        source=act.source,
        evidence=act.evidence,
        act_id=act.act_id,
        acted_at=act.at,
        by_person=act.by_person,
        resumes=act.resumes,
    )
    return encode(CONVERSATION_EVENTS, key=str(change.person_id), value=event, origin=STAGE)


def person_introduced(alias: Alias, *, at: datetime) -> EncodedRecord:
    """Somebody whom nobody has met, for the route role to make them a contact."""
    event = PersonIntroduced(
        event_id=f"person.introduced:{alias.kind}:{alias.value}:{int(at.timestamp())}",
        source=STAGE,
        received_at=at,
        phone=f"+{alias.value}" if alias.kind == "phone" else "",
        bsuid=alias.value if alias.kind == "bsuid" else "",
    )
    return encode(CRM_TRIGGERS, key=alias.value, value=event, origin=STAGE)


def send_failed(send: Any, *, cause: str, reason: str, at: datetime) -> list[EncodedRecord]:
    """A send that ends before WhatsApp was asked: for the log, and for the timeline of whoever it was for.

    `send`: its row.
    """
    origin = Origin(
        topic=send["topic"],
        partition=send["partition"],
        offset=send["offset"],
        received_at=send["created_at"],
    )
    shared: dict[str, Any] = {
        "waba_id": "",
        "phone_number_id": send["phone_number_id"],
        "at": at,
        # Not the phone that was asked for: it is no evidence of whose it is.
        "person": Person(contact_id=send["contact_id"]),
        "origin": origin,
    }
    key = str(send["contact_id"] or send["send_id"])
    failed = SendFailed(
        event_id=f"send.failed:{send['send_id']}:{send['attempts']}",
        send_id=send["send_id"],
        trigger_id=send["trigger_id"],
        template=send["template_name"],
        language=send["template_language"],
        category=send["category"],
        purpose=send["purpose"],
        reference=send["reference"],
        cause=cause,
        reason=reason,
        **shared,
    )
    records = [encode(CONVERSATION_EVENTS, key=key, value=failed, origin=STAGE)]
    if send["contact_id"] is not None:
        shown = Message(
            event_id=f"message:{send['send_id']}:failed",
            direction="outbound",
            wamid=f"send:{send['send_id']}",
            message_type="template",
            text=send["rendered"],
            content={"template": {"name": send["template_name"], "language": send["template_language"]}},
            errors=[{"title": "Not sent", "message": reason}],
            reported_status="failed",
            **shared,
        )
        records.append(encode(CONVERSATION_EVENTS, key=key, value=shown, origin=STAGE))
    return records
