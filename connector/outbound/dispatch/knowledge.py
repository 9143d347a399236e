"""All that is known about the sends of one claim, read set-wise in the transaction that judges them.

The people are locked first, in key order, as the folds lock them: what is judged is what is reserved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connector.outbound.consent.ledger import Act, ConsentPurpose, Standing
from connector.outbound.dispatch.send import BusinessNumber, Send
from connector.outbound.facts import NumberFacts, PastSend, Switch, purpose_of
from connector.outbound.pacing.number import COEXISTENCE_RATE, STANDARD_RATE, UPGRADED_RATE
from connector.outbound.pacing.pair import PairState
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.personalisation.records import (
    PropertyAges,
    RecordFacts,
    RecordPlace,
    RecordState,
    record_facts,
)
from connector.outbound.policies.number_quality import UNLISTED
from connector.outbound.rules import GateRules
from connector.outbound.store.account_syncs import synced_at
from connector.outbound.store.crm_records import records_of, states_of
from connector.outbound.store.erasures import erased_among
from connector.outbound.store.people import lock_people
from connector.outbound.templates.template import Template
from connector.state.database import Connection

PORTFOLIO_PERIOD = timedelta(hours=24)
_WINDOW = timedelta(hours=24)
_TIERS: Mapping[str, int] = {
    "TIER_50": 50,
    "TIER_250": 250,
    "TIER_1K": 1_000,
    "TIER_2K": 2_000,
    "TIER_10K": 10_000,
    "TIER_100K": 100_000,
}
_COUNTS = ("sending", "accepted", "sent", "delivered", "read", "unknown")
"""States of a send that left, or may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberStanding:
    """The business number as Meta describes it, and what everybody who sends from it has to keep."""

    business: BusinessNumber
    facts: NumberFacts
    per_second: int
    tier: int | None
    """Unique people in 24 hours; None: unlimited, or not known."""
    switches: Sequence[Switch]
    templates_synced_at: datetime | None

    @property
    def stopped(self) -> Switch | None:
        """The switch that stops the whole number."""
        for switch in self.switches:
            if switch.scope == "all" or (
                switch.scope == "number" and switch.subject == self.business.phone_number_id
            ):
                return switch
        return None

    @property
    def stopped_templates(self) -> Sequence[str]:
        """Templates that nobody may send."""
        return sorted(switch.subject for switch in self.switches if switch.scope == "template")


@dataclass(kw_only=True, slots=True)
class Someone:
    """One person, all contacts that became one together."""

    person_id: UUID
    phone: str = ""
    bsuid: str = ""
    lost_phones: frozenset[str] = frozenset()
    unreachable_at: datetime | None = None
    marketing_refused_at: datetime | None = None
    window_open_until: datetime | None = None
    consent: dict[ConsentPurpose, Standing] = field(default_factory=dict)
    recent: list[PastSend] = field(default_factory=list)
    pair: PairState | None = None
    erased: bool = False
    """A CRM erased their record for privacy."""


@dataclass(kw_only=True, slots=True)
class Portfolio:
    """People counted against Meta's messaging limit. `limit` None: nobody is counted."""

    limit: int | None = None
    used: int = 0
    frees_at: datetime | None = None
    counted: set[UUID] = field(default_factory=set)


