"""Folds of two replicas, drains and merges on one PostgreSQL: none waits for another in a ring."""

import asyncio
import random

import asyncpg
from conversation_events import merged, message, status
from sink_world import SinkWorld, sink_world

from connector.errors import Transient
from connector.events import ConversationEvent
from connector.settings import SyncSettings
from connector.state.database import close_pool

PEOPLE = [f"person-{number}" for number in range(12)]
ROUNDS = 40
SIZE = 10


def _batch(rng: random.Random, numbers: range) -> list[ConversationEvent]:
    """New messages, late statuses (some without a person) and now and then a merge, in no order."""
    events: list[ConversationEvent] = [
        message(f"m{number}", PEOPLE[number * 7 % 12], seconds=number, direction="outbound", shown={})
        for number in numbers[-SIZE:]
    ]
    for number in rng.sample(numbers, SIZE):
        who = rng.choice([None, *PEOPLE[:6]])
        events.append(
            status(f"m{number}", rng.choice(["sent", "delivered", "read"]), who, seconds=number + 1)
        )
    if rng.random() < 0.2:
        loser, winner = rng.sample(PEOPLE, 2)
        events.append(merged(loser, winner, seconds=numbers[-1]))
    rng.shuffle(events)
    return events


async def _replica(world: SinkWorld, *, seed: int, first: int) -> None:
    rng = random.Random(seed)
    for turn in range(1, ROUNDS + 1):
        events = _batch(rng, range(first, first + SIZE * turn))
        while True:
            try:
                await world.fold(*events)
            except Transient:
                continue  # what a stage does: the same batch again
            break


async def test_folds_drains_and_merges_never_lock_in_a_ring(database_url: str) -> None:
    """PostgreSQL counts no deadlock while three folds, four drains, look-ups and merges share twelve people."""
    settings = SyncSettings(drain_batch=20, fold_batch=50)
    async with sink_world("hubspot", database_url, settings=settings) as world:
        writing = asyncio.create_task(world.writer.run())
        await asyncio.gather(
            _replica(world, seed=1, first=0),
            _replica(world, seed=2, first=0),  # the same messages: a rebalance lets two work on one partition
            _replica(world, seed=3, first=1000),
        )
        world.stop.set()
        await writing
        world.stop.clear()
        await world.settle(within=60)
        written = await world.fetch(
            "SELECT wamid FROM {sink}.activities WHERE written_version >= desired_version"
        )
        assert len(written) == 2 * SIZE * ROUNDS
        assert world.people.messages().total() == 2 * SIZE * ROUNDS
        await close_pool(world.pool)  # the counters of a connection are complete once it has ended
    connection = await asyncpg.connect(database_url)
    try:
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    assert deadlocks == 0
