"""The requests that the Salesforce simulator's tests send, in-process over ASGI."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connector.sandbox.salesforce import API_VERSION, ConnectedApp, SalesforceConfig, SalesforceSandbox

DATA = f"/services/data/v{API_VERSION}"
APP = ConnectedApp()


class Clock:
    """Unix seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@cache
def key_pair() -> tuple[str, str]:
    """A private key and its public key, as PEM."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )


class Client:
    """One app's view of an org whose time is in the test's hands."""

    def __init__(self, sandbox: SalesforceSandbox, http: httpx.AsyncClient, clock: Clock) -> None:
        self.sandbox = sandbox
        self.http = http
        self.clock = clock
        self.token = ""

    async def login(self) -> None:
        answer = await self.token_for({"grant_type": "client_credentials"}, auth=True)
        self.token = answer.json()["access_token"]

    async def token_for(
        self, form: dict[str, str], *, auth: bool = False, base: str = "http://acme.my.salesforce.com"
    ) -> httpx.Response:
        """Ask the token endpoint at `base`."""
        if auth:
            form = form | {"client_id": APP.consumer_key, "client_secret": APP.consumer_secret}
        return await self.http.post(f"{base}/services/oauth2/token", data=form)

    async def bearer(self, *, base: str = "http://login.salesforce.com", **changes: Any) -> httpx.Response:
        """Ask for a token by JWT, with claims changed."""
        claims = {
            "iss": APP.consumer_key,
            "sub": APP.username,
            "aud": "https://login.salesforce.com",
            "exp": int(self.clock.now) + 180,
        } | changes
        assertion = jwt.encode(claims, key_pair()[0], algorithm="RS256")
        grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        return await self.token_for({"grant_type": grant, "assertion": assertion}, base=base)

    async def call(
        self, method: str, path: str, document: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return await self.http.request(
            method,
            f"{DATA}/{path}",
            content=None if document is None else json.dumps(document),
            headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
        )

    async def upsert(
        self,
        sobject: str,
        field: str,
        *records: dict[str, Any],
        all_or_none: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        body = {
            "allOrNone": all_or_none,
            "records": [{"attributes": {"type": sobject}, **record} for record in records],
        }
        return await self.call("PATCH", f"composite/sobjects/{sobject}/{field}", body, headers=headers)

    async def person(self, key: str, **values: Any) -> str:
        """Create a Contact and return its record id."""
        record = {"WA_Contact_Key__c": key, "LastName": key, **values}
        answer = await self.upsert("Contact", "WA_Contact_Key__c", record)
        assert answer.json()[0]["success"], answer.text
        return str(answer.json()[0]["id"])

    async def query(self, text: str) -> list[dict[str, Any]]:
        answer = await self.http.get(
            f"{DATA}/query/", params={"q": text}, headers={"Authorization": f"Bearer {self.token}"}
        )
        assert answer.status_code == 200, answer.text
        records: list[dict[str, Any]] = answer.json()["records"]
        return records


def task(wamid: str, who: str, **values: Any) -> dict[str, Any]:
    """Return the record of one logged message."""
    return {
        "WA_Message_Id__c": wamid,
        "WhoId": who,
        "Subject": "WhatsApp",
        "Status": "Completed",
        "ActivityDate": "2026-03-01",
    } | values


def codes(answer: httpx.Response) -> list[str]:
    """Return what became of each row: its error code, or "ok"."""
    assert answer.status_code == 200, answer.text
    return ["ok" if row["success"] else row["errors"][0]["statusCode"] for row in answer.json()]


@asynccontextmanager
async def org(**config: Any) -> AsyncIterator[Client]:
    """Open a client, logged in, on a new org with this configuration."""
    clock = Clock()
    apps = (ConnectedApp(public_key=key_pair()[1]),)
    sandbox = SalesforceSandbox(SalesforceConfig(**({"apps": apps} | config)), clock=clock)
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://acme.my.salesforce.com") as http:
        client = Client(sandbox, http, clock)
        await client.login()
        yield client
