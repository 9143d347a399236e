"""The ingress as a process's work: it listens until it is told to stop, then finishes what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

import structlog
import uvicorn

from connector.errors import SettingsError
from connector.ingress.app import create_app
from connector.ingress.dead_letters import LARGEST_KEPT_BODY
from connector.ingress.inflight import InflightBytes
from connector.ingress.media import open_downloads
from connector.ingress.publisher import KafkaPublisher
from connector.ingress.trigger_fates import open_fates
from connector.settings import IngressSettings, Settings
from connector.telemetry.health import StageHealth

_FINISH_REQUESTS = 8
"""Seconds for POSTs that are under way when the stop comes; none waits longer for the broker than ack_timeout."""
_FLUSH = 4.0
"""Seconds for records that nobody waits for any more. With closing, a stop takes at most 20 s."""
_STUCK_FACTOR = 2.5
"""Times the ack timeout without an answer after which a new producer is tried."""
_KEEP_ALIVE = 75
"""Seconds an idle connection is kept: longer than the usual 60 s of load balancers, which must close first."""
_MAX_CONNECTIONS = 10_000
_BACKLOG = 2048
_OUTBOX_CONNECTIONS = 2

_log = structlog.get_logger(__name__)


async def serve(
    settings: Settings, *, stop: asyncio.Event, listening: Callable[[str], None] | None = None
) -> None:
    """Serve until `stop`. `listening` is told the URL, which matters when the port setting is 0.

    Listens before the broker answers: until then POSTs are 503 and `/readyz` says why. Raises `SettingsError` when a
    bound makes no sense or the port cannot be had. Signals are the caller's.
    """
    _check(settings.ingress)
    health = StageHealth("ingress")
    inflight = InflightBytes(settings.ingress.max_inflight_bytes)
    publisher = KafkaPublisher(
        settings.kafka,
        inflight=inflight,
        health=health,
        stuck_after=_STUCK_FACTOR * settings.ingress.ack_timeout,
    )
    media = await open_downloads(settings)
    fates = await open_fates(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, publisher, health, media=media, fates=fates),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_FINISH_REQUESTS,
        )
    )
    with contextlib.closing(_listen(settings.ingress)) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        publisher.start()
        serving = asyncio.create_task(server._serve([listener]))  # noqa: SLF001 - serve() takes over the signals
        stopping = asyncio.create_task(stop.wait())
        _log.info("listening", url=url)
        if listening is not None:
            listening(url)
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            try:
                await _finish(server, serving)
            finally:
                await publisher.stop(timeout=_FLUSH)
                for reader in (media, fates):
                    if reader is not None:
                        await reader.close()
        _log.info("stopped", inflight_bytes=inflight.used)


async def _finish(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    """Let uvicorn stop. It closes idle connections once; one accepted a moment later would hold up the stop."""
    server.should_exit = True
    while not serving.done():
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await asyncio.wait({serving}, timeout=0.2)
    await serving


def _check(ingress: IngressSettings) -> None:
    if ingress.max_body_bytes > LARGEST_KEPT_BODY:
        raise SettingsError(
            f"CONNECTOR_INGRESS__MAX_BODY_BYTES is {ingress.max_body_bytes}: a POST that is not JSON could not be kept.",
            advice=f"set it to {LARGEST_KEPT_BODY} or less; Meta sends at most 3 MB",
        )
    # The body, its updates (a raw emoji of 4 bytes may be written as 12), and what splitting repeats.
    needed = 4 * ingress.max_body_bytes + 16 * 1024 * 1024
    if ingress.max_inflight_bytes < needed:
        raise SettingsError(
            f"CONNECTOR_INGRESS__MAX_INFLIGHT_BYTES is {ingress.max_inflight_bytes}: one POST of the allowed size and "
            "its records may take more, and would be refused forever.",
            advice=f"set it to {needed} or more, or lower CONNECTOR_INGRESS__MAX_BODY_BYTES",
        )


def _listen(ingress: IngressSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in ingress.host else socket.AF_INET
    try:
        return socket.create_server((ingress.host, ingress.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {ingress.host}:{ingress.port}: {error.strerror or error}.",
            advice="set CONNECTOR_INGRESS__PORT to a free port (0: any), CONNECTOR_INGRESS__HOST to an address of ours",
        ) from error
