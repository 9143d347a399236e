"""A publisher without a broker, and an ingress in front of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx

from connector.ingress.app import create_app
from connector.ingress.inflight import InflightBytes
from connector.ingress.trigger_fates import TriggerFates
from connector.settings import Settings
from connector.streams.codec import EncodedRecord, decode
from connector.telemetry.health import StageHealth


class FakePublisher:
    """Keeps what it is given, unless told to fail or to wait."""

    def __init__(self) -> None:
        self.inflight = InflightBytes(1_000_000)
        self.kept: list[Any] = []
        self.keys: list[str] = []
        self.failure: Exception | None = None
        self.failures_left: int | None = None
        """So many times `failure` is raised; None: always."""
        self.keeps_what_it_refuses = False
        """The broker had the records, and its answer was lost."""
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        assert 0 < timeout <= 4.0
        self.asked.set()
        await self.gate.wait()
        fails = self.failure is not None and self.failures_left != 0
        if fails and self.failures_left is not None:
            self.failures_left -= 1
        if not fails or self.keeps_what_it_refuses:
            self._keep(records)
        if fails:
            assert self.failure is not None
            raise self.failure

    def _keep(self, records: Sequence[EncodedRecord]) -> None:
        self.keys += [record.key.decode() for record in records]
        self.kept += [decode(record.topic, record.value) for record in records]


@asynccontextmanager
async def ingress_client(
    publisher: FakePublisher,
    configured: dict[str, Any],
    *,
    now: Callable[[], datetime],
    fates: TriggerFates | None = None,
) -> AsyncIterator[httpx.AsyncClient]:
    """Calls an ingress with these settings, whose clock is `now`."""
    settings = Settings.model_validate(configured)
    app = create_app(settings, publisher, StageHealth("ingress"), fates=fates, now=now)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingress") as client:
        yield client
