"""Whoever is not known when something is asked for them: found in the CRM, introduced, and heard before written to."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from conversation_events import T0, contact
from outbound_world import OutboundWorld, given, outbound_world, request

from connector.crm.port import NOW, CandidateContact, Later, Terms
from connector.errors import Transient
from connector.events import Recipient, SendFailed
from connector.events.triggers import WorkflowCallback
from connector.identity.directory import Alias, contact_id_for
from connector.identity.introductions import IntroductionStage
from connector.outbound.recipients import CrmName
from connector.outbound.resolver import Resolver
from connector.outbound.store.unresolved import LEASE, claim_sends
from connector.state.database import transaction
from connector.streams.outcomes import Record
from connector.telemetry.health import StageHealth
from connector.topics import CRM_TRIGGERS

ANA = Recipient(phone="+15551230000")
NEW = Recipient(phone="+15551239999")
NEW_ID = contact_id_for(Alias("phone", "15551239999"), made=0)


@dataclass
class FakeCrm:
    """A CRM's records. `away`: calls fail."""

    records: dict[str, CandidateContact] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def fetch_contacts(
        self, record_ids: Sequence[str], terms: Terms = NOW
    ) -> Sequence[CandidateContact | Later | None]:
        terms.check()
        self.asked += record_ids
        if self.away:
            raise Transient("the CRM is away")
        return [self.records.get(record_id) for record_id in record_ids]


def record(record_id: str, *phones: str, key: str = "") -> CandidateContact:
    """A contact record with these numbers on it."""
    return CandidateContact(record_id=record_id, key=key, name="", phones=phones)


def resolver(world: OutboundWorld, crms: Mapping[CrmName, FakeCrm] | None = None, **fields: Any) -> Resolver:
    """A resolver that waits as little as it can between tries."""
    values: dict[str, Any] = {
        "crms": crms or {},
        "default_number": "1000",
        "region": "",
        "accounts": ["waba"],
        "health": StageHealth("outbound-resolver"),
        "on_due": lambda: world.called.append("due"),
        "on_queued": lambda: world.called.append("queued"),
        "now": lambda: T0 + timedelta(minutes=1),
        "random": lambda: 0.0,
    } | fields
    return Resolver(world.pool, **values)


async def until(looks: Resolver, holds: Callable[[], Awaitable[bool]], *, relay: OutboundWorld) -> None:
    """Look, and let the route role see what was queued for it, until it holds."""
    introductions = IntroductionStage(relay.pool)
    async with asyncio.timeout(10):
        while not await holds():
            await looks.look()
            rows = await relay.fetch(
                "DELETE FROM shared.outgoing WHERE topic = $1 RETURNING value", CRM_TRIGGERS.name
            )
            records = [
                Record(topic="crm.triggers", partition=0, offset=0, key=b"k", value=row["value"])
                for row in rows
            ]
            if records:
                await introductions.handle(records)
            await asyncio.sleep(0.02)  # the tries are apart by the database's clock


async def test_somebody_new_is_introduced_and_then_written_to(database_url: str) -> None:
    """A send to a phone that nobody knows waits, gets the contact that the route role makes, and is due."""
    async with outbound_world(database_url) as world:
        await world.trigger(request("k", to=NEW))
        looks = resolver(world)

        async def addressed() -> bool:
            return (await world.send("trg_k.0"))["contact_id"] is not None

        await until(looks, addressed, relay=world)
        row = await world.send("trg_k.0")
        assert (row["contact_id"], row["phone"], row["resolutions"]) == (NEW_ID, "+15551239999", 0)
        assert await looks.look() == 0
        assert "due" in world.called


async def test_what_somebody_new_said_is_applied_before_they_are_written_to(database_url: str) -> None:
    """Whenever the send has its contact, the opt-out is in the ledger already."""
    async with outbound_world(database_url) as world:
        await world.trigger(request("k", to=NEW), given("denied", to=NEW))

        async def addressed() -> bool:
            (row,) = await world.fetch(
                "SELECT s.contact_id, c.state FROM outbound.sends s LEFT JOIN outbound.consents c USING (contact_id)"
            )
            assert row["contact_id"] is None or row["state"] == "denied"
            return bool(row["contact_id"] is not None)

        await until(resolver(world), addressed, relay=world)
        assert await world.fetch("SELECT 1 FROM outbound.waiting_acts") == []


