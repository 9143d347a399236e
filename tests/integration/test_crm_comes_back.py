"""A CRM that is away or refuses our credential: nothing is given up, and what is new comes first when it is back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from conversation_events import message, status
from sink_world import SinkWorld, sink_world

from connector.sandbox.faults import Fault, FaultKind
from connector.settings import SyncSettings
from connector.sync.claims import Claims
from connector.telemetry.health import State

BACKLOG = 400


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SinkWorld]:
    """A HubSpot sink that takes twenty items at a time."""
    settings = SyncSettings(drain_batch=20, stopped_retry=0.3, lost_write_margin=0.5)
    async with sink_world("hubspot", database_url, settings=settings) as world:
        yield world


@pytest.mark.parametrize(
    ("fault", "state", "named"),
    [
        pytest.param(Fault(kind=FaultKind.STATUS, status=503), State.WAITING, "hubspot", id="down"),
        pytest.param(
            Fault(kind=FaultKind.STATUS, status=401),
            State.STOPPED_LINE,
            "CONNECTOR_HUBSPOT__ACCESS_TOKEN",
            id="credential",
        ),
    ],
)
async def test_what_is_new_is_written_first_when_the_crm_is_back(
    world: SinkWorld, fault: Fault, state: State, named: str
) -> None:
    """The backlog waits, visibly and without a dead letter; without a restart the newest conversation goes first."""
    await world.fold(message("a", "ana", shown={}))
    await world.settle()
    number = world.people.faults.add(fault)
    backlog = [message(f"old{n}", f"p{n % 50}", seconds=n, shown={}) for n in range(BACKLOG)]
    await world.fold(*backlog)
    running = asyncio.create_task(world.writer.run())
    async with asyncio.timeout(60):
        while world.health.state is not state or world.writer.items_waiting < BACKLOG:
            await asyncio.sleep(0.02)
        assert named in str(world.health.snapshot())
        await world.fold(message("new", "ana", seconds=10_000, shown={}))
        world.people.faults.remove(number)
        while "text of new" not in world.people.bodies():
            await asyncio.sleep(0.01)
        assert len(world.people.bodies()) < BACKLOG / 2
        while len(world.people.bodies()) < BACKLOG + 2 or not world.health.ready:
            await asyncio.sleep(0.02)
    world.stop.set()
    await running
    assert await world.fetch("SELECT 1 FROM shared.outgoing") == []


async def test_every_so_often_the_longest_waiting_goes_first_whatever_its_class(world: SinkWorld) -> None:
    """The turn of the oldest takes a status that waits behind live messages; every other turn the newest message."""
    await world.fold(message("out", "ana", shown={}, direction="outbound"))
    await world.settle()
    await world.fold(status("out", "read", "ana", seconds=5))
    await world.fold(*(message(f"m{n}", f"p{n}", seconds=100 + n, shown={}) for n in range(30)))
    first = {}
    for oldest_first in (True, False):
        async with world.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            claim = await Claims(schema="hubspot").claim(
                connection, limit=1, lease=10, doubt_wait=0, oldest_first=oldest_first
            )
            await transaction.rollback()
        first[oldest_first] = [item.wamid for item in claim.activities]
    assert first == {True: ["out"], False: ["m29"]}
