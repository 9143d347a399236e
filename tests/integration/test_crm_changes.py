"""What a CRM tells of its records between writes: who was erased is not written to, and what was read is read again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from dispatch_world import DispatchWorld, dispatch_world
from outbound_world import request

from connector.events import CrmContactChanged, Recipient
from connector.sandbox.whatsapp import Number
from connector.state.database import transaction
from connector.sync.losses import lose_records

ANA, BO = "+16505550000", "+16505550001"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url, numbers=[Number()]) as one:
        yield one


def change(
    what: Literal["property", "merged", "deleted", "erased"], record_id: str = "7", **fields: Any
) -> CrmContactChanged:
    now = datetime.now(UTC)
    return CrmContactChanged(
        event_id=f"hubspot:contact.{what}:{record_id}",
        source="hubspot_webhook",
        received_at=now,
        crm="hubspot",
        record_id=record_id,
        change=what,
        at=now,
        **fields,
    )


async def recorded(world: DispatchWorld, phone: str, record_id: str, *, erased: bool = False) -> None:
    """The sink has a record of somebody."""
    await world.execute(
        "INSERT INTO hubspot.contacts (contact_id, facts, record_id, erased, fresh_at) "
        "SELECT contact_id, '{}', $2, $3, now() FROM identity.aliases WHERE kind = 'phone' AND value = $1",
        phone.lstrip("+"),
        record_id,
        erased,
    )


async def lost(world: DispatchWorld, record_id: str, *, erased: bool) -> None:
    """A write found this record gone that nobody wrote to for a quarter. `erased`: it is not among the deleted."""
    await world.execute(
        "UPDATE hubspot.contacts SET written_at = now() - interval '91 days' WHERE record_id = $1", record_id
    )
    async with transaction(world.pool) as connection:
        gone = await connection.fetch(
            "SELECT contact_id FROM hubspot.contacts WHERE record_id = $1 FOR UPDATE", record_id
        )
        await lose_records(connection, "hubspot", {row["contact_id"]: erased for row in gone})


async def causes(world: DispatchWorld) -> dict[str, str]:
    """Phone → state of its send, and why."""
    rows = await world.stages.fetch("SELECT * FROM outbound.sends")
    return {
        row["recipient"]["phone"]: f"{row['state']} {(row['problem'] or {}).get('cause', '')}".strip()
        for row in rows
    }


async def test_who_was_erased_in_the_crm_is_not_written_to(world: DispatchWorld) -> None:
    """Also by their phone, with a send that was asked for before, and before the sink comes to write to the record."""
    await world.campaign(2)
    await recorded(world, ANA, "7")
    await recorded(world, BO, "8")
    await world.stages.trigger(change("erased"))
    async with world.dispatching():
        await world.until(blocked=1, accepted=1)
    assert await causes(world) == {ANA: "blocked recipient", BO: "accepted"}
    (row,) = await world.stages.fetch("SELECT verdict FROM outbound.sends WHERE state = 'blocked'")
    assert "asked to be forgotten" in row["verdict"]["explanation"]


async def test_an_erasure_is_not_forgotten_when_the_sink_learns_later_whose_record_it_was(
    world: DispatchWorld,
) -> None:
    """The webhook overtakes the write whose answer names the record."""
    await world.stages.trigger(change("erased"))
    await world.campaign(2)
    await recorded(world, ANA, "7")
    async with world.dispatching():
        await world.until(blocked=1, accepted=1)
    assert await causes(world) == {ANA: "blocked recipient", BO: "accepted"}


async def test_an_erasure_that_only_the_sink_saw_counts_as_well(world: DispatchWorld) -> None:
    """A webhook that was never subscribed to, or is lost, does not make a difference."""
    await world.campaign(2)
    await recorded(world, ANA, "7", erased=True)
    async with world.dispatching():
        await world.until(blocked=1, accepted=1)
    assert await causes(world) == {ANA: "blocked recipient", BO: "accepted"}


@pytest.mark.parametrize("erased", [True, False], ids=["gone-for-good", "among-the-deleted"])
async def test_an_erasure_is_not_forgotten_when_the_sink_finds_the_record_gone(
    world: DispatchWorld, *, erased: bool
) -> None:
    """The record that the webhook named is that of nobody any more, also of somebody without a message in the CRM."""
    await world.campaign(2)
    await recorded(world, ANA, "7")
    await recorded(world, BO, "8")
    await world.stages.trigger(change("erased"))
    await lost(world, "7", erased=erased)
    await lost(world, "8", erased=False)
    async with world.dispatching():
        await world.until(blocked=1, accepted=1)
    assert await causes(world) == {ANA: "blocked recipient", BO: "accepted"}


async def test_who_was_deleted_first_and_erased_later_is_not_written_to(world: DispatchWorld) -> None:
    """The sink does not know the record any more when the webhook names it, but whose messages hung on it."""
    await world.campaign(2)
    for phone, record_id in ((ANA, "7"), (BO, "8")):
        await recorded(world, phone, record_id)
        await world.execute(
            "INSERT INTO hubspot.activities (wamid, contact_id, facts, record_id, on_record_id, fresh_at, topic, "
            "partition, \"offset\") SELECT 'wamid.' || $1, contact_id, '{}', '1' || $1, $1, now(), 'events', 0, 0 "
            "FROM hubspot.contacts WHERE record_id = $1",
            record_id,
        )
        await lost(world, record_id, erased=False)
    await world.stages.trigger(change("erased"))
    async with world.dispatching():
        await world.until(blocked=1, accepted=1)
    assert await causes(world) == {ANA: "blocked recipient", BO: "accepted"}


async def test_a_request_that_names_an_erased_record_is_blocked_at_once(world: DispatchWorld) -> None:
    """A workflow that was under way when the person was erased."""
    asked = request("k", to=Recipient(hubspot_id="7"), received_at=datetime.now(UTC))
    await world.stages.trigger(change("erased"), asked)
    assert (await world.stages.send(asked.send_id))["obstacle"] == "erased"


@pytest.mark.parametrize("what", ["deleted", "merged", "erased"])
async def test_what_was_read_of_a_record_is_dropped_when_it_changes_hands(
    world: DispatchWorld, what: Literal["deleted", "merged", "erased"]
) -> None:
    """The survivor of a merge says what it says by now, and nothing is kept of whom the CRM erased."""
    await world.execute(
        "INSERT INTO outbound.crm_records (crm, record_id, properties, read_at) "
        "VALUES ('hubspot', '7', '{}', now()), ('hubspot', '8', '{}', now()), ('hubspot', '9', '{}', now())"
    )
    merged = ["8"] if what == "merged" else []
    await world.stages.trigger(change(what, merged_ids=merged))
    left = await world.stages.fetch("SELECT record_id FROM outbound.crm_records ORDER BY record_id")
    assert [row["record_id"] for row in left] == (["9"] if what == "merged" else ["8", "9"])
