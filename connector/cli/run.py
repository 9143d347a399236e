"""`connector run ROLE`: one role, one process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import enum
import gc
import signal
from typing import Annotated

import typer

from connector.roles import ROLES

_YOUNG = 20_000  # objects; a batch makes thousands that live until it is done, and none of them in circles

# glibc keeps a heap for each thread that allocates, up to eight a core, and calls are made in threads.
_MALLOC_HEAPS, _M_ARENA_MAX = 2, -8

RoleName = enum.StrEnum("RoleName", {name.replace("-", "_").upper(): name for name in ROLES})  # type: ignore[misc]


def _leave(*_: object) -> None:
    """End before there is anything to finish. The first process of a container ignores a signal that it does not handle."""
    raise SystemExit(0)


def run(role: Annotated[RoleName, typer.Argument(help="Which role this process is.")]) -> None:
    """Run one role in the foreground. Settings come from CONNECTOR_* variables."""
    signal.signal(signal.SIGTERM, _leave)
    import uvloop

    from connector.roles import load_role
    from connector.settings import load_settings
    from connector.streams.connection import client_arguments
    from connector.telemetry.logging import configure_logging
    from connector.telemetry.tracing import tracing_as_set

    with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MALLOC_HEAPS)
    settings = load_settings()
    client_arguments(settings.kafka)  # files that are no use are told now, not where the first client is made
    configure_logging(settings.log)
    work = load_role(str(role))
    gc.collect()
    gc.freeze()  # what is loaded by now stays: each full collection would walk through all of it
    gc.set_threshold(_YOUNG, 10, 10)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await work(settings, stop=stop)

    with tracing_as_set(settings.tracing, role=str(role)):
        uvloop.run(until_stopped())
