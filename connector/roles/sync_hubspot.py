"""The role `sync-hubspot`."""

from __future__ import annotations

import asyncio

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.hubspot.quota import account_limits
from connector.crm.quota import governed
from connector.roles.sink import run_sink
from connector.settings import Settings
from connector.sync.mapping import load_mapping


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Sync HubSpot until `stop`. Raises `Terminal` at once when the mapping is wrong or no token is set."""
    mapping = load_mapping(settings.sync.mapping)
    async with governed(account_limits(settings.hubspot), settings.database, stop=stop) as quota:
        await run_sink(
            HubSpot(settings.hubspot, mapped=mapping.mapped(HubSpot.name), quota=quota),
            settings,
            mapping=mapping,
            calls_in_flight=settings.hubspot.calls_in_flight,
            auto_setup=settings.hubspot.auto_setup,
            stop=stop,
        )
