"""What the CRM answered is stored through a short outage of the database, once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from conversation_events import message
from sink_world import sink_world
from structlog.testing import capture_logs

from connector.embedded.postgres import EmbeddedPostgres
from connector.errors import Transient
from connector.sandbox.faults import Fault, FaultKind
from connector.state.database import Connection, close_pool, open_pool
from connector.sync.commit import commit


class LossyConnection:
    """A connection whose next commits reach the server, and whose answers are lost."""

    def __init__(self, real: Any, pool: "LossyPool") -> None:
        self._real = real
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        async with self._real.transaction():
            yield
        if self._pool.lost > 0:
            self._pool.lost -= 1
            raise ConnectionResetError("the answer to COMMIT was lost")


class LossyPool:
    """Loses the answers of the next `lost` commits."""

    def __init__(self, real: asyncpg.Pool, *, lost: int) -> None:
        self._real = real
        self.lost = lost

    @asynccontextmanager
    async def acquire(self, *, timeout: float) -> AsyncIterator[LossyConnection]:
        async with self._real.acquire(timeout=timeout) as connection:
            yield LossyConnection(connection, self)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database with a table of its own."""
    pool = await open_pool(database_url, size=2, application="test")
    await pool.execute("CREATE TABLE counted (name text)")
    yield pool
    await close_pool(pool)


async def _count(connection: Connection) -> str:
    await connection.execute("INSERT INTO counted VALUES ('a')")
    return "counted"


async def test_work_whose_commit_was_not_heard_of_is_not_done_twice(pool: asyncpg.Pool) -> None:
    """The server is asked what became of the transaction, and the first result is the result."""
    lossy: Any = LossyPool(pool, lost=1)
    until = time.monotonic() + 20
    assert await commit(lossy, _count, until=lambda: until) == "counted"
    assert await pool.fetchval("SELECT count(*) FROM counted") == 1


async def test_work_that_was_rolled_back_is_done_again(pool: asyncpg.Pool) -> None:
    """A transaction that failed on the way is repeated as a whole until it is committed."""
    attempts = 0

    async def work(connection: Connection) -> None:
        nonlocal attempts
        attempts += 1
        await _count(connection)
        if attempts < 3:
            raise Transient("the database hiccups")

    until = time.monotonic() + 20
    await commit(pool, work, until=lambda: until)
    assert attempts == 3
    assert await pool.fetchval("SELECT count(*) FROM counted") == 1


async def test_time_that_is_up_ends_the_attempts(pool: asyncpg.Pool) -> None:
    """Past its deadline the failure is the caller's, as others may have these items by then."""

    async def work(_: Connection) -> None:
        raise Transient("the database hiccups")

    with pytest.raises(Transient):
        await commit(pool, work, until=lambda: 0.0)


async def test_answers_of_a_drain_survive_a_database_that_is_away_for_a_second(
    database_url: str, postgres: EmbeddedPostgres
) -> None:
    """The database goes away while HubSpot creates and is back soon: nothing is in doubt, nothing is created again."""
    name = database_url.rsplit("/", 1)[1].split("?", maxsplit=1)[0]
    async with sink_world("hubspot", database_url) as world:
        await world.fold(*(message(f"m{n}", "ana", seconds=n) for n in range(50)))
        created = "*/communications/batch/create"
        world.people.faults.add(Fault(kind=FaultKind.LATENCY, path=created, seconds=1.0))
        admin = await asyncpg.connect(postgres.dsn())
        with capture_logs() as logs:
            drains = asyncio.create_task(world.writer.run())
            async with asyncio.timeout(30):
                while not await world.fetch("SELECT 1 FROM {sink}.activities WHERE intent_at IS NOT NULL"):
                    await asyncio.sleep(0.01)
                await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
                )
                while not any(entry["event"] == "a commit is tried again" for entry in logs):
                    await asyncio.sleep(0.01)
                await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            await admin.close()
            async with asyncio.timeout(30):
                while await world.fetch(
                    "SELECT 1 FROM {sink}.activities WHERE desired_version > written_version"
                ):
                    await asyncio.sleep(0.05)
            world.stop.set()
            await drains
        assert world.people.messages().total() == 50
        assert world.people.journal.count(path=created) == 1
