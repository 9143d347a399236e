"""The stage that reads `crm.triggers`: acts of consent into the ledger, sends into the outbox. Nothing is judged here.

One transaction a batch, acknowledged on commit: crash before it, and the batch comes again; after it, and a send that
is there already is left as it is. Acts of a batch are in the ledger before its sends are there to be judged.
Whoever is not known yet is looked for by the resolver (connector/outbound/resolver.py), and their send waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from connector.errors import Rejected
from connector.events import (
    ConsentGiven,
    CrmContactChanged,
    Origin,
    Recipient,
    SendRequested,
    SendsSwitched,
    TriggerEvent,
)
from connector.outbound.applying import apply_acts
from connector.outbound.consent.acts import act_of_crm, act_of_given
from connector.outbound.consent.ledger import Act
from connector.outbound.due import announce_due
from connector.outbound.numbers import OwnNumber, sending_number
from connector.outbound.personalisation.records import RecordPlace
from connector.outbound.recipients import names_of, sought
from connector.outbound.store import SCHEMA
from connector.outbound.store.erasures import drop_read, note_erased
from connector.outbound.store.numbers import load_numbers
from connector.outbound.store.people import lock_people
from connector.outbound.store.recipients import UNKNOWN, Found, look_up
from connector.outbound.store.sends import Admission, admit
from connector.outbound.store.triggers import accepted
from connector.outbound.store.waiting import WaitingAct, keep_waiting, waited_for
from connector.state.database import Connection, transaction
from connector.state.offsets import store_offsets
from connector.state.switches import switch
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.topics import CRM_TRIGGERS
from connector.whatsapp.numbers import bare_number

LIFETIME = timedelta(hours=24)
"""Of a send whose caller did not say until when it is wanted."""
AUTHENTICATION_LIFETIME = timedelta(minutes=10)
"""The same for one-time passwords: https://developers.facebook.com/docs/whatsapp/business-management-api/authentication-templates."""

_BY_API = "INTEGRATION"
"""How HubSpot names whoever writes by its API, us included, with the app's id behind it.

What we write comes back as a change, late, when the person may have said otherwise since. So consent that comes by
HubSpot's API is not heard; other systems report it to POST /triggers/consent, with its evidence.
"""


def _nobody() -> None:
    """Nobody waits for it."""


@dataclass(slots=True)
class _Batch:
    """What one batch asks for. A position belongs to each."""

    requests: list[tuple[SendRequested, Record]] = field(default_factory=list)
    acts: list[tuple[Recipient, Act, TriggerEvent, Record]] = field(default_factory=list)
    switches: list[SendsSwitched] = field(default_factory=list)
    changed: list[CrmContactChanged] = field(default_factory=list)


