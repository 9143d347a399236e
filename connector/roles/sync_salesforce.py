"""The role `sync-salesforce`."""

from __future__ import annotations

import asyncio

from connector.crm.quota import governed
from connector.crm.salesforce.adapter import Salesforce
from connector.crm.salesforce.quota import account_limits
from connector.roles.sink import run_sink
from connector.settings import Settings
from connector.sync.mapping import load_mapping


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Sync Salesforce until `stop`. Raises `Terminal` at once when the mapping is wrong or no login is set up."""
    mapping = load_mapping(settings.sync.mapping)
    async with governed(account_limits(settings.salesforce), settings.database, stop=stop) as quota:
        await run_sink(
            Salesforce(settings.salesforce, mapped=mapping.mapped(Salesforce.name), quota=quota),
            settings,
            mapping=mapping,
            calls_in_flight=settings.salesforce.calls_in_flight,
            auto_setup=False,  # an admin deploys the fields
            stop=stop,
        )
