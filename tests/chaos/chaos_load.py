"""Webhooks at a steady pace, whoever answers: an open loop, as Meta is one. What is not answered 200 comes again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

from connector.embedded.deployment import SANDBOX_APP_SECRET
from connector.sandbox.retries import RetrySchedule
from connector.sandbox.whatsapp.payloads import Update
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

# Meta's first repetition comes after seconds, later ones after hours; here an outage of minutes is the whole story.
_RETRIES = RetrySchedule(first=1.0, factor=1.5, longest=5.0)
_TIMEOUT = 10.0
_MOST_IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """One POST. Monotonic seconds; `status` is an error's name when there was no answer."""

    posted_at: float
    answered_at: float
    ingress: int
    status: int | str


class Load:
    """Posts updates to one or several ingress replicas in turn. Use it as an async context manager.

    `copies`: each POST is made so many times more, within `spread` seconds, on any of the replicas.
    """

    def __init__(
        self, urls: Sequence[str], *, seed: int, batch: int = 5, copies: int = 0, spread: float = 0.0
    ) -> None:
        weather = Weather(in_flight=_MOST_IN_FLIGHT)
        self._senders = [
            WebhookSender(
                url=f"{url}/webhooks/whatsapp",
                app_secret=SANDBOX_APP_SECRET,
                weather=weather,
                timeout=_TIMEOUT,
            )
            for url in urls
        ]
        self._random = Random(f"load {seed}")
        self._batch = batch
        self._copies = copies
        self._spread = spread
        self._turn = 0
        self._posts: set[asyncio.Task[None]] = set()
        self.updates = 0
        self.answers: list[Answer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for post in self._posts:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        for sender in self._senders:
            await sender.aclose()

    async def post(self, updates: Sequence[Update], *, per_second: float, due: float | None = None) -> float:
        """Begin to post these updates, in their order, at this pace; when the next one is due (monotonic seconds).

        `due`: when the first is, by what was posted before; None: now. Who is late makes up for it.
        """
        due = time.monotonic() if due is None else due
        done = 0
        while done < len(updates):
            size = min(self._random.randint(1, self._batch), len(updates) - done)
            self._begin(updates[done : done + size])
            done += size
            due += size / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        return due

    async def all_acknowledged(self, *, within: float) -> bool:
        """Wait until each POST was answered 200; False when some was not in time."""
        if self._posts:
            await asyncio.wait(self._posts, timeout=within)
        return not self._posts

    def statuses(self, *, since: float = 0.0, until: float = float("inf")) -> Counter[str]:
        """Answers by status, of POSTs that were begun and answered within this time."""
        return Counter(
            str(one.status) for one in self.answers if one.posted_at >= since and one.answered_at <= until
        )

    def first_accepted_after(self, moment: float, *, ingress: int = 0) -> float | None:
        """When a replica first answered 200 to a POST that was begun after this moment."""
        return next(
            (
                one.answered_at
                for one in reversed(self._after(moment))
                if one.status == 200 and one.ingress == ingress and one.posted_at >= moment
            ),
            None,
        )

    def _after(self, moment: float) -> list[Answer]:
        """The answers since a moment, newest first."""
        found = []
        for one in reversed(self.answers):
            if one.answered_at < moment:
                break
            found.append(one)
        return found

    def _begin(self, updates: Sequence[Update]) -> None:
        self.updates += len(updates)
        places = [self._turn % len(self._senders)]
        places += [self._random.randrange(len(self._senders)) for _ in range(self._copies)]
        self._turn += 1
        for number, place in enumerate(places):
            delay = self._random.uniform(0, self._spread) if number else 0.0
            post = asyncio.create_task(self._until_acknowledged(place, updates, delay))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)

    async def _until_acknowledged(self, place: int, updates: Sequence[Update], delay: float) -> None:
        await asyncio.sleep(delay)
        for wait in _RETRIES.waits():
            posted_at = time.monotonic()
            status = await self._senders[place].post(updates)
            self.answers.append(Answer(posted_at, time.monotonic(), place, status))
            if status == 200:
                return
            await asyncio.sleep(wait)
            place = (place + 1) % len(self._senders)  # a balancer takes another replica


async def steadily(
    load: Load, crowds: Iterator[Sequence[Update]], *, per_second: float, until: asyncio.Event
) -> None:
    """Post crowd after crowd, each to its end, at this pace until the event is set."""
    due = None
    while not until.is_set():
        crowd = await asyncio.to_thread(next, crowds)
        due = await load.post(crowd, per_second=per_second, due=due)
