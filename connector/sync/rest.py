"""Sleeping that events end early."""

from __future__ import annotations

import asyncio


async def rest(seconds: float, *until: asyncio.Event) -> None:
    """Sleep until one of these events is set, at most `seconds`."""
    events = [asyncio.create_task(event.wait()) for event in until]
    try:
        await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for event in events:
            event.cancel()
