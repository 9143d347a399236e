"""The quota of a CRM account as processes and the writer meet it, on a real database and the simulated CRMs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from conversation_events import message, status
from pydantic import SecretStr
from sandbox_org import APP
from sink_world import sink_world

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.quota import account_limits as hubspot_limits
from connector.crm.quota import AccountQuota, LimitReached, QuotaHeld, governed, read_quotas
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.quota import account_limits as salesforce_limits
from connector.sandbox import HubSpotConfig, SalesforceConfig, SandboxServer
from connector.sandbox.faults import Fault, FaultKind
from connector.settings import DatabaseSettings, HubSpotSettings, SalesforceSettings, SyncSettings
from connector.state.database import connect

WORKER = Path(__file__).with_name("quota_worker.py")
LIMIT = 190
READ = {"inputs": [{"id": "1"}], "properties": []}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks at the tables."""
    connection = await connect(database_url)
    yield connection
    await connection.close()


def settings_of(database_url: str) -> DatabaseSettings:
    return DatabaseSettings(url=SecretStr(database_url))


async def account_of(database: asyncpg.Connection) -> AccountQuota:
    (account,) = await read_quotas(database)
    return account


def portal_settings(server: SandboxServer) -> HubSpotSettings:
    return HubSpotSettings(access_token=SecretStr("pat-na1-sandbox"), base_url=server.hubspot_url)


async def test_two_processes_use_the_whole_quota_and_meet_no_429(
    database_url: str, database: asyncpg.Connection
) -> None:
    """Side by side they make at least 95 % of the calls that 10 s allow, and HubSpot never refuses one."""
    async with SandboxServer(hubspot=HubSpotConfig(burst_limit=LIMIT)) as server:
        server.hubspot.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.15))
        workers = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, str(WORKER), server.hubspot_url, database_url, "14", "4"),
                stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]
        outputs = [await worker.communicate() for worker in workers]
        calls = list(server.hubspot.journal.calls())
    seen = [json.loads(output) for output, _ in outputs]
    arrivals = sorted(call.started_at for call in calls)
    best = max(sum(at <= other < at + 10.0 for other in arrivals) for at in arrivals)
    sys.stdout.write(
        f"\nmost calls in 10 s: {best} of {LIMIT} ({best / LIMIT:.1%}); the workers saw: {seen}\n"
    )
    assert [item["refused"] for item in seen] == [0, 0]
    assert not [call for call in calls if call.status == 429]
    assert all(item["answered"] > 40 for item in seen)
    assert 0.95 * LIMIT <= best <= LIMIT * 1.01
    (burst,) = [item for item in (await account_of(database)).buckets if item.bucket == "burst"]
    assert (burst.calls, burst.told) == (LIMIT, True)


@pytest.mark.parametrize("form", ["absent", "seconds", "milliseconds"])
async def test_a_429_sets_the_bucket_back_for_every_process(
    database_url: str, database: asyncpg.Connection, form: str
) -> None:
    """What one process is refused, the next draw of any other waits out, in whatever form the time came."""
    async with SandboxServer(hubspot=HubSpotConfig(burst_limit=1, retry_after=form)) as server:
        settings = portal_settings(server)
        async with governed(hubspot_limits(settings), settings_of(database_url)) as quota:
            # Somebody else uses our token and has taken the only call.
            stranger, client = HubSpotClient(settings), HubSpotClient(settings, quota=quota)
            path = client.path("objects", "contacts/batch/read")
            await stranger.call("POST", path, READ, writes=False)
            with pytest.raises(LimitReached) as refused:
                await client.call("POST", path, READ, writes=False)
            await client.close()
            await stranger.close()
    assert (refused.value.retry_after, refused.value.whole_day) == (10.0, False)
    waits = {item.bucket: item.next_call_in for item in (await account_of(database)).buckets}
    assert 5.0 < waits["burst"] <= 10.0
    assert waits["search"] == waits["associations"] == 0.0


