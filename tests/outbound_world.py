"""The outbound role's stages on a real database, fed with records of each topic."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from conversation_events import T0, contact
from pydantic import BaseModel

from connector.events import (
    AccountEvent,
    ConsentGiven,
    ConversationEvent,
    CrmContactChanged,
    Origin,
    Person,
    Recipient,
    SendAccepted,
    SendAttempted,
    SendRequested,
    TemplateRef,
    content_hash,
)
from connector.outbound.account import AccountStage
from connector.outbound.admission import AdmissionStage
from connector.outbound.consent.keywords import keyword_tables
from connector.outbound.conversation import ConversationStage
from connector.state.database import close_pool, open_pool
from connector.streams.codec import decode, encode
from connector.streams.outcomes import Outcome, Record
from connector.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, CRM_TRIGGERS, Topic

NUMBER = "1000"
ORIGIN = Origin(topic="whatsapp.updates", partition=0, offset=0, received_at=T0)


@dataclass(kw_only=True)
class OutboundWorld:
    """Three stages over one database. `called`: what a stage asked to be woken."""

    pool: asyncpg.Pool
    default_number: str = NUMBER
    called: list[str] = field(default_factory=list)
    _offsets: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the stages."""

        def call(name: str) -> Any:
            return lambda: self.called.append(name)

        self.admission = AdmissionStage(
            self.pool,
            default_number=self.default_number,
            on_due=call("due"),
            on_unknown=call("unknown"),
            on_queued=call("queued"),
        )
        self.conversation = ConversationStage(
            self.pool, tables=keyword_tables(), on_queued=call("queued"), on_told=call("told")
        )
        self.account = AccountStage(
            self.pool, on_queued=call("queued"), on_unknown=call("unknown"), on_wanted=call("wanted")
        )

    def next_offset(self, topic: Topic) -> int:
        """Of the next record of a topic's only partition."""
        self._offsets[topic.name] += 1
        return self._offsets[topic.name] - 1

    def record(self, topic: Topic, value: BaseModel) -> Record:
        """The next record of a topic's only partition."""
        return Record(
            topic=topic.name,
            partition=0,
            offset=self.next_offset(topic),
            key=b"k",
            value=encode(topic, key="k", value=value, origin="test").value,
        )

    async def trigger(self, *events: SendRequested | ConsentGiven | CrmContactChanged) -> Sequence[Outcome]:
        """One batch of `crm.triggers`."""
        return await self.admission.handle([self.record(CRM_TRIGGERS, event) for event in events])

    async def tell(self, *events: ConversationEvent) -> Sequence[Outcome]:
        """One batch of `conversation.events`."""
        return await self.conversation.handle([self.record(CONVERSATION_EVENTS, event) for event in events])

    async def notice(self, *events: AccountEvent) -> Sequence[Outcome]:
        """One batch of `account.events`."""
        return await self.account.handle([self.record(ACCOUNT_EVENTS, event) for event in events])

    async def fetch(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Rows as plain objects."""
        async with self.pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(query, *values)]

    async def send(self, send_id: str) -> dict[str, Any]:
        """One row of the outbox."""
        (row,) = await self.fetch("SELECT * FROM outbound.sends WHERE send_id = $1", send_id)
        return row

    async def consent(self, who: str, purpose: str = "marketing") -> str:
        """What counts; "" when nobody was asked."""
        rows = await self.fetch(
            "SELECT state FROM outbound.consents WHERE contact_id = $1 AND purpose = $2",
            contact(who),
            purpose,
        )
        return rows[0]["state"] if rows else ""

    async def queued(self, topic: Topic = CONVERSATION_EVENTS) -> list[Any]:
        """What waits for the relay."""
        rows = await self.fetch("SELECT value FROM shared.outgoing WHERE topic = $1 ORDER BY id", topic.name)
        return [decode(topic, row["value"]) for row in rows]

    async def introduce(self, who: str, *, phone: str = "", bsuid: str = "") -> UUID:
        """Let the identity tables know somebody by an alias."""
        kind, value = ("bsuid", bsuid) if bsuid else ("phone", phone)
        async with self.pool.acquire() as connection:
            await connection.execute(
                "INSERT INTO identity.contacts (contact_id, first_seen_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                contact(who),
                T0,
            )
            await connection.execute(
                "INSERT INTO identity.aliases (kind, value, contact_id, since, seen_at) VALUES ($1, $2, $3, $4, $4)",
                kind,
                value,
                contact(who),
                T0,
            )
        return contact(who)


@asynccontextmanager
async def outbound_world(database_url: str) -> AsyncIterator[OutboundWorld]:
    """Stages over a migrated database of the test's own."""
    pool = await open_pool(database_url, size=6, application="test")
    try:
        yield OutboundWorld(pool=pool)
    finally:
        await close_pool(pool)


def request(key: str = "k", *, to: Recipient | None = None, place: int = 0, **fields: Any) -> SendRequested:
    """Somebody asks for one send; the same key with the same fields is the same request."""
    values: dict[str, Any] = {
        "template": TemplateRef(name="order_update", language="en_US"),
        "to": (to or Recipient(phone="+15551230000")).model_dump(),
    } | fields
    received_at = values.pop("received_at", T0)
    request_hash = content_hash(json.loads(json.dumps(values, default=str)))
    return SendRequested(
        event_id=f"send.requested:trg_{key}.{place}:{request_hash}",
        source="api",
        client="shop",
        received_at=received_at,
        send_id=f"trg_{key}.{place}",
        trigger_id=f"trg_{key}",
        request_hash=request_hash,
        **values,
    )


def given(
    state: Any, *, to: Recipient, at: datetime = T0, purpose: Any = "marketing", by_person: bool = True
) -> ConsentGiven:
    """Somebody reports what a person said."""
    return ConsentGiven(
        event_id=f"consent.given:{to.model_dump_json()}:{purpose}:{state}:{at.isoformat()}",
        source="api",
        client="shop",
        received_at=at,
        to=to,
        purpose=purpose,
        state=state,
        at=at,
        by_person=by_person,
        evidence="form 7" if by_person else "",
    )


def attempted(send_id: str, who: str, *, attempt: int = 1, at: datetime = T0) -> SendAttempted:
    """The dispatcher is about to send."""
    return SendAttempted(attempt=attempt, **_step(send_id, who, f"attempted:{attempt}", at))


def taken(send_id: str, who: str, *, wamid: str, at: datetime = T0) -> SendAccepted:
    """WhatsApp took it."""
    return SendAccepted(wamid=wamid, **_step(send_id, who, "accepted", at))


def _step(send_id: str, who: str, name: str, at: datetime) -> dict[str, Any]:
    return {
        "event_id": f"send.{name}:{send_id}",
        "waba_id": "waba",
        "phone_number_id": NUMBER,
        "at": at,
        "person": Person(contact_id=contact(who)),
        "origin": ORIGIN,
        "send_id": send_id,
        "template": "order_update",
    }


def notice(field_name: str, content: dict[str, Any], *, at: datetime = T0) -> AccountEvent:
    """A webhook about the account."""
    return AccountEvent(
        event_id=f"account:{field_name}:{json.dumps(content, sort_keys=True)}:{at.isoformat()}",
        waba_id="waba",
        field=field_name,
        at=at,
        content=content,
        origin=ORIGIN,
    )
