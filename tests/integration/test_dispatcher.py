"""Dispatching against the simulated WhatsApp on a real database: once, in its turn, and never what may not be sent."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from dispatch_world import NUMBER, DispatchWorld, dispatch_world


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
