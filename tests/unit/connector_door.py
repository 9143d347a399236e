"""A simulated CRM that calls an ingress in this process, over ASGI; both on one clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from fake_publisher import FakePublisher, ingress_client

from connector.sandbox.courier import Courier
from connector.sandbox.hubspot import HubSpotConfig
from connector.sandbox.salesforce import SalesforceConfig

PUBLIC_URL = "https://connector.example.com"
START = 1_790_000_000.0
PERSON = {"Authorization": "Bearer sandbox-person"}


class Clock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def courier_to(publisher: FakePublisher, clock: Clock, **changes: Any) -> AsyncIterator[Courier]:
    """A courier to an ingress that is told the simulators' own secrets. Days of repetition pass in milliseconds."""
    hubspot, salesforce = HubSpotConfig(), SalesforceConfig()
    configured = {
        "hubspot": {"client_secret": hubspot.client_secret},
        "salesforce": {
            "organization_id": salesforce.organization_id,
            "outbound_token": salesforce.outbound_token,
        },
        "ingress": {"public_url": PUBLIC_URL},
        **changes,
    }
    now = lambda: datetime.fromtimestamp(clock.now, UTC)  # noqa: E731
    async with ingress_client(publisher, configured, now=now) as client:
        courier = Courier(url="http://ingress", public_url=PUBLIC_URL, speed=1e6, client=client)
        try:
            yield courier
        finally:
            await courier.aclose()


def client_of(app: Any) -> httpx.AsyncClient:
    """Calls a simulator's own API and control side."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://crm")
