"""Taking files out of the store: of messages that their author deleted, and of those that are too old."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from connector.media import tables
from connector.media.store import BlobStore
from connector.state.database import transaction

_BATCH = 200


async def remove_blobs(pool: asyncpg.Pool, store: BlobStore) -> int:
    """Remove one batch of what must not be kept; how many. A crash in between removes again, without harm."""
    async with transaction(pool) as connection:
        doomed = await tables.blobs_to_remove(connection, limit=_BATCH)
    if not doomed:
        return 0
    for _, blob in doomed:
        await store.delete(blob)
    async with transaction(pool) as connection:
        await tables.removed(connection, [key for key, _ in doomed])
    return len(doomed)


async def purge(pool: asyncpg.Pool, store: BlobStore, *, before: datetime, reason: str) -> int:
    """Mark every file of a message older than `before`, then remove the blobs. The number of files marked.

    Stopped in between, the next purge or the role `media` removes the rest; a file being fetched at this moment is
    removed by the role when its attempt ends.
    """
    marked = 0
    while True:
        async with transaction(pool) as connection:
            batch = await tables.purge(connection, before=before, reason=reason, limit=_BATCH)
        marked += batch
        if not batch:
            break
    while await remove_blobs(pool, store):
        pass
    return marked
