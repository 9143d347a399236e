"""The offsets that a role's tables contain, stored in the transaction that folded them.

A reader knows how far it has read; tables that are behind that are a restored backup's, and nothing is folded into
them before what they lack (connector/streams/completeness.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from connector.errors import TablesBehind
from connector.state.database import Connection


class Place(NamedTuple):
    """One partition of a topic, by its full name."""

    topic: str
    partition: int


class HasPosition(Protocol):
    """Anything that lies somewhere on a topic."""

    @property
    def topic(self) -> str: ...

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def follows(self) -> int:
        """Where its reader was before it: all below was folded, or never existed. 0: the reader began here."""


async def store_offsets(connection: Connection, *, schema: str, offsets: Iterable[HasPosition]) -> None:
    """Remember that every record up to these is folded; a repeated older batch never moves them back.

    Raises `TablesBehind` when the tables lack records that the reader has left behind. Offsets that do not exist
    (retention, transaction markers) lie between `follows` and `offset`, and are never missed.
    """
    ends: dict[Place, int] = {}
    begins: dict[Place, int] = {}
    for position in offsets:
        place = Place(position.topic, position.partition)
        ends[place] = max(ends.get(place, 0), position.offset + 1)
        begins[place] = min(begins.get(place, position.follows), position.follows)
    places = sorted(ends)
    if not places:
        return
    behind = await connection.fetch(
        "WITH n AS (SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[]) "  # noqa: S608 - schema is ours
        "AS n (topic, partition, next_offset, follows)), "
        f"before AS (SELECT topic, partition, o.next_offset FROM {schema}.offsets o JOIN n USING (topic, partition)), "
        f"stored AS (INSERT INTO {schema}.offsets AS o (topic, partition, next_offset) "
        "SELECT topic, partition, next_offset FROM n ON CONFLICT (topic, partition) DO UPDATE "
        "SET next_offset = greatest(o.next_offset, excluded.next_offset), stored_at = now()) "
        "SELECT topic, partition, follows, coalesce(before.next_offset, 0) AS folded FROM n "
        "LEFT JOIN before USING (topic, partition) WHERE coalesce(before.next_offset, 0) < follows",
        [place.topic for place in places],
        [place.partition for place in places],
        [ends[place] for place in places],
        [begins[place] for place in places],
    )
    if behind:
        row = behind[0]
        raise TablesBehind(
            f"The tables in {schema} hold {row['topic']}[{row['partition']}] up to {row['folded']}, "
            f"and it was read up to {row['follows']}: the database is older than that.",
            advice="it catches up from the log by itself, and /readyz says how far it is",
            retry_after=1.0,
        )


async def load_offsets(connection: Connection, *, schema: str) -> dict[Place, int]:
    """(topic, partition) → next offset to fold."""
    rows = await connection.fetch(f"SELECT topic, partition, next_offset FROM {schema}.offsets")  # noqa: S608
    return {Place(row["topic"], row["partition"]): row["next_offset"] for row in rows}
