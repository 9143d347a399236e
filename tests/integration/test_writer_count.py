"""The count of what waits for a CRM, by which the fold stops."""

import asyncio

from conversation_events import message
from sink_world import sink_world

from connector.settings import SyncSettings
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth


class _Surprised(StageHealth):
    """Raises what nobody expects, once."""

    surprises = 0

    def line_resumed(self, *, by: str = "") -> None:
        if not self.surprises:
            self.surprises += 1
            raise ZeroDivisionError
        super().line_resumed(by=by)


async def test_what_waits_is_counted_on_after_a_surprise(database_url: str) -> None:
    """One count fails for a reason that nobody thought of: the writer lives, and so does the next count."""
    async with sink_world("hubspot", database_url) as world:
        health, stop = _Surprised("writer"), asyncio.Event()
        writer = Writer(
            crm=world.crm,
            pool=world.pool,
            settings=SyncSettings(),
            calls_in_flight=1,
            health=health,
            stop=stop,
            wake=Wake(),
        )
        running = asyncio.create_task(writer.run())
        async with asyncio.timeout(10):
            while not health.surprises:
                await asyncio.sleep(0.02)
        await world.fold(message("a", "ana", shown={}))
        await world.fetch("UPDATE {sink}.contacts SET not_before = now() + interval '1 hour'")
        async with asyncio.timeout(10):
            while writer.items_waiting == 0 and not running.done():
                await asyncio.sleep(0.02)
        assert not running.done()
        stop.set()
        await running
