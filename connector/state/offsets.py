"""The offsets that a role's tables contain, stored in the transaction that folded them.

At start a role compares them with its consumer group: tables that are behind (a restored backup) are brought
up from the log before anything else happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from connector.state.database import Connection


class HasPosition(Protocol):
    """Anything that lies somewhere on a topic."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


async def store_offsets(connection: Connection, *, schema: str, offsets: Iterable[HasPosition]) -> None:
    """Remember that every record up to these is folded; a repeated older batch never moves them back."""
    ends: dict[tuple[str, int], int] = {}
    for position in offsets:
        place = (position.topic, position.partition)
        ends[place] = max(ends.get(place, 0), position.offset + 1)
    places = sorted(ends)
    await connection.execute(
        f"INSERT INTO {schema}.offsets AS o (topic, partition, next_offset) "  # noqa: S608 - schema is ours
        "SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[]) ON CONFLICT (topic, partition) "
        "DO UPDATE SET next_offset = greatest(o.next_offset, excluded.next_offset)",
        [topic for topic, _ in places],
        [partition for _, partition in places],
        [ends[place] for place in places],
    )


async def load_offsets(connection: Connection, *, schema: str) -> dict[tuple[str, int], int]:
    """(topic, partition) → next offset to fold."""
    rows = await connection.fetch(f"SELECT topic, partition, next_offset FROM {schema}.offsets")  # noqa: S608
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
