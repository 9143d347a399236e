"""A commit that survives a short outage of the database: what was learned from outside is not lost with it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog

from connector.errors import Transient
from connector.state.database import Connection, transaction
from connector.streams.backoff import backoff

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

_LONGEST_PAUSE = 1.0  # seconds between attempts; a server that restarts is back in about two


async def commit(
    pool: asyncpg.Pool, work: Callable[[Connection], Awaitable[Result]], *, until: Callable[[], float]
) -> Result:
    """Commit `work` once, trying again while the database hiccups, as long as monotonic time is before `until()`.

    Where the answer to a commit was lost, the server is asked what became of that transaction: work that did happen
    is not done again. Raises the last `Transient` when time is up; whether the work was committed is then unknown.
    """
    attempt = 0
    in_doubt: tuple[str, Result] | None = None
    while True:
        try:
            async with transaction(pool) as connection:
                if in_doubt is not None and await _happened(connection, in_doubt[0]):
                    return in_doubt[1]
                in_doubt = None
                result = await work(connection)
                in_doubt = (await connection.fetchval("SELECT pg_current_xact_id()::text"), result)
        except Transient as error:
            attempt += 1
            pause = backoff(attempt, random=random.random, longest=_LONGEST_PAUSE)
            if time.monotonic() + pause >= until():
                raise
            log.info("a commit is tried again", attempt=attempt, reason=error.message)
            await asyncio.sleep(pause)
        else:
            return result


async def _happened(connection: Connection, transaction_id: str) -> bool:
    """Whether that transaction was committed. One that a crash erased is one that its server never counted."""
    status: str | None = await connection.fetchval(
        "SELECT CASE WHEN $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot()) "
        "THEN pg_xact_status($1::text::xid8) ELSE 'aborted' END",
        transaction_id,
    )
    if status == "in progress":
        raise Transient("The database has not ended our transaction yet.")
    return status != "aborted"
