"""Updates that a replay reads again by today's code, beside what the route stage made of them."""

import asyncpg
from route_batches import events, record, status, text

from connector.identity.role import RouteStage
from connector.recovery.replay.updates import UpdateReader
from connector.state.database import close_pool, open_pool


async def test_updates_become_the_events_that_they_became(database_url: str) -> None:
    """The same events for the same people; what was never routed or is not understood is counted, and decides nothing."""
    pool = await open_pool(database_url, size=2, application="test")
    try:
        stage = RouteStage(pool)
        routed = [
            text("wamid.1", from_="15551230001", from_user_id="US.1"),
            text("wamid.2", minute=1, from_user_id="US.2"),
            status("wamid.3", recipient_user_id="US.1"),
        ]
        made = events(await stage.handle(routed))
        before = await _people(pool)
        async with pool.acquire() as connection:
            reader = UpdateReader(connection)
            unknown = [text("wamid.never", from_="15551230009"), record(b"no update")]
            again, unread, unrouted = await reader.events([*routed, *unknown])
        assert (unread, unrouted) == (1, 1)
        read = [event for event, _ in again]
        assert read[:2] == made[:2]
        # A status names its message, and that tells whose it is; an alias is not asked again.
        assert read[2] == made[2].model_copy(
            update={"person": made[2].person.model_copy(update={"contact_id": None})}
        )
        assert await _people(pool) == before
    finally:
        await close_pool(pool)


async def _people(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await pool.fetch("SELECT * FROM identity.aliases ORDER BY kind, value")
    return rows