async def number_standing(
    connection: Connection, phone_number_id: str, *, rates: Mapping[str, int], accounts: Collection[str]
) -> NumberStanding:
    """How a number stands. `rates`: messages a second, as set; else as Meta's throughput level says.

    `accounts`: the business's; a number that none of them has is not its own.
    """
    row = await connection.fetchrow(
        "SELECT n.*, a.asked_at AS synced_at FROM outbound.numbers n LEFT JOIN outbound.account_syncs a "
        "USING (waba_id) WHERE phone_number_id = $1",
        phone_number_id,
    )
    switches = await connection.fetch("SELECT * FROM shared.switches WHERE kind = 'sends'")
    pressed = [
        Switch(
            scope=item["scope"],
            subject=item["subject"],
            since=item["at"],
            by=item["who"],
            reason=item["reason"],
        )
        for item in switches
    ]
    if row is None:
        return NumberStanding(
            business=BusinessNumber(phone_number_id=phone_number_id),
            facts=NumberFacts(
                phone_number_id=phone_number_id,
                status=UNLISTED,
                listed_at=await synced_at(connection, accounts),
            ),
            per_second=rates.get(phone_number_id, STANDARD_RATE),
            tier=None,
            switches=pressed,
            templates_synced_at=None,
        )
    level = (
        COEXISTENCE_RATE
        if row["coexistence"]
        else UPGRADED_RATE
        if row["throughput"] == "HIGH"
        else STANDARD_RATE
    )
    return NumberStanding(
        business=BusinessNumber(
            phone_number_id=phone_number_id, waba_id=row["waba_id"], display_phone=row["display_phone"]
        ),
        facts=NumberFacts(
            phone_number_id=phone_number_id,
            quality=row["quality"],
            status=row["status"],
            paused_until=row["paused_until"],
            pause_reason=row["pause_reason"],
        ),
        per_second=rates.get(phone_number_id, level),
        tier=_TIERS.get(row["limit_tier"]),
        switches=pressed,
        templates_synced_at=row["synced_at"],
    )


async def persons_of(connection: Connection, contacts: Collection[UUID]) -> dict[UUID, UUID]:
    """Lock these people, all their contacts in key order; contact → person.

    Raises `Transient` when somebody merged one of them meanwhile.
    """
    members = await lock_people(connection, contacts)
    return {contact: members[contact].person_id for contact in contacts}


async def know_people(
    connection: Connection, people: Collection[UUID], *, number: str, rules: GateRules, now: datetime
) -> dict[UUID, Someone]:
    """Everything about these people that counts for a send from this number, but how fast it goes. Locks nothing."""
    ids = sorted(people)
    known = {person: Someone(person_id=person) for person in ids}
    await _identity(connection, known, ids)
    for person in await erased_among(connection, ids):
        known[person].erased = True
    for row in await connection.fetch(
        "SELECT p.person_id, max(w.last_inbound_at) AS at FROM outbound.people p JOIN outbound.windows w "
        "USING (contact_id) WHERE p.person_id = ANY($1::uuid[]) AND w.phone_number_id = $2 GROUP BY p.person_id",
        ids,
        number,
    ):
        known[row["person_id"]].window_open_until = row["at"] + _WINDOW
    for row in await connection.fetch(
        "SELECT * FROM outbound.consents WHERE contact_id = ANY($1::uuid[])", ids
    ):
        known[row["contact_id"]].consent[row["purpose"]] = _standing(row)
    for row in await connection.fetch(
        "SELECT p.person_id, s.send_id, s.attempted_at, s.purpose, s.category, s.content_key "
        "FROM outbound.people p JOIN outbound.sends s USING (contact_id) WHERE p.person_id = ANY($1::uuid[]) "
        "AND s.attempted_at > $2 AND s.state = ANY($3::text[]) ORDER BY s.attempted_at",
        ids,
        now - _longest(rules),
        _COUNTS,
    ):
        known[row["person_id"]].recent.append(
            PastSend(
                send_id=row["send_id"],
                at=row["attempted_at"],
                purpose=row["purpose"] or purpose_of(row["category"]),
                content_key=row["content_key"],
            )
        )
    return known


async def _identity(connection: Connection, known: Mapping[UUID, Someone], ids: Sequence[UUID]) -> None:
    """Phone and user id of each person: the latest that any of their contacts showed and did not lose."""
    rows = await connection.fetch(
        "SELECT * FROM outbound.people WHERE person_id = ANY($1::uuid[]) ORDER BY phone_at, contact_id", ids
    )
    shown: dict[UUID, datetime] = {}
    for row in rows:
        someone = known[row["person_id"]]
        lost = bool(row["lost_phone"]) and (
            row["lost_phone"] != row["phone"] or row["lost_at"] >= row["phone_at"]
        )
        if lost:
            someone.lost_phones |= {row["lost_phone"]}
        if row["phone"] and not (lost and row["lost_phone"] == row["phone"]):
            someone.phone = row["phone"]
        if row["bsuid"] and row["bsuid_at"] >= shown.get(someone.person_id, row["bsuid_at"]):
            someone.bsuid = row["bsuid"]
            shown[someone.person_id] = row["bsuid_at"]
        someone.unreachable_at = _latest(someone.unreachable_at, row["unreachable_at"])
        someone.marketing_refused_at = _latest(someone.marketing_refused_at, row["marketing_refused_at"])


