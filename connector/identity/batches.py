"""One batch of readings through the rules and into the tables, in one transaction. What both route stages do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from connector.identity.parked import discard_parked, find_parked
from connector.identity.reading import MessageReading, Reading, StatusReading
from connector.identity.routing import STAGE, Routing
from connector.identity.store import load_directory, save_directory
from connector.state.database import Connection, transaction
from connector.state.offsets import HasPosition, store_offsets
from connector.streams.outcomes import Dead, Outcome
from connector.streams.outgoing import queue_outgoing


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutedBatch:
    """One outcome a reading, in their order. `queued`: the commit left records for the relay."""

    outcomes: Sequence[Outcome]
    queued: bool


Guard = Callable[[Connection], Awaitable[bool]]
"""Raises `Transient` in the transaction when nothing may be decided by these tables now; else whether they were
restored and are catching up."""


async def unguarded(_: Connection) -> bool:
    """For tables that nobody restores."""
    return False


async def route_batch(
    pool: asyncpg.Pool,
    readings: Sequence[Reading | Dead],
    *,
    offsets: Iterable[HasPosition],
    guard: Guard = unguarded,
) -> RoutedBatch:
    """Commit the people, the recorded messages and `offsets`, or nothing.

    Raises `Transient` when the database is away or asks to repeat. Repeating a committed batch gives the same
    events and announces nothing twice.
    """
    messages = [reading for reading in readings if isinstance(reading, MessageReading)]
    async with transaction(pool) as connection:
        catching_up = await guard(connection)
        directory = await load_directory(
            connection,
            shown={alias for message in messages for alias in message.aliases},
            wamids={wamid for message in messages for wamid in message.wamids},
            inquiries=[reading.inquiry for reading in readings if isinstance(reading, StatusReading)],
        )
        routing = Routing(directory, announce_again=catching_up)
        outcomes = routing.route(readings)
        await save_directory(
            connection,
            directory,
            messages=routing.messages,
            parked=routing.parked,
            conflicts=routing.conflicts,
        )
        # After the messages are recorded: whoever parked a status of one of them meanwhile is through by now.
        candidates = await find_parked(
            connection,
            wamids=[message.wamid for message in routing.messages],
            aliases=directory.newly_held,
        )
        await discard_parked(connection, routing.release(candidates))
        await queue_outgoing(connection, stage=STAGE, records=routing.outgoing)
        await store_offsets(connection, schema="identity", offsets=offsets)
    return RoutedBatch(outcomes=outcomes, queued=bool(routing.outgoing))
