"""Blocking calls in threads that nobody has to wait for.

A peer that sends its answer byte by byte outlives every timeout of a socket. The caller gives such a call up; its
thread ends when the peer does, so it takes no place of others', and none keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from connector.errors import Transient

Answer = TypeVar("Answer")

MOST_GIVEN_UP = 64
"""Calls that were given up and are still under way: more would only add to them."""


class CallThreads:
    """The calls of one client. Each has a daemon thread of its own, which costs a tenth of a millisecond."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._given_up = 0

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

        threading.Thread(target=body, name=f"{self._name}-call", daemon=True).start()
        try:
            return await asyncio.wait_for(answer, timeout)
        except (TimeoutError, asyncio.CancelledError):
            if answer.cancelled():  # and so not settled yet: that takes it off again
                self._given_up += 1
            raise
