"""The requests that the HubSpot simulator's tests send, in-process over ASGI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from connector.sandbox.hubspot import API_VERSION, HubSpotConfig, HubSpotSandbox

OBJECTS = f"/crm/objects/{API_VERSION}"
PROPERTIES = f"/crm/properties/{API_VERSION}"
ASSOCIATIONS = f"/crm/associations/{API_VERSION}"
TOKEN = HubSpotConfig().tokens[0].token
TO_CONTACT = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 81}]


class Clock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One app's view of a portal whose time is in the test's hands."""

    def __init__(self, sandbox: HubSpotSandbox, http: httpx.AsyncClient, clock: Clock) -> None:
        self.sandbox = sandbox
        self.http = http
        self.clock = clock

    async def post(self, path: str, document: Any, *, token: str = TOKEN) -> httpx.Response:
        return await self.http.post(path, json=document, headers={"Authorization": f"Bearer {token}"})

    async def get(self, path: str, *, token: str = TOKEN) -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer {token}"})

    async def add_property(self, object_type: str, name: str, **changes: Any) -> httpx.Response:
        group = {"contacts": "contactinformation", "communications": "communicationinformation"}
        document = {
            "name": name,
            "label": name,
            "type": "string",
            "fieldType": "text",
            "groupName": group[object_type],
            **changes,
        }
        return await self.post(f"{PROPERTIES}/{object_type}", document)

    async def upsert(self, *inputs: dict[str, Any]) -> httpx.Response:
        return await self.post(f"{OBJECTS}/contacts/batch/upsert", {"inputs": list(inputs)})

    async def contact(self, key: str, **properties: str) -> str:
        """Create a contact and return its record id."""
        answer = await self.upsert(contact(key, **properties))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["results"][0]["id"])

    async def log(self, *inputs: dict[str, Any]) -> httpx.Response:
        return await self.post(f"{OBJECTS}/communications/batch/create", {"inputs": list(inputs)})


def contact(key: str, *, trace: str | None = None, **properties: str) -> dict[str, Any]:
    """Return the upsert input of one contact."""
    item: dict[str, Any] = {"id": key, "idProperty": "whatsapp_contact_key", "properties": properties}
    return item if trace is None else {**item, "objectWriteTraceId": trace}


def message(
    wamid: str | None, *, contact_id: str | None = None, trace: str | None = None, **properties: str
) -> dict[str, Any]:
    """Return the create input of one logged message."""
    item: dict[str, Any] = {
        "properties": {
            "hs_communication_channel_type": "WHATS_APP",
            "hs_communication_logged_from": "CRM",
            "hs_communication_body": "hello",
            "hs_timestamp": "1790000000000",
            **({} if wamid is None else {"whatsapp_message_id": wamid}),
            **properties,
        }
    }
    if contact_id is not None:
        item["associations"] = [{"to": {"id": contact_id}, "types": TO_CONTACT}]
    return item if trace is None else {**item, "objectWriteTraceId": trace}


@asynccontextmanager
async def portal(**config: Any) -> AsyncIterator[Client]:
    """Open a client on a new portal with this configuration and our two unique properties."""
    clock = Clock()
    sandbox = HubSpotSandbox(HubSpotConfig(**config), clock=clock)
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hubspot.test") as http:
        client = Client(sandbox, http, clock)
        await client.add_property("contacts", "whatsapp_contact_key", hasUniqueValue=True)
        await client.add_property(
            "communications",
            "whatsapp_message_id",
            hasUniqueValue=sandbox.portal.config.unique_communications,
        )
        yield client