async def know_templates(
    connection: Connection, waba_id: str, names: Collection[str]
) -> dict[str, list[Template]]:
    """Name → its versions, by language."""
    rows = await connection.fetch(
        "SELECT name, document FROM outbound.templates WHERE waba_id = $1 AND name = ANY($2::text[]) "
        "ORDER BY name, language",
        waba_id,
        sorted(names),
    )
    found: dict[str, list[Template]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(Template.model_validate(row["document"]))
    return found


async def know_records(
    connection: Connection,
    sends: Sequence[Send],
    people: Mapping[UUID, UUID],
    *,
    templates: Mapping[str, Sequence[Template]],
    personalisation: Personalisation,
    crms: Sequence[str],
    ages: PropertyAges,
    now: datetime,
) -> dict[str, RecordFacts]:
    """Send → what the CRMs say of its person, of those that are filled in from it. Locks nothing.

    A record that the request names is taken, whichever one the person's messages are written to.
    """
    needs = {
        send.send_id: found
        for send in sends
        if send.contact_id is not None
        and (
            found := personalisation.needs(
                templates.get(send.template_name, ()),
                send.parameters,
                language=send.template_language,
                crms=crms,
            )
        )
    }
    if not needs:
        return {}
    asking = [send for send in sends if send.send_id in needs]
    own = await records_of(
        connection,
        {people[send.contact_id] for send in asking if send.contact_id is not None},
        crms=sorted({crm for found in needs.values() for crm in found}),
    )
    records: dict[str, dict[str, RecordState]] = {}
    for send in asking:
        assert send.contact_id is not None
        for crm in needs[send.send_id]:
            named = send.recipient.get(f"{crm}_id")
            records.setdefault(send.send_id, {})[crm] = (
                RecordState(place=RecordPlace(crm, named)) if named else own[crm, people[send.contact_id]]
            )
    states = await states_of(
        connection,
        {state.place for of in records.values() for state in of.values() if state.place is not None},
    )
    return {
        send.send_id: record_facts(
            needs[send.send_id],
            {
                crm: states[state.place] if state.place is not None else state
                for crm, state in records[send.send_id].items()
            },
            requested_at=send.created_at,
            now=now,
            ages=ages,
        )
        for send in asking
    }


async def know_portfolio(
    connection: Connection, people: Collection[UUID], *, limit: int | None, now: datetime
) -> Portfolio:
    """Who counts against the portfolio's limit. With a limit, claims of all numbers go one after the other."""
    if limit is None:
        return Portfolio()
    row = await connection.fetchrow(
        "SELECT count(*) AS used, min(counted_at) AS oldest, "
        "coalesce(array_agg(contact_id) FILTER (WHERE contact_id = ANY($1::uuid[])), '{}') AS counted "
        "FROM outbound.portfolio_people WHERE counted_at > $2",
        sorted(people),
        now - PORTFOLIO_PERIOD,
    )
    assert row is not None
    return Portfolio(
        limit=limit,
        used=row["used"],
        frees_at=row["oldest"] + PORTFOLIO_PERIOD if row["oldest"] else None,
        counted=set(row["counted"]),
    )


def _standing(row: Any) -> Standing:
    act = Act(
        act_id=row["act_id"],
        purpose=row["purpose"],
        state=row["state"],
        at=row["at"],
        source=row["source"],
        by_person=row["by_person"],
        evidence=row["evidence"],
    )
    return Standing(state=row["state"], act=act)


def _longest(rules: GateRules) -> timedelta:
    periods = [cap.period for caps in rules.caps.values() for cap in caps]
    return max([*periods, *rules.duplicate_within.values()], default=timedelta(0))


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((item for item in (one, other) if item is not None), default=None)
