"""What an operator paused of a role's own work: a stage, which then reads nothing, or a sink, which then writes nothing.

Looked at every second; the last look counts while the database is away, and nothing begins before the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import asyncpg

from connector.errors import ConnectorError, Paused, Transient
from connector.state.database import Connection, transaction
from connector.state.switches import WORK, Pressed, pressed
from connector.state.whole import Token, Wholeness

_LOOK_EVERY = 1.0  # seconds
_NOT_LOOKED_YET = 0.2


class Pauses:
    """The switches of this process's stages and sink."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._pressed: Mapping[tuple[str, str], Pressed] | None = None
        self._failure: ConnectorError | None = None

    async def watch(self, *, stop: asyncio.Event) -> None:
        """Look until `stop`. A database that is away is told of by whoever works on it."""
        while not stop.is_set():
            try:
                await self.look()
            except ConnectorError as error:
                self._failure = error
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY)

    async def look(self) -> None:
        """One look. Raises as the database does."""
        async with transaction(self._pool) as connection:
            found = [switch for kind in WORK for switch in await pressed(connection, kind=kind)]
        self._pressed = {(switch.kind, switch.subject): switch for switch in found}

    def held(self, kind: str, subject: str) -> Transient | None:
        """Why this stage or sink may not work now; None: it may."""
        if self._pressed is None:
            why = self._failure
            return Transient(
                "What is paused is not known yet." + (f" {why.message}" if why else ""),
                advice=why.advice if why else "",
                retry_after=_NOT_LOOKED_YET,
            )
        switch = self._pressed.get((kind, subject))
        if switch is None:
            return None
        return Paused(
            f"Paused by {switch.who} since {switch.at:%Y-%m-%d %H:%M} UTC: {switch.reason}",
            advice=f"connector resume {kind} {subject}",
            retry_after=_LOOK_EVERY,
        )


class UnlessPaused:
    """Tables that are not acted on while their sink is paused. What was begun before is settled."""

    def __init__(self, tables: Wholeness, pauses: Pauses, *, sink: str) -> None:
        self._tables = tables
        self._pauses = pauses
        self._sink = sink

    async def must_be_whole(self, connection: Connection, *, since: Token | None = None) -> Token:
        """See `Wholeness`. Raises `Paused`, too."""
        if since is None and (held := self._pauses.held("sink", self._sink)) is not None:
            raise held
        return await self._tables.must_be_whole(connection, since=since)
