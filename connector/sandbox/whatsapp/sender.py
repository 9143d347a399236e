"""Meta's webhook delivery: signed, batched, at least once, in no order, repeated until answered 200.

developers.facebook.com/docs/whatsapp/cloud-api/webhooks (overview, create-webhook-endpoint): any other
answer is retried "with decreasing frequency" for up to 7 days, and the whole POST is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx
import httpx_aiohttp

from connector.sandbox.retries import RetrySchedule
from connector.sandbox.whatsapp.payloads import Update, envelope, serialise, signature


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How badly deliveries behave. The same seed misbehaves alike."""

    seed: int = 0
    batch: int = 1
    """Most updates in one POST, at most 1,000; each POST draws its size from 1 to this."""
    duplicate: float = 0.0
    """Chance that a POST is made once more although it was answered 200 (another app of the account did
    not answer), at once or after the others."""
    disorder: int = 0
    """How many places an update may move from its turn."""
    delay: float = 0.0
    """A POST waits up to this many seconds before it is made."""
    in_flight: int = 8
    """POSTs at once."""


@dataclass(slots=True, kw_only=True)
class Delivery:
    """What became of one update."""

    id: str
    wamid: str | None
    posts: int = 0
    """POSTs that carried it, duplicates and repetitions included."""
    first_posted_at: float | None = None
    """Unix seconds."""
    acknowledged_at: float | None = None
    """When the first 200 came: from then on the receiver is answerable for it."""
    answers: list[int | str] = field(default_factory=list)
    """Status of each POST in order; the error's name where there was no answer."""
    lost: bool = False
    """Whether delivery was given up without any 200."""


class DeliveryJournal:
    """Every update that was ever sent: what the CRM must show is decided by it."""

    def __init__(self) -> None:
        self.deliveries: dict[str, Delivery] = {}

    def of(self, update: Update) -> Delivery:
        """Return the entry of an update, made on first sight."""
        return self.deliveries.setdefault(update.id, Delivery(id=update.id, wamid=update.wamid))

    def acknowledged(self) -> list[Delivery]:
        """Return the updates that a 200 was given for."""
        return [entry for entry in self.deliveries.values() if entry.acknowledged_at is not None]

    def unacknowledged(self) -> list[Delivery]:
        """Return the updates that no 200 was given for yet."""
        return [entry for entry in self.deliveries.values() if entry.acknowledged_at is None]

    def as_json(self) -> dict[str, Any]:
        """Return counts and entries."""
        return {
            "updates": len(self.deliveries),
            "acknowledged": len(self.acknowledged()),
            "posts": sum(entry.posts for entry in self.deliveries.values()),
            "deliveries": [asdict(entry) for entry in self.deliveries.values()],
        }


class WebhookSender:
    """Delivers updates to one webhook as Meta does.

    `clock` gives Unix seconds. Use it as an async context manager, or call `aclose`.
    """

    def __init__(
        self,
        *,
        url: str,
        app_secret: str,
        weather: Weather | None = None,
        retries: RetrySchedule | None = None,
        timeout: float = 20.0,
        clock: Callable[[], float] = time.time,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.journal = DeliveryJournal()
        self._url = url
        self._app_secret = app_secret
        self._weather = weather or Weather()
        self._retries = retries or RetrySchedule()
        self._clock = clock
        self._random = Random(self._weather.seed)
        self._client = client or httpx_aiohttp.HttpxAiohttpClient(timeout=timeout)
        self._slots = asyncio.Semaphore(self._weather.in_flight)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def deliver(self, updates: Iterable[Update]) -> None:
        """Deliver updates; return when each was answered 200, or given up after the schedule's end.

        A failing POST delays no other one.
        """
        late: list[bytes] = []
        carried: dict[bytes, Sequence[Update]] = {}
        async with asyncio.TaskGroup() as posts:
            for batch in self._batches(list(updates)):
                body = serialise(envelope(batch))
                carried[body] = batch
                posts.create_task(self._until_acknowledged(body, batch, self._delay()))
                if self._random.random() < self._weather.duplicate:
                    if self._random.random() < 0.5:
                        posts.create_task(self._until_acknowledged(body, batch, self._delay()))
                    else:
                        late.append(body)
        async with asyncio.TaskGroup() as posts:
            for body in late:
                posts.create_task(self._until_acknowledged(body, carried[body], self._delay()))

    async def post(self, updates: Sequence[Update]) -> int | str:
        """Make one POST, once; return the status, or the error's name where there was no answer."""
        return await self._post(serialise(envelope(updates)), updates)

    async def post_bytes(self, body: bytes, *, signed_with: str | None = None) -> int | str:
        """POST any bytes, signed with the app's secret or another one; the journal does not know them."""
        return await self._send(body, signed_with or self._app_secret)

    def _batches(self, updates: list[Update]) -> Iterator[list[Update]]:
        moved = sorted(
            enumerate(updates), key=lambda pair: pair[0] + self._random.uniform(0, self._weather.disorder)
        )
        ordered = [update for _, update in moved]
        while ordered:
            size = self._random.randint(1, self._weather.batch)
            yield ordered[:size]
            del ordered[:size]

    def _delay(self) -> float:
        return self._random.uniform(0, self._weather.delay)

    async def _until_acknowledged(self, body: bytes, updates: Sequence[Update], delay: float) -> None:
        await asyncio.sleep(delay)
        for wait in self._retries.waits():
            if await self._post(body, updates) == 200:
                return
            await asyncio.sleep(wait)
        if await self._post(body, updates) != 200:
            for update in updates:
                entry = self.journal.of(update)
                entry.lost = entry.acknowledged_at is None

    async def _post(self, body: bytes, updates: Sequence[Update]) -> int | str:
        entries = {entry.id: entry for entry in map(self.journal.of, updates)}.values()
        async with self._slots:
            now = self._clock()
            for entry in entries:
                entry.posts += 1
                entry.first_posted_at = entry.first_posted_at or now
            answer = await self._send(body, self._app_secret)
        now = self._clock()
        for entry in entries:
            entry.answers.append(answer)
            if answer == 200:
                entry.acknowledged_at = entry.acknowledged_at or now
                entry.lost = False
        return answer

    async def _send(self, body: bytes, app_secret: str) -> int | str:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": signature(body, app_secret),
        }
        try:
            answer = await self._client.post(self._url, content=body, headers=headers)
        except httpx.TransportError as error:
            return type(error).__name__
        return answer.status_code
