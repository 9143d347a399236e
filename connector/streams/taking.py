"""Batches taken from a channel of Faust as a whole, without its stream iterator.

The iterator lets all other tasks run before each record, so that a batch fills by one record a turn of the loop: the
busier a role is, the emptier its batches, and each costs as many transactions as a full one. It also calls four
sensors a record. What it does for correctness is done here: a record of an earlier assignment is left alone, as it is
read again, and every other is tracked until it is acknowledged or abandoned.
"""

from __future__ import annotations

import asyncio
from typing import Any

from connector.streams.hardened import HardenedConsumer


class Taker:
    """Takes from one channel. `most`: records of a batch; `within`: seconds that the first waits for others."""

    def __init__(self, channel: Any, consumer: HardenedConsumer, *, most: int, within: float) -> None:
        self._queue = channel.queue
        self._consumer = consumer
        self._most = most
        self._within = within

    async def take(self) -> list[Any]:
        """The next records of the current assignment, oldest first; empty when what came was of an earlier one.

        Raises `StopAsyncIteration` when the channel ends.
        """
        first = await self._queue.get()
        try:
            if self._queue.qsize() < self._most - 1:
                await asyncio.sleep(self._within)
            events = [first]
            while len(events) < self._most and self._queue.qsize():
                events.append(self._queue.get_nowait())
        except BaseException:
            # It is out of the queue and was not handled: nothing behind it may be committed.
            self._consumer.abandon(first.message)
            raise
        generation = self._consumer.app.consumer_generation_id
        current = [event for event in events if event.message.generation_id == generation]
        for event in current:
            self._consumer.track(event.message)
        return current
