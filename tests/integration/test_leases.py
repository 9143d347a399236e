"""A process that was frozen past its lease: what others have claimed meanwhile is theirs."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from conversation_events import contact, merged, message
from sink_world import SinkWorld, sink_world

from connector.errors import Transient
from connector.state.database import transaction
from connector.sync.claims import Claim, Claims, LeaseEnds

CLAIMS = Claims(schema="hubspot")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SinkWorld]:
    """A HubSpot sink whose writer does not run: its claims are made by the tests."""
    async with sink_world("hubspot", database_url) as world:
        yield world


async def claim(world: SinkWorld) -> Claim:
    async with transaction(world.pool) as connection:
        return await CLAIMS.claim(connection, limit=10, lease=60, doubt_wait=0, oldest_first=False)


async def claimed_twice(world: SinkWorld) -> tuple[Claim, Claim]:
    """What somebody claimed whose lease then ran out, and the claim of who came next."""
    await world.fold(message("a", "ana", shown={}))
    await world.fetch("UPDATE {sink}.contacts SET held = NULL, record_id = '1'")
    await world.fetch("UPDATE {sink}.activities SET held = NULL")
    frozen = await claim(world)
    await world.fetch("UPDATE {sink}.contacts SET lease_until = now() - interval '1 second'")
    return frozen, await claim(world)


async def test_a_lease_that_ran_out_is_neither_renewed_nor_given_back(world: SinkWorld) -> None:
    """Whoever wakes up after its lease changes nothing about the lease of the next."""
    frozen, heir = await claimed_twice(world)
    assert frozen.leased_until is not None
    async with transaction(world.pool) as connection:
        until = frozen.leased_until
        assert await CLAIMS.renew(connection, [contact("ana")], lease=60, leased_until=until) is None
        await CLAIMS.give_back(connection, LeaseEnds(release=[contact("ana")], leased_until=until))
    [row] = await world.fetch("SELECT lease_until FROM {sink}.contacts")
    assert row["lease_until"] == heir.leased_until


async def test_a_lease_is_renewed_by_its_holder(world: SinkWorld) -> None:
    """Each renewal says how the next one names the lease."""
    _, heir = await claimed_twice(world)
    until = heir.leased_until
    for _ in range(2):
        assert until is not None
        async with transaction(world.pool) as connection:
            renewed = await CLAIMS.renew(connection, [contact("ana")], lease=60, leased_until=until)
        assert renewed is not None
        assert renewed > until
        until = renewed


async def test_what_others_have_claimed_is_neither_created_nor_settled(world: SinkWorld) -> None:
    """Whoever wakes up after its lease begins no create, and leaves the next one's begun create in doubt."""
    frozen, heir = await claimed_twice(world)
    assert frozen.leased_until is not None
    assert heir.leased_until is not None
    records = {contact("ana"): "1"}
    for claimed, begins in ((heir, {"a"}), (frozen, set[str]())):
        assert claimed.leased_until is not None
        async with transaction(world.pool) as connection:
            until = claimed.leased_until
            assert begins == await CLAIMS.begin_creates(
                connection, claimed.activities, records=records, leased_until=until
            )
    with pytest.raises(Transient, match="lease"):
        async with transaction(world.pool) as connection:
            await CLAIMS.settle_activities(
                connection,
                [],
                lost=[],
                homeless={},
                ends=LeaseEnds(release=[contact("ana")], leased_until=frozen.leased_until),
            )
    [row] = await world.fetch("SELECT intent_at IS NOT NULL AS begun FROM {sink}.activities")
    assert row["begun"]


async def test_whom_the_crm_may_still_be_writing_is_not_claimed_and_neither_is_their_heir(
    world: SinkWorld,
) -> None:
    """A lease that lingers, or is renewed, keeps what a merge took from its holder waiting for as long."""
    await world.fold(message("a", "new", shown={}), message("z", "old", seconds=-9, shown={}))
    await world.fetch("UPDATE {sink}.contacts SET held = NULL, written_version = desired_version")
    await world.fetch(
        "UPDATE {sink}.contacts SET record_id = '1', lease_until = now() + interval '1 hour' WHERE contact_id = $1",
        contact("old"),
    )
    await world.fetch("UPDATE {sink}.contacts SET record_id = '2' WHERE contact_id = $1", contact("new"))
    await world.fetch("UPDATE {sink}.activities SET held = NULL")
    leased_until = (await claim(world)).leased_until
    await world.fold(merged("new", "old", seconds=9))
    assert leased_until is not None
    async with transaction(world.pool) as connection:
        renewed = await CLAIMS.renew(connection, [contact("new")], lease=70, leased_until=leased_until)
    assert renewed is not None
    assert await _waits_until(world, "a") == renewed
    ends = LeaseEnds(release=[], linger=[contact("new")], seconds=600, leased_until=renewed)
    async with transaction(world.pool) as connection:
        await CLAIMS.settle_activities(connection, [], lost=[], homeless={}, ends=ends)
    [row] = await world.fetch(
        "SELECT lease_until, now() AS now FROM {sink}.contacts WHERE contact_id = $1", contact("new")
    )
    assert 590 < (row["lease_until"] - row["now"]).total_seconds() < 601
    assert await _waits_until(world, "a") == row["lease_until"]


async def _waits_until(world: SinkWorld, wamid: str) -> datetime:
    [row] = await world.fetch("SELECT not_before FROM {sink}.activities WHERE wamid = $1", wamid)
    until: datetime = row["not_before"]
    return until


async def test_times_from_before_the_clock_was_set_back_hold_up_nothing(world: SinkWorld) -> None:
    """A lease that ends in hours is cut to the longest there is, and a wait or a doubt from the future is over."""
    await world.fold(message("a", "ana", shown={}))
    await world.fetch("UPDATE {sink}.contacts SET held = NULL, record_id = '1'")
    await world.fetch(
        "UPDATE {sink}.activities SET held = NULL, not_before = now() + interval '3 hours', "
        "intent_at = now() + interval '3 hours'"
    )
    await world.fetch("UPDATE {sink}.contacts SET lease_until = now() + interval '3 hours'")
    assert not await claim(world)  # whoever holds it may be at work
    [row] = await world.fetch("SELECT lease_until - now() AS left FROM {sink}.contacts")
    assert 590 < row["left"].total_seconds() <= CLAIMS.longest_lease
    assert not await claim(world)  # an ordinary lease by now
    await world.fetch("UPDATE {sink}.contacts SET lease_until = now() - interval '1 second'")
    [item] = (await claim(world)).activities
    assert item.in_doubt


async def test_a_look_up_lease_from_before_the_clock_was_set_back_is_cut(world: SinkWorld) -> None:
    """Somebody who waits for a look-up under such a lease is looked up once the longest lease would have ended."""
    await world.fold(message("a", "ana"))
    await world.fetch("UPDATE {sink}.contacts SET lease_until = now() + interval '3 hours'")
    running = asyncio.create_task(world.writer.run())
    async with asyncio.timeout(10):
        while not await world.fetch(
            "SELECT 1 FROM {sink}.contacts WHERE lease_until < now() + interval '1 hour'"
        ):
            await asyncio.sleep(0.02)
    world.stop.set()
    await running
    assert await world.held("ana") == "lookup"
