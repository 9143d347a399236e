"""A fetcher process for the test that kills one. Arguments: database URL, store folder, Graph URL."""

import asyncio
import signal
import sys

from pydantic import SecretStr

from connector.media.fetcher import Fetcher
from connector.media.graph import GraphFiles
from connector.media.store import BlobStore
from connector.sandbox.whatsapp.config import ACCESS_TOKEN
from connector.settings import MediaSettings, WhatsAppSettings
from connector.state.database import open_pool
from connector.telemetry.health import StageHealth


async def main() -> None:
    database_url, folder, graph_url = sys.argv[1:4]
    settings = MediaSettings(request_timeout=1.0, download_timeout=3.0)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    fetcher = Fetcher(
        pool=await open_pool(database_url, size=4, application="worker"),
        graph=GraphFiles(
            WhatsAppSettings(access_token=SecretStr(ACCESS_TOKEN), base_url=graph_url), settings
        ),
        store=BlobStore(folder),
        settings=settings,
        health=StageHealth("worker"),
        stop=stop,
        wake=asyncio.Event(),
        lease_margin=0.5,
    )
    await fetcher.run()


if __name__ == "__main__":
    asyncio.run(main())
