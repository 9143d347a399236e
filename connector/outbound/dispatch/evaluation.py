"""What the gate would say now about a send that nobody asked for. Reads what a claim reads, locks and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connector.errors import Rejected
from connector.events import Recipient
from connector.outbound.consent.ledger import PURPOSES, ConsentLedger
from connector.outbound.dispatch.judging import Judged, Known, judged
from connector.outbound.dispatch.knowledge import (
    Someone,
    know_people,
    know_portfolio,
    know_templates,
    number_standing,
)
from connector.outbound.dispatch.paces import read_pairs
from connector.outbound.dispatch.send import Send
from connector.outbound.facts import View
from connector.outbound.numbers import sending_number
from connector.outbound.personalisation.filling import CrmProperties, Personalisation
from connector.outbound.personalisation.records import RecordFacts
from connector.outbound.recipients import names_of
from connector.outbound.rules import GateRules
from connector.outbound.store.numbers import load_numbers
from connector.outbound.store.waiting import waiting_act
from connector.state.database import Connection

_SEND_ID = ""
_LIFETIME = timedelta(hours=24)
_NOBODY_YET = UUID(int=0)
"""Stands for somebody who has no contact: the first send would make them one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """The send that is thought of. Empty fields: as a trigger that leaves them out."""

    recipient: Recipient
    contact_id: UUID | None
    """Who that is today; None: nobody knows them."""
    obstacle: str
    template: str
    language: str
    parameters: Mapping[str, Any]
    purpose: str
    sender: str
    properties: CrmProperties = field(default_factory=dict)
    """What the CRMs say of the person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What the deployment judges by, and how current its knowledge is. `lag` None: not known."""

    rules: GateRules
    personalisation: Personalisation
    rates: Mapping[str, int]
    default_number: str
    lag: timedelta | None
    crms: Sequence[str] = ()
    """In the order in which their values are preferred."""
    accounts: Sequence[str] = ()
    """The business's at Meta."""


async def evaluate(connection: Connection, wish: Wish, terms: Terms) -> Judged:
    """Judge it as it stands, in one read-only transaction of one moment.

    Raises `Rejected` (cause `no_number`) when no business number is known that it could leave from.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        number_id = sending_number(
            wish.sender, numbers=await load_numbers(connection), default=terms.default_number
        )
        if not number_id:
            raise Rejected(
                f"{f'{wish.sender} is' if wish.sender else 'There is'} no business number that it could leave from.",
                cause="no_number",
                advice="give --from, or set CONNECTOR_WHATSAPP__DEFAULT_PHONE_NUMBER_ID",
            )
        number = await number_standing(connection, number_id, rates=terms.rates, accounts=terms.accounts)
        contact_id, someone = await _someone(connection, wish, terms, number=number_id, now=now)
        known = Known(
            now=now,
            number=number,
            people={contact_id: someone.person_id},
            someone={someone.person_id: someone},
            templates=await know_templates(connection, number.business.waba_id, [wish.template]),
            portfolio=await know_portfolio(connection, [someone.person_id], limit=number.tier, now=now),
            view=View(lag=terms.lag, templates_synced_at=number.templates_synced_at),
            rules=terms.rules,
            personalisation=terms.personalisation,
            records={_SEND_ID: RecordFacts(properties=wish.properties)},
            crms=terms.crms,
        )
    return judged(_send(wish, contact_id, number=number_id, now=now), known, turn=None)


async def _someone(
    connection: Connection, wish: Wish, terms: Terms, *, number: str, now: datetime
) -> tuple[UUID, Someone]:
    if wish.contact_id is None:
        return _NOBODY_YET, await _stranger(connection, wish)
    person: UUID = (
        await connection.fetchval(
            "SELECT person_id FROM outbound.people WHERE contact_id = $1", wish.contact_id
        )
        or wish.contact_id
    )
    someone = (await know_people(connection, [person], number=number, rules=terms.rules, now=now))[person]
    someone.pair = (await read_pairs(connection, number, [person])).get(person)
    return wish.contact_id, someone


async def _stranger(connection: Connection, wish: Wish) -> Someone:
    """Somebody who has no contact: what waits for them to get one is applied before anything is sent."""
    rows = await connection.fetch(
        "SELECT * FROM outbound.waiting_acts WHERE names && $1::text[]", list(names_of(wish.recipient))
    )
    acts = [waiting_act(row).act for row in rows]
    someone = Someone(person_id=_NOBODY_YET)
    for purpose in PURPOSES:
        said = [(_NOBODY_YET, act) for act in acts if act.purpose == purpose]
        someone.consent[purpose] = ConsentLedger.of(said).standing()
    return someone


def _send(wish: Wish, contact_id: UUID, *, number: str, now: datetime) -> Send:
    return Send(
        send_id=_SEND_ID,
        trigger_id="",
        template_name=wish.template,
        template_language=wish.language,
        purpose=wish.purpose,
        contact_id=contact_id,
        obstacle=wish.obstacle,
        phone=wish.recipient.phone,
        bsuid=wish.recipient.bsuid,
        phone_number_id=number,
        parameters=wish.parameters,
        reference="",
        callback=None,
        created_at=now,
        expires_at=now + _LIFETIME,
        expiry_given=False,
        attempts=0,
        category="",
        rendered="",
        problem=None,
        topic="",
        partition=0,
        offset=0,
    )
