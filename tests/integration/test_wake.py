"""Folds wake the writers of all replicas, and nobody else."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from connector.state.database import close_pool, open_pool, transaction
from connector.sync.core.fold import ContactState, FoldResult
from connector.sync.core.holding import Hold, Standing
from connector.sync.wake import Wake


@pytest.mark.parametrize("held", [None, Hold.LOOKUP], ids=["known", "to look up"])
async def test_a_fold_wakes_another_replica_when_it_commits(database_url: str, held: Hold | None) -> None:
    """The other replica hears of it after the commit, of people only when somebody is to be looked up."""
    result = FoldResult(
        contacts=[ContactState(contact_id=uuid4(), standing=Standing(held=held))], activities=[], moved={}
    )
    here, there, stop = Wake(), Wake(), asyncio.Event()
    listening = asyncio.create_task(there.listen(database_url, "hubspot", stop=stop))
    pool = await open_pool(database_url, size=1, application="test")
    try:
        async with asyncio.timeout(10):  # whoever begins to listen looks once, for what was said before
            await asyncio.gather(there.items.wait(), there.people.wait())
        there.items.clear()
        there.people.clear()
        async with transaction(pool) as connection:
            await here.announce(connection, "hubspot", result)
            assert not there.items.is_set()
        async with asyncio.timeout(10):
            await there.items.wait()
        assert there.people.is_set() is (held is Hold.LOOKUP)
        assert not here.items.is_set()
    finally:
        stop.set()
        await listening
        await close_pool(pool)