class AdmissionStage:
    """Safe in any number of replicas. `on_due`: sends may be due. `on_unknown`: somebody has to be looked for."""

    name = "outbound-admission"
    topic = CRM_TRIGGERS
    batch_size = 500

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        default_number: str = "",
        on_due: Callable[[], None] = _nobody,
        on_unknown: Callable[[], None] = _nobody,
        on_queued: Callable[[], None] = _nobody,
    ) -> None:
        """`on_queued` is called after a commit that left rows for the relay."""
        self._pool = pool
        self._default_number = default_number
        self._on_due = on_due
        self._on_unknown = on_unknown
        self._on_queued = on_queued

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Admit one batch. Raises `Transient` while the database is away; nothing is kept then."""
        batch, outcomes = _read(records)
        async with transaction(self._pool) as connection:
            await switch(connection, batch.switches)
            await _forget(connection, batch.changed)
            changed = await self._hear(connection, batch)
            unknown = await self._admit(connection, [request for request, _ in batch.requests], batch)
            await store_offsets(connection, schema=SCHEMA, offsets=records)
            if batch.requests or batch.switches:
                await announce_due(connection)
        if changed:
            self._on_queued()
        if batch.requests or batch.switches:
            self._on_due()
        if unknown or batch.acts:
            self._on_unknown()
        return outcomes

    async def _hear(self, connection: Connection, batch: _Batch) -> int:
        """Apply the acts of people who are known, keep the others; how many standings changed."""
        if not batch.acts:
            return 0
        newest = max(event.received_at for _, _, event, _ in batch.acts)
        found = await look_up(connection, [sought(to) for to, _, _, _ in batch.acts], at=newest)
        known: list[tuple[UUID, Act]] = []
        waiting: list[WaitingAct] = []
        origins: dict[str, Origin] = {}
        for (to, act, event, record), who in zip(batch.acts, found, strict=True):
            origins[act.act_id] = origin_of(record, event.received_at)
            if who.contact_id is not None:
                known.append((who.contact_id, act))
            elif not who.obstacle:
                waiting.append(WaitingAct(recipient=to, act=act, received_at=event.received_at))
        await keep_waiting(connection, waiting)
        if not known:
            return 0
        members = await lock_people(connection, {contact_id for contact_id, _ in known})
        return await apply_acts(
            connection, known, members=members, origins=origins, otherwise=next(iter(origins.values()))
        )

    async def _admit(self, connection: Connection, requests: Sequence[SendRequested], batch: _Batch) -> bool:
        """Write the sends; whether somebody of them has to be looked for."""
        if not requests:
            return False
        records = {request.event_id: record for request, record in batch.requests}
        good = await accepted(connection, requests)
        newest = max(request.received_at for request in requests)
        found = await look_up(connection, [sought(request.to) for request in good], at=newest)
        # What somebody said who is not known yet is applied first: their send waits for it.
        waited = await waited_for(connection, {name for request in good for name in names_of(request.to)})
        numbers = await load_numbers(connection)
        sends = [
            admission(
                request,
                _unless_waited_for(who, request, waited),
                numbers=numbers,
                default_number=self._default_number,
                record=records[request.event_id],
            )
            for request, who in zip(good, found, strict=True)
        ]
        await admit(connection, sends)
        return any(
            send.problem is None
            and (send.phone_number_id == "" or (send.contact_id is None and not send.obstacle))
            for send in sends
        )


def admission(
    request: SendRequested,
    who: Found,
    *,
    numbers: Sequence[OwnNumber],
    default_number: str,
    record: Record,
) -> Admission:
    """The outbox row of a request."""
    expires_at, given = expiry(request)
    number = sending_number(request.from_number, numbers=numbers, default=default_number)
    return Admission(
        send_id=request.send_id,
        trigger_id=request.trigger_id,
        event_id=request.event_id,
        request_hash=request.request_hash,
        source=request.source,
        client=request.client,
        template_name=request.template.name,
        template_language=request.template.language,
        purpose=request.purpose,
        recipient=request.to.model_dump(exclude_defaults=True),
        contact_id=who.contact_id,
        obstacle=who.obstacle,
        phone=f"+{bare_number(request.to.phone)}" if request.to.phone else "",
        bsuid=request.to.bsuid,
        from_number=request.from_number,
        phone_number_id=number,
        parameters=request.parameters,
        reference=request.reference,
        callback=request.callback.model_dump(mode="json") if request.callback else None,
        priority=1 if request.recipients > 1 else 0,
        created_at=request.received_at,
        expires_at=expires_at,
        expiry_given=given,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        problem={"code": 0, "cause": "request", "reason": request.problem} if request.problem else None,
    )


def expiry(request: SendRequested) -> tuple[datetime, bool]:
    """(until when it is wanted, whether the caller said so)."""
    if request.expires_at is not None:
        return request.expires_at, True
    lifetime = AUTHENTICATION_LIFETIME if request.purpose == "authentication" else LIFETIME
    return request.received_at + lifetime, False


def origin_of(record: Record, received_at: datetime) -> Origin:
    """Where what follows from a record comes from."""
    return Origin(
        topic=record.topic, partition=record.partition, offset=record.offset, received_at=received_at
    )


def _unless_waited_for(who: Found, request: SendRequested, waited: Collection[str]) -> Found:
    return UNKNOWN if any(name in waited for name in names_of(request.to)) else who


def _read(records: Sequence[Record]) -> tuple[_Batch, list[Outcome]]:
    batch = _Batch()
    outcomes: list[Outcome] = []
    for record in records:
        try:
            event = decode(CRM_TRIGGERS, record.value)
        except Rejected as error:
            outcomes.append(Dead(cause=error.cause, reason=error.message, advice=error.advice))
            continue
        outcomes.append(Done())
        if isinstance(event, SendRequested):
            batch.requests.append((event, record))
        elif isinstance(event, ConsentGiven):
            batch.acts.append((event.to, act_of_given(event), event, record))
        elif isinstance(event, SendsSwitched):
            batch.switches.append(event)
        elif isinstance(event, CrmContactChanged):
            if event.change != "property":
                batch.changed.append(event)
            by_api = event.change_source.startswith(_BY_API)
            act = act_of_crm(event, ours=(event.change_source,) if by_api else ())
            if act is not None:
                batch.acts.append((_record_of(event), act, event, record))
    return batch, outcomes


async def _forget(connection: Connection, changed: Sequence[CrmContactChanged]) -> None:
    """A record was erased, deleted or merged: before the sends of the batch, which may be to that person."""
    erased = [
        (RecordPlace(event.crm, event.record_id), event.at) for event in changed if event.change == "erased"
    ]
    await note_erased(connection, erased)
    await drop_read(
        connection,
        {
            RecordPlace(event.crm, record_id)
            for event in changed
            for record_id in (event.record_id, *event.merged_ids)
        },
    )


def _record_of(event: CrmContactChanged) -> Recipient:
    if event.crm == "hubspot":
        return Recipient(hubspot_id=event.record_id)
    return Recipient(salesforce_id=event.record_id)
