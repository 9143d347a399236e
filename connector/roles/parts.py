"""The parts of a role run together: the end or failure of one ends the others, so that the process starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def run_parts(*parts: Coroutine[Any, Any, None]) -> None:
    """Run until every part has ended by itself (they do on `stop`), or one has failed: that is raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
