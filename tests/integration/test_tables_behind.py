"""The note in the database that its tables are behind: who makes it, whom it stops, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import UTC, datetime

import asyncpg
import pytest
from conversation_events import message

from connector.embedded.postgres import EmbeddedPostgres
from connector.errors import TablesBehind
from connector.state.database import Connection, close_pool, open_pool
from connector.state.offsets import Place, load_offsets, store_offsets
from connector.state.standing import LogSpan, Standing, compare, look, may_reopen, reopen, tables_behind
from connector.streams.outcomes import Record
from connector.sync.core.fold import Position
from connector.sync.doubt import doubt_everything
from connector.sync.folding import SinkTables

P0 = Place("conversation.events", 0)
_REBUILD = "connector state rebuild"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database_url, size=2, application="test")
    yield opened
    await close_pool(opened)


async def _nothing(_: Connection, __: Collection[Place]) -> Mapping[Place, LogSpan]:
    return {}


async def _compared(pool: asyncpg.Pool, *, committed: int, end: int) -> Standing:
    async with pool.acquire() as connection, connection.transaction():
        return await compare(
            connection,
            "hubspot",
            log={P0: LogSpan(begin=0, end=end, committed=committed)},
            settle=0.0,
            rebuild=_REBUILD,
            told=_nothing,
        )


def _record(offset: int, *, follows: int) -> Record:
    return Record(topic=P0.topic, partition=0, offset=offset, key=None, value=None, follows=follows)


async def _store(pool: asyncpg.Pool, *records: Record) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await store_offsets(connection, schema="hubspot", offsets=records)


async def test_a_fold_that_would_hide_a_gap_is_refused(pool: asyncpg.Pool) -> None:
    """Holes between records are none; what the reader has left behind and the tables lack is, and stays visible."""
    await _store(pool, _record(3, follows=0))
    await _store(pool, _record(9, follows=4))  # 4 to 8 never existed
    with pytest.raises(TablesBehind, match=r"up to 10, and it was read up to 12"):
        await _store(pool, _record(12, follows=12))
    async with pool.acquire() as connection:
        assert await load_offsets(connection, schema="hubspot") == {P0: 10}


async def test_tables_behind_are_whole_again_when_they_hold_what_was_on_the_log(pool: asyncpg.Pool) -> None:
    """Noticed once; open until the log of that moment is folded, not only what the group had read of it."""
    await _store(pool, _record(3, follows=0))
    stands = await _compared(pool, committed=7, end=9)
    assert (stands.generation, stands.missing) == (1, 5)
    assert stands.behind_since is not None
    async with pool.acquire() as connection:
        assert await tables_behind(connection) == {"hubspot": stands}
    await _store(pool, _record(7, follows=4))
    assert (await _compared(pool, committed=8, end=30)).generation == 1
    async with pool.acquire() as connection:
        assert not await may_reopen(connection, "hubspot")
    await _store(pool, _record(8, follows=8))
    async with pool.acquire() as connection, connection.transaction():
        assert await may_reopen(connection, "hubspot")
        assert not await reopen(connection, "hubspot", generation=0)
        assert await reopen(connection, "hubspot", generation=1)
        assert (await look(connection, "hubspot")).behind_since is None


async def test_a_copy_of_the_database_is_behind_although_no_record_lacks(
    pool: asyncpg.Pool, postgres: EmbeddedPostgres, database_url: str
) -> None:
    """Record ids that were learned after the copy was made are missing in it, whatever the offsets say."""
    await _store(pool, _record(3, follows=0))
    before = await _compared(pool, committed=4, end=4)
    assert before.behind_since is None
    await close_pool(pool)
    copy = await postgres.create_database("copied", template=database_url.rpartition("/")[2])
    restored = await open_pool(copy, size=2, application="test")
    try:
        stands = await _compared(restored, committed=4, end=4)
    finally:
        await close_pool(restored)
        await postgres.drop_database("copied")
    assert (stands.generation, stands.missing) == (1, 0)
    assert stands.behind_since is not None
    assert stands.token != before.token


async def test_everything_without_a_record_is_looked_up_before_it_is_created(pool: asyncpg.Pool) -> None:
    """Messages become creates in doubt, people may have a record that we do not know."""
    tables = SinkTables(schema="hubspot")
    events = [(message(f"wamid.{n}", "ana", seconds=n), Position(P0.topic, 0, n)) for n in range(3)]
    async with pool.acquire() as connection, connection.transaction():
        await tables.apply(connection, events, offsets=[], now=datetime.now(UTC))
        await connection.execute("UPDATE hubspot.activities SET record_id = '1' WHERE wamid = 'wamid.0'")
    since = datetime(2026, 5, 1, tzinfo=UTC)
    assert await doubt_everything(pool, "hubspot", since=since) == 2
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT wamid, intent_at FROM hubspot.activities ORDER BY wamid")
        assert [row["intent_at"] for row in rows] == [None, since, since]
        assert await connection.fetchval("SELECT bool_and(intent) FROM hubspot.contacts")


async def test_doubt_takes_a_message_only_under_the_lock_of_its_person(
    pool: asyncpg.Pool, database_url: str
) -> None:
    """Whoever has the person's row, as a fold or a drain does, may take their messages too: nobody waits in a ring."""
    async with pool.acquire() as connection, connection.transaction():
        events = [(message("a", "ana"), Position(P0.topic, 0, 0))]
        await SinkTables(schema="hubspot").apply(connection, events, offsets=[], now=datetime.now(UTC))
        await connection.execute("UPDATE hubspot.contacts SET record_id = '1'")
    async with pool.acquire() as watcher, pool.acquire() as drain:
        async with drain.transaction():
            await drain.execute("SELECT 1 FROM hubspot.contacts FOR UPDATE")
            doubting = asyncio.create_task(_doubted(database_url))
            async with asyncio.timeout(10):
                while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    assert not doubting.done()
                    await asyncio.sleep(0.01)
            assert await drain.fetchval("SELECT wamid FROM hubspot.activities FOR UPDATE NOWAIT") == "a"
        assert await doubting == 1


async def _doubted(database_url: str) -> int:
    pool = await open_pool(database_url, size=1, application="test")
    try:
        return await doubt_everything(pool, "hubspot", since=datetime.now(UTC))
    finally:
        await close_pool(pool)
