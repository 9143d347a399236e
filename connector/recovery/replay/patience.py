"""Looking at a CRM's records for as long as it takes: a tool waits for its turn behind what is live, and says so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from connector.crm.port import (
    NOW,
    ActivityChange,
    ActivityQuery,
    Compared,
    ContactUpsert,
    FindResult,
    RecordComparison,
    Terms,
)
from connector.crm.quota import QuotaHeld
from connector.errors import Transient
from connector.streams.backoff import backoff

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AT_ONCE = 500  # items; what is asked again when the turn for one of its calls does not come
_LONGEST_PAUSE = 10.0  # seconds
_GIVES_UP = 120.0  # seconds for which the CRM may be away; for a turn it waits as long as it takes
_TELL_EVERY = 10.0


class Patience:
    """Tries a call again while the quota holds it back or the CRM is away for a moment. `told` hears what is waited for.

    Raises the connector's errors: `Transient` once the CRM was away for two minutes.
    """

    def __init__(self, *, told: Callable[[str], None] = lambda _: None) -> None:
        self._told = told
        self._told_at = 0.0

    async def ask(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `call`, which writes nothing."""
        away_since: float | None = None
        attempt = 0
        while True:
            try:
                return await call()
            except QuotaHeld as error:
                away_since, pause = None, error.retry_after or 1.0
                self._tell(error)
            except Transient as error:
                attempt += 1
                away_since = away_since or time.monotonic()
                pause = error.retry_after or backoff(attempt, random=random.random, longest=_LONGEST_PAUSE)
                if time.monotonic() + pause - away_since > _GIVES_UP:
                    raise
                self._tell(error)
            await asyncio.sleep(pause)

    def _tell(self, error: Transient) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY:
            self._told_at = now
            self._told(f"waiting: {error.message}")


class PatientComparison:
    """The same comparison, in parts, each asked for with patience."""

    def __init__(self, crm: RecordComparison, *, told: Callable[[str], None] = lambda _: None) -> None:
        self._crm = crm
        self._patience = Patience(told=told)

    @property
    def activities_per_call(self) -> int:
        """As the CRM has it."""
        return self._crm.activities_per_call

    async def find_activities(
        self, items: Sequence[ActivityQuery], terms: Terms = NOW
    ) -> Sequence[FindResult]:
        """Any number of messages."""
        return await self._in_parts(
            items, lambda part: self._crm.find_activities(part, terms), size=self.activities_per_call
        )

    async def compare_contacts(
        self, items: Sequence[ContactUpsert], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known records."""
        return await self._in_parts(items, lambda part: self._crm.compare_contacts(part, terms))

    async def compare_activities(
        self, items: Sequence[ActivityChange], terms: Terms = NOW
    ) -> Sequence[Compared]:
        """Any number of known records."""
        return await self._in_parts(items, lambda part: self._crm.compare_activities(part, terms))

    async def _in_parts(
        self,
        items: Sequence[Item],
        ask: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        size: int = _AT_ONCE,
    ) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(items), size):
            part = items[start : start + size]
            answers += await self._patience.ask(partial(ask, part))
        return answers
