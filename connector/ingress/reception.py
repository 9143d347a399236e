"""What every door but Meta's does with a POST: check, read, hand over to the broker, and only then answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from starlette.requests import Request
from starlette.responses import Response

from connector.errors import RateLimited, Transient
from connector.ingress.answers import Refusal
from connector.ingress.body import bounded_body, check_announced_size
from connector.ingress.publisher import Publisher
from connector.settings import IngressSettings
from connector.streams.codec import HEADER_SCHEMA, HEADER_TRACE, EncodedRecord
from connector.streams.traced import trace_received
from connector.telemetry import tracing
from connector.telemetry.metrics import INGRESS_DOORS, INGRESS_KEPT

_LARGE = 256 * 1024
"""Bytes above which a body is read in a thread, so that others need not wait for it."""
_LARGE_AT_ONCE = 2

_log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """The time, for endpoints that are not given another clock."""
    return datetime.now(UTC)


def refuse_encoded(request: Request) -> None:
    """Raise `Refusal` 415 for a compressed body: signatures are over plain bytes, and bombs are compressed."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(
            "encoded_body",
            status=415,
            error="The body is compressed; it must be sent as it is.",
            advice="send it without Content-Encoding, and let no proxy compress or change the body",
        )


def refuse_other_type(request: Request, *, types: Collection[str]) -> None:
    """Raise `Refusal` 415 when Content-Type is not one of `types`."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in types:
        raise Refusal(
            "wrong_type",
            status=415,
            error=f"The Content-Type is {given[:80] or 'missing'}.",
            advice=f"send {' or '.join(types)}",
        )


async def hand_over(publisher: Publisher, records: Sequence[EncodedRecord], *, deadline: float) -> None:
    """Return when the broker has every record, by `deadline` of the monotonic clock, else raise `Refusal` 503."""
    try:
        await publisher.publish(records, timeout=max(0.0, deadline - time.monotonic()))
    except Transient as failure:
        raise Refusal(
            "overloaded" if isinstance(failure, RateLimited) else "broker_unavailable",
            status=503,
            error=failure.message,
            advice=failure.advice,
            retry_after=failure.retry_after,
        ) from failure


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a request becomes: the records that keep it, and the answer once the broker has them."""

    answer: Response
    records: Sequence[EncodedRecord] = ()
    outcome: str = "kept"
    """The stable name it is counted under."""


class Reception:
    """Stateless: all it keeps is on the broker before it answers. `read_timeout`: seconds for a body to arrive."""

    def __init__(self, *, ingress: IngressSettings, publisher: Publisher, read_timeout: float) -> None:
        self._ingress = ingress
        self._publisher = publisher
        self._read_timeout = read_timeout
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def receive(
        self,
        request: Request,
        *,
        door: str,
        types: Collection[str],
        check: Callable[[], None],
        read: Callable[[bytes], Taken],
    ) -> Response:
        """One request, all or nothing.

        `check` refuses by the headers, before the body is read; `read` judges the body and makes the records; both
        raise `Refusal`. Counted under `door`.
        """
        started = time.monotonic()
        try:
            taken = await self._take(request, types=types, check=check, read=read)
        except Refusal as refusal:
            INGRESS_DOORS.labels(door, refusal.outcome).inc()
            if refusal.status in (401, 403):
                _log.warning("refused", door=door, outcome=refusal.outcome, error=refusal.error)
            return refusal.response()
        except Exception:
            INGRESS_DOORS.labels(door, "error").inc()
            raise
        if (traces := tracing.active()) is not None:
            trace_received(
                traces,
                door,
                taken.records,
                began=traces.now() - int((time.monotonic() - started) * 1e9),
                caller=request.headers.get(HEADER_TRACE),
            )
        INGRESS_DOORS.labels(door, taken.outcome).inc()
        return taken.answer

    async def _take(
        self,
        request: Request,
        *,
        types: Collection[str],
        check: Callable[[], None],
        read: Callable[[bytes], Taken],
    ) -> Taken:
        check_announced_size(request, max_bytes=self._ingress.max_body_bytes)
        refuse_encoded(request)
        check()
        refuse_other_type(request, types=types)
        async with bounded_body(
            request,
            max_bytes=self._ingress.max_body_bytes,
            inflight=self._publisher.inflight,
            timeout=self._read_timeout,
        ) as body:
            deadline = time.monotonic() + self._ingress.ack_timeout
            if len(body) > _LARGE:
                async with self._large:
                    taken = await asyncio.to_thread(read, body)
            else:
                taken = read(body)
            if taken.records:
                await hand_over(self._publisher, taken.records, deadline=deadline)
            for record in taken.records:
                INGRESS_KEPT.labels(dict(record.headers)[HEADER_SCHEMA].decode()).inc()
            return taken