@pytest.mark.parametrize(
    ("on_record", "expected", "obstacle"),
    [
        (record("7", "+1 555-123-9999"), NEW_ID, ""),
        (record("7", "+1 555 123 0000"), contact("ana"), ""),
        (record("7", "+1 555 123 0001", "+1 555 123 0000"), contact("ana"), ""),
        (record("7", key=str(contact("ana"))), contact("ana"), ""),
        (record("7", "+1 555 123 0000", "+1 555 123 0002"), None, "ambiguous"),
        (record("7"), None, "no_phone"),
        (record("7", "call me"), None, "invalid_phone"),
        (None, None, "not_found"),
    ],
    ids=["new", "known", "one of two known", "our key", "two people", "no phone", "no number", "no record"],
)
async def test_a_record_is_who_the_crm_says(
    database_url: str, on_record: CandidateContact | None, expected: Any, obstacle: str
) -> None:
    """By our key, else by its phones; what is nobody is told apart."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.introduce("bea", phone="15551230002")
        crm = FakeCrm(records={"7": on_record} if on_record else {})
        await world.trigger(request("k", to=Recipient(hubspot_id="7")))

        async def settled() -> bool:
            row = await world.send("trg_k.0")
            return bool(row["contact_id"] or row["obstacle"])

        await until(resolver(world, {"hubspot": crm}), settled, relay=world)
        row = await world.send("trg_k.0")
        assert (row["contact_id"], row["obstacle"]) == (expected, obstacle)


async def test_a_crm_that_is_away_is_waited_for(database_url: str) -> None:
    """Nothing is concluded from no answer; the send waits, and those of others go on."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        crm = FakeCrm(records={"7": record("7", "+15551230000")}, away=True)
        await world.trigger(request("k", to=Recipient(hubspot_id="7")), request("other", to=NEW))
        looks = resolver(world, {"hubspot": crm})

        async def other() -> bool:
            return (await world.send("trg_other.0"))["contact_id"] is not None

        await until(looks, other, relay=world)
        assert (await world.send("trg_k.0"))["obstacle"] == ""
        crm.away = False

        async def addressed() -> bool:
            return bool((await world.send("trg_k.0"))["contact_id"] == contact("ana"))

        await until(looks, addressed, relay=world)


async def test_who_was_claimed_by_a_process_that_died_is_looked_for_after_its_lease(
    database_url: str,
) -> None:
    """Nobody else looks meanwhile; then it is as if nothing had happened."""
    async with outbound_world(database_url) as world:
        await world.trigger(request("k", to=ANA))
        async with transaction(world.pool) as connection:
            assert len(await claim_sends(connection, limit=10)) == 1
        await world.introduce("ana", phone="15551230000")
        looks = resolver(world)
        assert await looks.look() == 0
        await world.fetch(
            "UPDATE outbound.sends SET not_before = not_before - make_interval(secs => $1)", LEASE
        )
        assert await looks.look() == 1
        assert (await world.send("trg_k.0"))["contact_id"] == contact("ana")


async def test_nobody_waits_longer_than_the_message_is_wanted(database_url: str) -> None:
    """A send whose person is not found in its time goes to the gate as one to nobody."""
    async with outbound_world(database_url) as world:
        await world.trigger(request("k", to=NEW, expires_at=T0 + timedelta(seconds=30)))
        await resolver(world).look()
        assert (await world.send("trg_k.0"))["obstacle"] == "not_found"


async def test_without_a_number_to_leave_from_a_send_fails_once_all_are_known(database_url: str) -> None:
    """It waits for the account to be read, then fails with a reason that names what was asked for."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        callback = WorkflowCallback(callback_id="c1")
        to = Recipient(phone="+15551230000")
        await world.trigger(request("k", to=to, from_number="15559990000", callback=callback.model_dump()))
        looks = resolver(world)
        await looks.look()
        assert (await world.send("trg_k.0"))["state"] == "queued"
        await world.fetch("INSERT INTO outbound.account_syncs (waba_id, asked_at) VALUES ('waba', now())")

        async def failed() -> bool:
            return bool((await world.send("trg_k.0"))["state"] == "failed")

        await until(looks, failed, relay=world)
        row = await world.send("trg_k.0")
        assert "15559990000" in row["problem"]["reason"]
        assert row["outcome_due_at"] is not None
        told = await world.queued()
        assert [event.type for event in told] == ["send.failed", "message"]
        assert isinstance(told[0], SendFailed)
        assert told[1].reported_status == "failed"