async def test_a_used_up_day_drops_nothing_and_says_until_when(database_url: str) -> None:
    """Calls end before HubSpot refuses one; what waits stays, is shown, and is written when calls come back."""
    async with sink_world("hubspot", database_url, daily_limit=100) as world:
        world.people.begin_day(used=95)
        await world.crm.find_contact("nobody")  # its answer tells what is left
        people = [f"p{number}" for number in range(300)]
        await world.fold(*(message(f"m-{name}", name, shown={"name": name}) for name in people))
        with pytest.raises(TimeoutError):
            await world.settle(within=4)
        waiting = world.health.snapshot()["waiting_for"]
        reasons = [item["reason"] for item in waiting.values()]
        assert any("hubspot: daily quota used up until" in reason for reason in reasons)
        assert {call.status for call in world.people.journal.calls()} & {429} == set()
        (waits,) = await world.fetch("SELECT count(*) AS n FROM {sink}.activities WHERE record_id IS NULL")
        assert waits["n"] > 0
        assert await world.fetch("SELECT 1 FROM shared.outgoing") == []
        # Midnight of the portal.
        world.people.begin_day()
        await world.fetch("UPDATE shared.quota_accounts SET look_again_at = '-infinity' RETURNING 1")
        world.restart(SyncSettings())
        await world.settle()
        assert sum(world.people.messages().values()) == len(people)


async def test_statuses_leave_the_last_tenth_of_the_day_to_what_is_live(database_url: str) -> None:
    """With 8 % of the day left a message is written at once, while another one's new status waits and says so."""
    async with sink_world("hubspot", database_url, daily_limit=1_000) as world:
        await world.fold(message("old", "ana", direction="outbound"))
        await world.settle()
        world.people.begin_day(used=920)
        await world.crm.find_contact("nobody")  # its answer tells what is left
        await world.fold(status("old", "read", "ana"), message("new", "ben"))
        with pytest.raises(TimeoutError):
            await world.settle(within=3)
        rows = await world.fetch(
            "SELECT wamid FROM {sink}.activities WHERE desired_version > written_version ORDER BY wamid"
        )
        assert [row["wamid"] for row in rows] == ["old"]
        assert "hubspot quota" in world.health.snapshot()["waiting_for"]


async def test_salesforce_calls_are_never_open_beyond_the_cap(
    database_url: str, database: asyncpg.Connection
) -> None:
    """Of six calls at once the org sees two at a time, and each one makes room when it is over."""
    async with SandboxServer() as server:
        settings = SalesforceSettings(
            consumer_key=SecretStr(APP.consumer_key),
            consumer_secret=SecretStr(APP.consumer_secret),
            base_url=server.salesforce_url,
            calls_at_once=2,
        )
        server.salesforce.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.1))
        async with governed(salesforce_limits(settings), settings_of(database_url)) as quota:
            client = SalesforceClient(settings, quota=quota)
            await asyncio.gather(*(client.call("GET", "limits", writes=False) for _ in range(6)))
            await client.close()
        calls = [call for call in server.salesforce.journal.calls() if call.path.endswith("/limits")]
    account = await account_of(database)
    most = max(
        sum(other.started_at <= call.started_at < (other.finished_at or 0.0) for other in calls)
        for call in calls
    )
    assert (len(calls), most, account.open_calls) == (6, 2, 0)
    assert account.day_calls == SalesforceConfig().daily_limit


async def test_a_used_up_org_is_asked_once_and_then_not_before_it_is_time(
    database_url: str, database: asyncpg.Connection
) -> None:
    """403 REQUEST_LIMIT_EXCEEDED with nothing left ends the day for everybody; the next call is not sent."""
    async with SandboxServer(salesforce=SalesforceConfig(daily_limit=1)) as server:
        settings = SalesforceSettings(
            consumer_key=SecretStr(APP.consumer_key),
            consumer_secret=SecretStr(APP.consumer_secret),
            base_url=server.salesforce_url,
        )
        stranger = SalesforceClient(settings)
        await stranger.call("GET", "limits", writes=False)
        await stranger.close()
        async with governed(salesforce_limits(settings), settings_of(database_url)) as quota:
            client = SalesforceClient(settings, quota=quota)
            with pytest.raises(LimitReached, match="used up"):
                await client.call("GET", "limits", writes=False)
            with pytest.raises(QuotaHeld, match="salesforce: daily quota used up until"):
                await client.call("GET", "limits", writes=False)
            await client.close()
        calls = [call for call in server.salesforce.journal.calls() if call.path.endswith("/limits")]
    account = await account_of(database)
    assert [call.status for call in calls] == [200, 403]
    assert account.day_left == 0
    assert account.look_again_at is not None
    assert account.look_again_at > datetime.now(UTC)
