"""Records as the ingress writes them, and what the route stage made of a batch."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from connector.events import UpdateKind, WhatsAppUpdate, make_event_id
from connector.streams.codec import EncodedRecord, decode, encode
from connector.streams.outcomes import Done, Outcome, Record
from connector.topics import CONVERSATION_EVENTS, WHATSAPP_UPDATES

ARRIVAL = datetime(2026, 5, 1, 12, tzinfo=UTC)
METADATA = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
_offsets = itertools.count()


def record(value: bytes | None) -> Record:
    """A record at the next offset of the only partition."""
    return Record(
        topic="whatsapp.updates", partition=0, offset=next(_offsets), key=b"k", value=value, headers={}
    )


def update(
    content: Any, *, kind: UpdateKind = "message", contact: Any = None, field: str = "messages"
) -> Record:
    """A record as the ingress writes it."""
    value = WhatsAppUpdate(
        event_id=make_event_id(
            kind=kind, number="106540352242922", subject="", recipient="", content=content
        ),
        kind=kind,
        field=field,
        waba_id="102290129340398",
        metadata=METADATA,
        contact=contact,
        update=content,
        received_at=ARRIVAL,
        post_id="p",
    )
    return record(encode(WHATSAPP_UPDATES, key="k", value=value, origin="test").value)


def text(wamid: str, minute: int = 0, **people: str) -> Record:
    """A text message; `people` are Meta's keys: from_, from_user_id."""
    shown = {key.rstrip("_"): value for key, value in people.items()}
    at = ARRIVAL - timedelta(hours=10) + timedelta(minutes=minute)
    return update(
        {
            "id": wamid,
            "timestamp": str(int(at.timestamp())),
            "type": "text",
            "text": {"body": wamid},
            **shown,
        }
    )


def status(wamid: str, word: str = "sent", **people: str) -> Record:
    """A status; `people` are Meta's keys: recipient_id, recipient_user_id."""
    at = ARRIVAL - timedelta(hours=1)
    return update(
        {"id": wamid, "status": word, "timestamp": str(int(at.timestamp())), **people}, kind="status"
    )


def produced(outcomes: Sequence[Outcome]) -> list[EncodedRecord]:
    """What the harness would send for a batch without dead letters."""
    assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
    return [sent for outcome in outcomes if isinstance(outcome, Done) for sent in outcome.produce]


def events(outcomes: Sequence[Outcome]) -> list[Any]:
    """The same, decoded."""
    return [decode(sent.topic, sent.value) for sent in produced(outcomes)]


def contacts(outcomes: Sequence[Outcome]) -> list[UUID]:
    """Whose event each of them is."""
    return [event.person.contact_id for event in events(outcomes)]


async def queued(pool: asyncpg.Pool) -> list[Any]:
    """The events that wait for the relay, in its order."""
    rows = await pool.fetch("SELECT topic, value FROM shared.outgoing ORDER BY id")
    assert {row["topic"] for row in rows} <= {CONVERSATION_EVENTS.name}
    return [decode(CONVERSATION_EVENTS, row["value"]) for row in rows]
