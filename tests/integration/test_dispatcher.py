"""Dispatching against the simulated WhatsApp on a real database: once, in its turn, and never what may not be sent."""

from collections.abc import AsyncIterator

import pytest
from dispatch_world import DispatchWorld, dispatch_world


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
