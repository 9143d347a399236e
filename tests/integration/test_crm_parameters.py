"""Templates filled in from CRM records: read before they are sent, waited for, and never with a guess."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conversation_events import contact
from dispatch_world import DispatchWorld, dispatch_world
from outbound_world import request

from connector.crm.port import NOW, Later, RecordProperties, Terms
from connector.errors import Transient
from connector.events import Recipient, TemplateRef
from connector.outbound.crm_reader import CrmReader
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.personalisation.loading import read_personalisation
from connector.settings import OutboundSettings
from connector.telemetry.health import StageHealth

RULES = """
version: 1
templates:
  order_shipped:
    "1": {hubspot: firstname, format: name, otherwise: there}
    "2": {hubspot: last_order}
"""
PHONE = "+16505550001"


@dataclass
class FakeCrm:
    """Records and what they say. `away`: calls fail; `silent`: it does not tell of these."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    away: bool = False
    silent: set[str] = field(default_factory=set)
    asked: list[list[str]] = field(default_factory=list)

    async def read_properties(
        self, record_ids: Sequence[str], names: Sequence[str], terms: Terms = NOW
    ) -> Sequence[RecordProperties]:
        terms.check()
        self.asked.append(list(record_ids))
        if self.away:
            raise Transient("HubSpot is away.", retry_after=0.01)
        return [
            Later(reason="not now")
            if record_id in self.silent
            else {name: record.get(name) for name in names}
            if (record := self.records.get(record_id)) is not None
            else None
            for record_id in record_ids
        ]


@dataclass(kw_only=True)
class Filled:
    """A dispatcher beside one CRM."""

    world: DispatchWorld
    crm: FakeCrm
    reader: CrmReader
    health: StageHealth
    rules: Personalisation

    async def person(self, phone: str = PHONE, *, record_id: str | None = "7") -> None:
        """Somebody whom we know, and their record at the sink."""
        contact_id = await self.world.known(phone, phone)
        await self.world.execute(
            "INSERT INTO hubspot.contacts (contact_id, facts, record_id, fresh_at) VALUES ($1, '{}', $2, now())",
            contact_id,
            record_id,
        )

    async def ask(self, key: str = "k", *, phone: str = PHONE, hubspot_id: str = "", **fields: Any) -> str:
        """A send of which the trigger fills in nothing; its id."""
        values: dict[str, Any] = {"parameters": {}, "received_at": datetime.now(UTC)} | fields
        asked = request(
            key,
            to=Recipient(phone="" if hubspot_id else phone, hubspot_id=hubspot_id),
            template=TemplateRef(name="order_shipped", language="en_US"),
            **values,
        )
        await self.world.stages.trigger(asked)
        return asked.send_id

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """The reader and a dispatcher."""
        stop = asyncio.Event()
        reading = asyncio.create_task(self.reader.run(stop=stop))
        try:
            async with self.world.dispatching(personalisation=self.rules, wanted=self.reader.wake.set):
                yield
        finally:
            stop.set()
            await reading

    async def text(self, send_id: str) -> str:
        """What the person reads, in its first line."""
        row = await self.world.stages.send(send_id)
        return str(row["rendered"]).partition("\n")[0]

    async def until_held(self, send_id: str) -> dict[str, Any]:
        """The row once the gate made it wait."""
        async with asyncio.timeout(20):
            while (row := await self.world.stages.send(send_id))["state"] != "held":
                await asyncio.sleep(0.02)
        return row


@pytest.fixture
async def filled(database_url: str) -> AsyncIterator[Filled]:
    outbound = OutboundSettings(
        us_marketing=True, quiet_until="21:00", request_timeout=2.0, properties_patience=1.0
    )
    async with dispatch_world(database_url, outbound=outbound) as world:
        rules = read_personalisation(RULES, source="rules.yaml")
        crm, health = FakeCrm(), StageHealth("outbound-hubspot")
        reader = CrmReader(
            world.pool,
            name="hubspot",
            crm=crm,
            properties=sorted(rules.read_from("hubspot")),
            usable=timedelta(days=1),
            health=health,
            on_due=lambda: None,
        )
        yield Filled(world=world, crm=crm, reader=reader, health=health, rules=rules)


async def test_a_message_is_filled_in_from_the_record(filled: Filled) -> None:
    """It waits until the record is read, and says what the record says."""
    filled.crm.records["7"] = {"firstname": "ana maria", "last_order": "#7"}
    await filled.person()
    send_id = await filled.ask()
    async with filled.at_work():
        await filled.world.until(accepted=1)
    assert await filled.text(send_id) == "Hi Ana Maria, your order #7 is on its way."
    assert filled.crm.asked == [["7"]]


