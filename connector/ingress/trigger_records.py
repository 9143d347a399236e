"""Triggers as records of `crm.triggers`: ids that a repeated request makes again, and the key of the recipient."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from connector.events import (
    ConsentGiven,
    CrmContactChanged,
    Recipient,
    SendRequested,
    TemplateRef,
    WorkflowCallback,
)
from connector.events.triggers import Purpose, TriggerSource
from connector.ingress.dead_letters import STAGE
from connector.ingress.strict_json import canonical
from connector.streams.codec import EncodedRecord, encode
from connector.topics import CRM_TRIGGERS
from connector.whatsapp.numbers import bare_number


def trigger_id_of(*, source: TriggerSource, client: str, key: str) -> str:
    """Names one request for ever: the same caller with the same key, whichever replica it reaches."""
    return "trg_" + _hash([source, client, key])[:32]


def send_id_of(trigger_id: str, place: int = 0) -> str:
    """Names one send: the place of its recipient in the request, from 0."""
    return f"{trigger_id}.{place}"


def place_of(send_id: str) -> int:
    """The place of its recipient in the request; 0 for an id that is none of ours."""
    place = send_id.rpartition(".")[2]
    return int(place) if place.isascii() and place.isdecimal() else 0


def request_hash_of(content: Any) -> str:
    """Tells the same key with another request: SHA-256 over the canonical content, hexadecimal."""
    return _hash(content)


def send_requested(
    *,
    source: TriggerSource,
    client: str,
    key: str,
    place: int = 0,
    of: int = 1,
    request_hash: str,
    received_at: datetime,
    template: TemplateRef,
    to: Recipient,
    parameters: dict[str, Any],
    from_number: str = "",
    purpose: Purpose | None = None,
    expires_at: datetime | None = None,
    reference: str = "",
    callback: WorkflowCallback | None = None,
    problem: str = "",
) -> SendRequested:
    """One send of a request with `of` recipients.

    With a `problem` it is a record of a rejection; it has run out already, so that no reader ever sends it.
    """
    trigger_id = trigger_id_of(source=source, client=client, key=key)
    send_id = send_id_of(trigger_id, place)
    return SendRequested(
        event_id=f"send.requested:{send_id}:{request_hash[:16]}",
        source=source,
        client=client,
        received_at=received_at,
        send_id=send_id,
        trigger_id=trigger_id,
        request_hash=request_hash,
        recipients=of,
        template=template,
        to=to,
        parameters=parameters,
        from_number=from_number,
        purpose=purpose or "",
        expires_at=received_at if problem else expires_at,
        reference=reference,
        callback=callback,
        problem=problem,
    )


def encode_trigger(
    event: SendRequested | ConsentGiven | CrmContactChanged, *, origin: str = STAGE
) -> EncodedRecord:
    """The record, keyed by the recipient as far as the request names one. `origin`: who writes it."""
    return encode(CRM_TRIGGERS, key=_key(event), value=event, origin=origin)


def _key(event: SendRequested | ConsentGiven | CrmContactChanged) -> str:
    if isinstance(event, CrmContactChanged):
        return event.record_id
    to = event.to
    phone = bare_number(to.phone) if to.phone else ""
    return to.bsuid or phone or to.hubspot_id or to.salesforce_id or event.event_id


def _hash(content: Any) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()
