"""Nothing is planned for, or marked in, tables that lack part of the log: they catch up first."""

from __future__ import annotations

from connector.errors import Transient
from connector.state.database import Connection
from connector.state.standing import look


async def must_be_whole(connection: Connection, sink: str) -> None:
    """Raise `Transient` while a sink's tables catch up with the log."""
    stands = await look(connection, sink)
    if stands.behind_since is not None:
        raise Transient(
            f"The tables of {sink} are behind the log by {stands.missing:,} records and catch up. Nothing was changed.",
            advice=f"wait until sync-{sink} is ready (/readyz says how far it is), then run the same again",
        )
