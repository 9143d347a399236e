"""`connector run ingress`."""

from __future__ import annotations

import asyncio

from connector.ingress.server import serve
from connector.settings import Settings


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Take webhooks until `stop`. Raises `SettingsError` when it cannot start."""
    await serve(settings, stop=stop)
