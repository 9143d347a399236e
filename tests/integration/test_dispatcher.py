"""Dispatching against the simulated WhatsApp on a real database: once, in its turn, and never what may not be sent."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from dispatch_world import NUMBER, WABA, DispatchWorld, dispatch_world

from connector.outbound.due import hear_due
from connector.outbound.store.account_syncs import note_read
from connector.state.database import transaction


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url) as one:
        yield one


async def test_a_campaign_is_sent_once_and_told(world: DispatchWorld) -> None:
    """Each is announced on the log before it leaves, sent once, and told as accepted with the text the person reads."""
    ids = await world.campaign(30)
    async with world.dispatching(replicas=2):
        await world.until(accepted=30)
    await world.relay()
    assert world.sent == dict.fromkeys(ids, 1)
    assert sorted(event.send_id for event in world.log.of("send.attempted")) == sorted(ids)
    messages = world.log.of("message")
    assert {item.text.splitlines()[0] for item in messages} == {"Hi Ana, your order #1 is on its way."}
    assert {(item.direction, item.reported_status) for item in messages} == {("outbound", "accepted")}
    assert sorted(item.send_id for item in world.log.of("send.accepted")) == sorted(ids)
    await world.fold()
    assert await world.states() == {"accepted": 30}


async def test_a_line_that_another_process_holds_waits_for_nothing(world: DispatchWorld) -> None:
    """It could not claim, and says so; once another process has its lock that is over, and it is ready."""

    async def until(*, waiting: bool) -> None:
        async with asyncio.timeout(30):
            while bool(world.health.snapshot().get("waiting_for")) is not waiting:
                await asyncio.sleep(0.02)

    line, settler = world.line()
    stop = asyncio.Event()
    await world.execute("ALTER TABLE outbound.paces RENAME TO paces_away")
    running = asyncio.create_task(line.run(stop=stop))
    await until(waiting=True)
    other = await asyncpg.connect(world.url)
    try:
        await other.execute("SELECT pg_advisory_lock(hashtextextended('dispatch:' || $1, 0))", NUMBER.id)
        await world.execute("ALTER TABLE outbound.paces_away RENAME TO paces")
        await until(waiting=False)
    finally:
        stop.set()
        await other.close()
        await running
        await settler.run(stop=stop)


async def test_a_number_that_the_business_does_not_have_is_blocked_when_the_list_is_new(
    world: DispatchWorld,
) -> None:
    """An old list is read again first; then the sends end with their reason instead of waiting until they expire."""
    await world.execute("DELETE FROM outbound.numbers")
    (send_id,) = await world.campaign(1)
    async with world.dispatching():
        await world.until(held=1)
        async with asyncio.timeout(20):
            while not await world.stages.fetch(
                "SELECT 1 FROM outbound.account_syncs WHERE wanted_at > asked_at"
            ):
                await asyncio.sleep(0.02)
        async with transaction(world.pool) as connection:
            await note_read(connection, WABA, asked_at=datetime.now(UTC), templates=1)
        await world.later(seconds=10)
        await world.until(blocked=1)
    problem = (await world.stages.send(send_id))["problem"]
    assert (problem["cause"], world.sent) == ("number_quality", {})


async def test_an_idle_replica_hears_at_once_of_sends_that_another_admits(world: DispatchWorld) -> None:
    """The one that holds a number's lock need not be the one that reads the trigger."""
    due, stop = asyncio.Event(), asyncio.Event()
    hearing = asyncio.create_task(hear_due(world.url, due, stop=stop))
    try:
        async with asyncio.timeout(20):
            await due.wait()  # what was said before it listened
            due.clear()
            await world.campaign(1)
            await due.wait()
    finally:
        stop.set()
        await hearing
