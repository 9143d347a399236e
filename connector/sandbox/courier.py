"""The CRMs' way to the connector: requests that are made in the background and repeated until they are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import httpx_aiohttp


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back. `status` None: no answer came."""

    status: int | None
    body: bytes = b""
    content_type: str = ""
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether it was answered 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Courier:
    """Posts to the ingress at `url`. `public_url`: what the CRMs believe to call, over which they sign; by default `url`.

    Both are scheme, host and port. `speed`: how much faster than the vendors' the repetitions come. `client` stays its
    owner's.
    """

    def __init__(
        self,
        *,
        url: str,
        public_url: str = "",
        speed: float = 1.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.public_url = public_url or url
        self.speed = speed
        self._url = url
        self._own = None if client is not None else httpx_aiohttp.HttpxAiohttpClient(timeout=30.0)
        self._client = client or self._own
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def under_way(self) -> int:
        """Deliveries that are not done."""
        return len(self._running)

    def spawn(self, delivery: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let a delivery run in the background; it may be cancelled by its task."""
        task = asyncio.create_task(delivery)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One request, once."""
        assert self._client is not None
        try:
            answer = await self._client.post(self._url + path, content=body, headers=dict(headers))
        except httpx.TransportError:
            return Reply(status=None)
        return Reply(
            status=answer.status_code,
            body=answer.content,
            content_type=answer.headers.get("content-type", ""),
            retry_after=answer.headers.get("retry-after"),
        )

    async def settled(self) -> None:
        """Return when nothing is under way."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def aclose(self) -> None:
        """End what is under way and close the connections."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._own is not None:
            await self._own.aclose()
