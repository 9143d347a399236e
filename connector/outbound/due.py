"""Sends that became due in one replica are told to the others: the one that holds the number's lock may be idle."""

from __future__ import annotations

import asyncio

from connector.state.database import Connection
from connector.state.notices import listen

_CHANNEL = "connector_outbound"


async def announce_due(connection: Connection) -> None:
    """Tell every replica that sends may be due, as soon as the caller's transaction commits."""
    await connection.execute("SELECT pg_notify($1, '')", _CHANNEL)


async def hear_due(url: str, due: asyncio.Event, *, stop: asyncio.Event) -> None:
    """Set `due` whenever somebody announces it, until `stop`."""
    await listen(url, _CHANNEL, heard=lambda _: due.set(), listening=due.set, stop=stop)
