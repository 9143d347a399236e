"""The Salesforce simulator's token endpoint, sessions and limits."""

import asyncio
from typing import Any

import jwt
import pytest
from sandbox_org import APP, Client, key_pair, org

from connector.sandbox.faults import Fault, FaultKind


async def test_both_flows_open_a_session() -> None:
    """JWT bearer and client credentials each give a token that the data API takes."""
    async with org() as client:
        for answer in (
            await client.bearer(),
            await client.token_for({"grant_type": "client_credentials"}, auth=True),
        ):
            assert answer.status_code == 200
            client.token = answer.json()["access_token"]
            assert (await client.call("GET", "limits")).status_code == 200
            assert answer.json()["id"].endswith(f"/{APP.user_id}")


@pytest.mark.parametrize(
    ("changes", "error", "description"),
    [
        pytest.param({"iss": "other"}, "invalid_client_id", "client identifier invalid", id="iss"),
        pytest.param({"sub": "x@y.z"}, "invalid_grant", "user hasn't approved this consumer", id="sub"),
        pytest.param({"aud": "https://evil.example"}, "invalid_grant", "audience is invalid", id="aud"),
        pytest.param(
            {"exp": 1_789_999_999},
            "invalid_grant",
            "assertion is expired or lives too long",
            id="expired",
        ),
        pytest.param(
            {"exp": 1_790_003_600},
            "invalid_grant",
            "assertion is expired or lives too long",
            id="lives-too-long",
        ),
    ],
)
async def test_a_wrong_claim_is_refused(changes: dict[str, Any], error: str, description: str) -> None:
    """Each claim of the assertion is checked."""
    async with org() as client:
        answer = await client.bearer(**changes)
        assert answer.status_code == 400
        assert answer.json() == {"error": error, "error_description": description}


async def test_a_strangers_signature_is_refused() -> None:
    """An assertion signed by another key opens nothing, and neither does one without a signature."""
    async with org() as client:
        claims = {
            "iss": APP.consumer_key,
            "sub": APP.username,
            "aud": "https://login.salesforce.com",
            "exp": int(client.clock.now) + 60,
        }
        good = jwt.encode(claims, key_pair()[0], algorithm="RS256")
        header, body, signature = good.split(".")
        forged = [f"{header}.{body}.{signature[::-1]}", jwt.encode(claims, "", algorithm="none")]
        for assertion in forged:
            grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
            answer = await client.token_for({"grant_type": grant, "assertion": assertion})
            assert answer.json()["error_description"] == "invalid assertion"


async def test_client_credentials_need_a_my_domain() -> None:
    """The login host refuses client credentials."""
    async with org() as client:
        answer = await client.token_for(
            {"grant_type": "client_credentials"}, auth=True, base="http://login.salesforce.com"
        )
        assert answer.json()["error_description"] == "request not supported on this domain"


async def test_a_wrong_secret_is_refused() -> None:
    """Client credentials with another secret answer 401."""
    async with org() as client:
        form = {"grant_type": "client_credentials", "client_id": APP.consumer_key, "client_secret": "no"}
        assert (await client.token_for(form)).status_code == 401


async def test_the_password_flow_is_gone() -> None:
    """The username-password flow is refused, as in new orgs."""
    async with org() as client:
        answer = await client.token_for({"grant_type": "password", "username": "a", "password": "b"})
        assert answer.json()["error"] == "unsupported_grant_type"


async def test_a_session_ends_with_its_life() -> None:
    """A token answers 401 INVALID_SESSION_ID when its life is over, and another one is given."""
    async with org(token_life=100) as client:
        client.clock.now += 100
        answer = await client.call("GET", "limits")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (401, "INVALID_SESSION_ID")
        await client.login()
        assert (await client.call("GET", "limits")).status_code == 200


async def test_the_daily_limit_rolls() -> None:
    """A used-up day answers 403 with the usage at its ceiling, until its oldest call is 24 h old."""
    async with org(daily_limit=2) as client:
        assert (await client.call("GET", "limits")).headers["Sforce-Limit-Info"].startswith("api-usage=1/2")
        await client.call("GET", "limits")
        refused = await client.call("GET", "limits")
        assert (refused.status_code, refused.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
        assert refused.headers["Sforce-Limit-Info"].startswith("api-usage=2/2")
        client.clock.now += 86_400
        await client.login()
        assert (await client.call("GET", "limits")).status_code == 200


async def test_long_requests_at_once_are_limited() -> None:
    """A request beside too many long ones answers the same code with head-room in its header."""
    async with org(concurrent_limit=1) as client:
        client.sandbox.faults.add(Fault(kind=FaultKind.STALL, path="*/describe", seconds=30))
        slow = asyncio.create_task(_describe(client))
        async with asyncio.timeout(5):
            while not list(client.sandbox.journal.calls(path="*/describe")):
                await asyncio.sleep(0)
        client.clock.now += 21
        refused = await client.call("GET", "limits")
        assert refused.json()[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
        assert refused.headers["Sforce-Limit-Info"].startswith("api-usage=0/")
        client.sandbox.release()
        assert await slow is None
        assert (await client.call("GET", "limits")).status_code == 200


async def _describe(client: Client) -> int | None:
    try:
        return (await client.call("GET", "sobjects/Task/describe")).status_code
    except ConnectionResetError:
        return None
