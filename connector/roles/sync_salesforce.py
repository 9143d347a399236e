"""The role `sync-salesforce`."""

from __future__ import annotations

import asyncio

from connector.crm.salesforce.adapter import Salesforce
from connector.roles.sink import run_sink
from connector.settings import Settings


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Sync Salesforce until `stop`. Raises `Terminal` at once when no login is set up."""
    crm = Salesforce(settings.salesforce)
    await run_sink(
        crm,
        settings,
        calls_in_flight=settings.salesforce.calls_in_flight,
        auto_setup=False,  # an admin deploys the fields
        stop=stop,
    )
