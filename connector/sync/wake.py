"""Who has work to do: the fold tells its own process by events, and the other replicas by NOTIFY.

A notification goes out with the commit of the fold, so that whoever wakes sees the rows. It is a hint: one that is
lost is made up for by the writer's own look, once a second.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from connector.state.database import Connection
from connector.state.notices import listen
from connector.sync.core.fold import FoldResult
from connector.sync.core.holding import Hold

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
        await listen(
            url,
            _channel(schema),
            heard=self._heard,
            listening=lambda: self._set((_ITEMS, _PEOPLE)),  # what was said while nobody listened
            stop=stop,
        )

    def _heard(self, payload: str) -> None:
        sender, *work = payload.split()
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
