"""Hearing what other processes commit, by NOTIFY. A hint and no more: who listens also looks by themselves.

A notice goes out with its transaction, so that whoever hears it sees the rows. One that is lost (a connection that
broke, a pooler in between) is made up for by the listener's own look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from connector.errors import ConnectorError
from connector.state.database import connect, database_errors

log = structlog.get_logger(__name__)

_RECONNECT = 5.0  # seconds
_ALIVE_EVERY = 30.0  # seconds between looks whether the connection still is one


async def listen(
    url: str,
    channel: str,
    *,
    heard: Callable[[str], None],
    listening: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Hear a channel until `stop`, on a connection of its own. Never raises for the database.

    `heard` is called with each notice's text; `listening` whenever it begins, as something may have been said before.
    """

    def _heard(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        heard(str(payload))

    while not stop.is_set():
        try:
            async with database_errors():
                connection = await connect(url)
                try:
                    await connection.add_listener(channel, _heard)
                    listening()
                    while not stop.is_set():
                        await _rest(_ALIVE_EVERY, stop)
                        await connection.execute("SELECT 1")
                finally:
                    connection.terminate()
        except ConnectorError as error:
            log.info("other processes are not heard of for now", channel=channel, reason=error.message)
            await _rest(_RECONNECT, stop)


async def _rest(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
