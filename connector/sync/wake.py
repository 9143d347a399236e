"""Who has work to do: the fold tells its own process by events, and the other replicas by NOTIFY.

A notification goes out with the commit of the fold, so that whoever wakes sees the rows. It is a hint: one that is
lost (a connection that broke, a pooler in between) is made up for by the writer's own look, once a second.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import structlog

from connector.errors import ConnectorError
from connector.state.database import Connection, connect, database_errors
from connector.sync.core.fold import FoldResult
from connector.sync.core.holding import Hold
from connector.sync.rest import rest

log = structlog.get_logger(__name__)

_RECONNECT = 5.0  # seconds
_ALIVE_EVERY = 30.0  # seconds between looks whether the connection still is one

_ITEMS, _PEOPLE = "items", "people"


class Wake:
    """`items`: something may be written. `people`: somebody is to be looked up in the CRM."""

    def __init__(self) -> None:
        self.items = asyncio.Event()
        self.people = asyncio.Event()
        self._name = uuid.uuid4().hex

    async def announce(self, connection: Connection, schema: str, result: FoldResult) -> None:
        """Tell the other replicas, as soon as the caller's transaction commits."""
        if work := _work(result):
            await connection.execute(
                "SELECT pg_notify($1, $2)", _channel(schema), f"{self._name} {' '.join(work)}"
            )

    def folded(self, result: FoldResult) -> None:
        """Tell this process; the fold is committed."""
        self._set(_work(result))

    async def listen(self, url: str, schema: str, *, stop: asyncio.Event) -> None:
        """Hear of other replicas' folds until `stop`, on a connection of its own. Never raises for the database."""
        while not stop.is_set():
            try:
                async with database_errors():
                    connection = await connect(url)
                    try:
                        await connection.add_listener(_channel(schema), self._heard)
                        self._set((_ITEMS, _PEOPLE))  # what was said while nobody listened
                        while not stop.is_set():
                            await rest(_ALIVE_EVERY, stop)
                            await connection.execute("SELECT 1")
                    finally:
                        connection.terminate()
            except ConnectorError as error:
                log.info("other replicas' folds are not heard of for now", sink=schema, reason=error.message)
                await rest(_RECONNECT, stop)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        sender, *work = str(payload).split()
        if sender != self._name:
            self._set(work)

    def _set(self, work: Any) -> None:
        if _ITEMS in work:
            self.items.set()
        if _PEOPLE in work:
            self.people.set()


def _work(result: FoldResult) -> list[str]:
    work = [_ITEMS] if result.contacts or result.activities else []
    if any(state.standing.held is Hold.LOOKUP for state in result.contacts):
        work.append(_PEOPLE)
    return work


def _channel(schema: str) -> str:
    return f"connector_{schema}"
