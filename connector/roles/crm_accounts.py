"""The CRM accounts that a process reads from, each within its account's quota."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.quota import account_limits as hubspot_limits
from connector.crm.quota import governed
from connector.crm.salesforce.adapter import Salesforce
from connector.crm.salesforce.quota import account_limits as salesforce_limits
from connector.outbound.recipients import CrmName
from connector.settings import Settings


@dataclass(kw_only=True, slots=True)
class CrmAccounts:
    """Those that are configured, in the order in which their values are preferred. `workflows`: where HubSpot's wait."""

    accounts: dict[CrmName, HubSpot | Salesforce] = field(default_factory=dict)
    workflows: HubSpotClient | None = None


@asynccontextmanager
async def crm_accounts(settings: Settings, *, stop: asyncio.Event) -> AsyncIterator[CrmAccounts]:
    """Open them; nothing is asked of a CRM before it is needed. `stop`: ends waiting for the quota."""
    found = CrmAccounts()
    async with AsyncExitStack() as stack:
        if settings.hubspot.enabled:
            quota = await stack.enter_async_context(
                governed(hubspot_limits(settings.hubspot), settings.database, stop=stop)
            )
            hubspot = HubSpot(settings.hubspot, quota=quota)
            stack.push_async_callback(hubspot.close)
            found.accounts["hubspot"] = hubspot
            found.workflows = HubSpotClient(settings.hubspot, quota=quota)
            stack.push_async_callback(found.workflows.close)
        if settings.salesforce.enabled:
            quota = await stack.enter_async_context(
                governed(salesforce_limits(settings.salesforce), settings.database, stop=stop)
            )
            salesforce = Salesforce(settings.salesforce, quota=quota)
            stack.push_async_callback(salesforce.close)
            found.accounts["salesforce"] = salesforce
        yield found
