"""A worker process for the quota's tests: calls HubSpot as fast as its quota lets it.

Arguments: HubSpot's URL, the database's URL, seconds, calls in flight. Prints what it saw as JSON.
"""

import asyncio
import json
import sys
import time

from pydantic import SecretStr

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.quota import account_limits
from connector.crm.quota import governed
from connector.errors import RateLimited
from connector.settings import DatabaseSettings, HubSpotSettings
from connector.telemetry import metrics

READ = {"inputs": [{"id": "1"}], "properties": []}


async def main() -> None:
    hubspot_url, database_url, seconds, in_flight = sys.argv[1:5]
    settings = HubSpotSettings(
        access_token=SecretStr("pat-na1-sandbox"), base_url=hubspot_url, calls_in_flight=int(in_flight)
    )
    seen = {"answered": 0, "refused": 0}
    end = time.monotonic() + float(seconds)

    async def call_for_ever(client: HubSpotClient) -> None:
        path = client.path("objects", "contacts/batch/read")
        while time.monotonic() < end:
            try:
                await client.call("POST", path, READ, writes=False)
            except RateLimited:
                seen["refused"] += 1
            else:
                seen["answered"] += 1

    database = DatabaseSettings(url=SecretStr(database_url))
    async with governed(account_limits(settings), database) as quota:
        client = HubSpotClient(settings, quota=quota)
        await asyncio.gather(*(call_for_ever(client) for _ in range(int(in_flight))))
        await client.close()
    missed = metrics.QUOTA_MISSED_TURNS.labels("hubspot")._value.get()
    sys.stdout.write(json.dumps(seen | {"missed": int(missed)}))


if __name__ == "__main__":
    asyncio.run(main())
