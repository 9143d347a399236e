"""The role `sync-hubspot`."""

from __future__ import annotations

import asyncio

from connector.crm.hubspot.adapter import HubSpot
from connector.roles.sink import run_sink
from connector.settings import Settings


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Sync HubSpot until `stop`. Raises `Terminal` at once when no token is set."""
    crm = HubSpot(settings.hubspot)
    await run_sink(
        crm,
        settings,
        calls_in_flight=settings.hubspot.calls_in_flight,
        auto_setup=settings.hubspot.auto_setup,
        stop=stop,
    )
