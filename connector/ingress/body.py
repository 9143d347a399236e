"""Reading a request's body: the exact bytes, no more than allowed, within the bound of memory, not forever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from connector.ingress.answers import Refusal
from connector.ingress.inflight import Hold, InflightBytes

_POST_OVERHEAD = 16 * 1024
"""Bytes a request takes whatever its body: connection buffers, task, parsed headers."""


def check_announced_size(request: Request, *, max_bytes: int) -> int:
    """The Content-Length (0 when there is none). Raises `Refusal` 413 before anything is read."""
    text = request.headers.get("content-length", "")
    announced = int(text) if text.isascii() and text.isdigit() else 0
    if announced > max_bytes:
        raise _too_large(max_bytes)
    return announced


@asynccontextmanager
async def bounded_body(
    request: Request, *, max_bytes: int, inflight: InflightBytes, timeout: float
) -> AsyncIterator[bytes]:
    """The raw body; its bytes count as in flight until the block ends.

    Raises `Refusal`: 413 larger than `max_bytes`, 503 no room (known from Content-Length before the first byte is
    read, else as it arrives), 408 not complete after `timeout` seconds.
    """
    announced = check_announced_size(request, max_bytes=max_bytes)
    if not inflight.has_room_for(_POST_OVERHEAD + announced):
        raise _overloaded()
    # Only what has arrived is held: announcing much and sending little must not lock others out.
    hold = inflight.hold(_POST_OVERHEAD)
    if hold is None:
        raise _overloaded()
    try:
        try:
            async with asyncio.timeout(timeout):
                body = await _read(request, max_bytes=max_bytes, hold=hold)
        except TimeoutError:
            raise Refusal(
                "slow_body",
                status=408,
                error=f"The body did not arrive within {timeout:g} s.",
                advice="send it again",
                close=True,
            ) from None
        except ClientDisconnect:
            raise Refusal(
                "client_gone", status=400, error="The connection was closed.", advice="send it again"
            ) from None
        yield body
    finally:
        hold.release()


async def _read(request: Request, *, max_bytes: int, hold: Hold) -> bytes:
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not hold.grow(len(chunk)):
            raise _overloaded()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        "too_large",
        status=413,
        error=f"The body is larger than {max_bytes} bytes.",
        advice="CONNECTOR_INGRESS__MAX_BODY_BYTES sets the bound",
    )


def _overloaded() -> Refusal:
    return Refusal(
        "overloaded",
        status=503,
        error="Too much waits for the broker; nothing of this request was kept.",
        advice="send it again; GET /readyz and connector_ingress_inflight_bytes show why",
        retry_after=1.0,
    )