async def test_many_people_are_read_in_one_call(filled: Filled) -> None:
    """A campaign costs a call a batch, and each gets their own name."""
    phones = [f"+165055500{place:02d}" for place in range(30)]
    for place, phone in enumerate(phones):
        filled.crm.records[str(place)] = {"firstname": f"P{place}", "last_order": "#1"}
        await filled.person(phone, record_id=str(place))
    ids = [await filled.ask(f"k{place}", phone=phone) for place, phone in enumerate(phones)]
    async with filled.at_work():
        await filled.world.until(accepted=30)
    assert [await filled.text(one) for one in ids[:3]] == [
        f"Hi P{place}, your order #1 is on its way." for place in range(3)
    ]
    assert len(filled.crm.asked) <= 3
    assert sorted(record for call in filled.crm.asked for record in call) == sorted(filled.crm.records)


async def test_what_the_crm_has_not_is_the_fall_back_or_a_reason(filled: Filled) -> None:
    """An empty property takes `otherwise`; without one the message is blocked by the parameter's name."""
    filled.crm.records["7"] = {"last_order": "#7"}
    filled.crm.records["8"] = {"firstname": "Bo"}
    await filled.person()
    await filled.person("+16505550002", record_id="8")
    nameless, gap = await filled.ask(), await filled.ask("k2", phone="+16505550002")
    async with filled.at_work():
        await filled.world.until(accepted=1, blocked=1)
    assert await filled.text(nameless) == "Hi there, your order #7 is on its way."
    assert (await filled.world.stages.send(gap))["problem"]["cause"] == "parameters"


async def test_while_the_crm_is_away_a_message_waits_and_says_why(filled: Filled) -> None:
    """Nothing is sent with a fall-back for somebody of whom the CRM knows more; when it is back, it goes."""
    filled.crm.away = True
    filled.crm.records["7"] = {"firstname": "Ana", "last_order": "#7"}
    await filled.person()
    send_id = await filled.ask()
    async with filled.at_work():
        row = await filled.until_held(send_id)
        assert "HubSpot" in row["verdict"]["explanation"]
        async with asyncio.timeout(20):
            while filled.health.state.value != "waiting":
                await asyncio.sleep(0.02)
        assert not filled.world.sent
        filled.crm.away = False
        await filled.world.until(accepted=1)
    assert await filled.text(send_id) == "Hi Ana, your order #7 is on its way."


async def test_what_was_read_before_is_used_when_the_crm_stays_away(filled: Filled) -> None:
    """After the patience, and only within its age."""
    filled.crm.away = True
    await filled.person()
    await filled.world.execute(
        "INSERT INTO outbound.crm_records (crm, record_id, properties, read_at) "
        "VALUES ('hubspot', '7', $1, now() - interval '20 hours')",
        {"firstname": "Ana", "last_order": "#6"},
    )
    send_id = await filled.ask()
    async with filled.at_work():
        await filled.world.until(accepted=1)
    assert await filled.text(send_id) == "Hi Ana, your order #6 is on its way."


async def test_a_record_that_the_request_names_is_the_one_that_is_read(filled: Filled) -> None:
    """Also when the person's messages are on another record."""
    filled.crm.records = {
        "7": {"firstname": "Seven", "last_order": "#7"},
        "8": {"firstname": "Eight", "last_order": "#8"},
    }
    await filled.person()
    send_id = await filled.ask(hubspot_id="8")
    await filled.world.execute(
        "UPDATE outbound.sends SET contact_id = $1, phone = $2 WHERE send_id = $3",
        contact(PHONE),
        PHONE,
        send_id,
    )
    async with filled.at_work():
        await filled.world.until(accepted=1)
    assert await filled.text(send_id) == "Hi Eight, your order #8 is on its way."


async def test_what_is_blocked_anyway_costs_no_call(filled: Filled) -> None:
    """Nobody is read of who said stop."""
    await filled.person()
    await filled.world.execute(
        "INSERT INTO outbound.people (contact_id, person_id) VALUES ($1, $1) ON CONFLICT DO NOTHING",
        contact(PHONE),
    )
    for purpose in ("marketing", "utility"):
        await filled.world.execute(
            "INSERT INTO outbound.consents (contact_id, purpose, state, at, source, act_id, evidence, by_person, "
            "changed_at) VALUES ($1, $2, 'denied', now(), 'keyword', $2, '', true, now())",
            contact(PHONE),
            purpose,
        )
    await filled.ask()
    async with filled.at_work():
        await filled.world.until(blocked=1)
    assert filled.crm.asked == []


async def test_what_may_not_be_used_any_more_is_forgotten(filled: Filled) -> None:
    """A copy of personal data is not kept for nothing."""
    await filled.world.execute(
        "INSERT INTO outbound.crm_records (crm, record_id, properties, read_at) "
        "VALUES ('hubspot', '7', '{}', now() - interval '25 hours'), ('hubspot', '8', '{}', now())"
    )
    async with filled.at_work(), asyncio.timeout(20):
        while len(rows := await filled.world.stages.fetch("SELECT record_id FROM outbound.crm_records")) > 1:
            await asyncio.sleep(0.02)
    assert [row["record_id"] for row in rows] == ["8"]
