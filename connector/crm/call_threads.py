"""Blocking calls in threads that nobody has to wait for.

A peer that sends its answer byte by byte outlives every timeout of a socket. The caller gives such a call up; its
thread is free again when the peer ends, so it takes no place of others', and none keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from connector.errors import Transient

Answer = TypeVar("Answer")

MOST_GIVEN_UP = 64
"""Calls that were given up and are still under way: more would only add to them."""


class CallThreads:
    """The calls of one client. Each has a daemon thread to itself, one that another call has left or a new one.

    The loop is held up until a new thread has begun, which takes a millisecond when others are at work.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._given_up = 0
        self._closed = False
        self._idle: list[SimpleQueue[Callable[[], None] | None]] = []

    async def run(self, work: Callable[[], Answer], *, timeout: float) -> Answer:
        """What `work` returns or raises.

        Raises:
            TimeoutError: it did not end within `timeout` seconds; whatever it does, it may still do.
            Transient: too many calls were given up and have not ended. Nothing was begun.

        """
        if self._given_up >= MOST_GIVEN_UP:
            raise Transient(
                f"{self._given_up} answers of {self._name} are still coming in, byte by byte. Nothing was sent.",
                advice="look at what is between the connector and the CRM; a restart drops these connections",
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def settle(settling: Callable[[Any], None], outcome: Any) -> None:
            if answer.cancelled():
                self._given_up -= 1
            else:
                settling(outcome)

        def body() -> None:
            settling: Callable[[Any], None]
            outcome: Any
            try:
                settling, outcome = answer.set_result, work()
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                settling, outcome = answer.set_exception, error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, settling, outcome)

        self._begin(body)
        try:
            return await asyncio.wait_for(answer, timeout)
        except (TimeoutError, asyncio.CancelledError):
            if answer.cancelled():  # and so not settled yet: that takes it off again
                self._given_up += 1
            raise

    def _begin(self, body: Callable[[], None]) -> None:
        if self._idle:
            self._idle.pop().put(body)
            return
        calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        calls.put(body)
        threading.Thread(target=self._work, args=(calls,), name=f"{self._name}-call", daemon=True).start()

    def _work(self, calls: SimpleQueue[Callable[[], None] | None]) -> None:
        while (body := calls.get()) is not None:
            body()
            del body  # and with it the answer
            self._idle.append(calls)
            if self._closed:  # while this one was at work
                self.close()

    def close(self) -> None:
        """Let the threads go; those at work go when their peers end."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().put(None)
