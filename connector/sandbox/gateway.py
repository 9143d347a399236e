"""The way of a request through a simulator: journal, faults, handling, answer.

`Gateway` is the HTTP shell around a simulator whose own code is synchronous and knows no HTTP server:
a request is handled in one step, so that a write is whole whatever happens to its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from connector.sandbox.faults import ANSWER_FAULTS, Fault, FaultKind, FaultPlan
from connector.sandbox.journal import Call, Effect, Journal

_TRANSPORT = "connector.sandbox.transport"
_NO_JSON = object()


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request, whole."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    faults: list[Fault] = field(default_factory=list)

    @cached_property
    def document(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: the body is not JSON.

        """
        return json.loads(self.body)

    @property
    def input_count(self) -> int:
        """How many records the request carries."""
        if not self.body:
            return 0
        try:
            document = self.document
        except ValueError:
            return 1
        inputs = document.get("inputs", document.get("records")) if isinstance(document, dict) else None
        return len(inputs) if isinstance(inputs, list) else 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response. `document` None means no body."""

    status: int
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """Sent instead of `document`."""
    raw_type: str = "text/html;charset=utf-8"
    """Media type of `raw`."""

    @property
    def content(self) -> tuple[bytes, str]:
        """The body's bytes and their media type."""
        if self.raw is not None:
            return self.raw, self.raw_type
        if self.document is None:
            return b"", ""
        return json.dumps(self.document, ensure_ascii=False).encode(), "application/json;charset=utf-8"


class Simulator(Protocol):
    """What a gateway stands in front of."""

    def caller(self, exchange: Exchange) -> str:
        """Name who asks, for the journal."""

    def is_exempt(self, exchange: Exchange) -> bool:
        """Whether faults pass this request by (a person at the vendor's own screen)."""

    def touches(self, exchange: Exchange) -> set[str]:
        """Return the contacts that this request would write."""

    def handle(self, exchange: Exchange) -> Answer:
        """Do what is asked, in one step."""

    def drain_effects(self) -> list[Effect]:
        """Return what was changed since the last drain."""

    def error_answer(self, status: int, *, retry_after: str | None) -> Answer:
        """Return the vendor's answer with this error status."""


def _nothing_to_finish(_exchange: Exchange) -> None:
    pass


class ResettableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that lets the gateway reset its connection."""

    def on_message_begin(self) -> None:
        """Hand the transport to the application."""
        super().on_message_begin()
        extensions = self.scope.setdefault("extensions", {})
        if extensions is not None:
            extensions[_TRANSPORT] = {"transport": self.transport}


class Gateway:
    """ASGI application: one simulator behind its journal and its faults.

    `finished` is called at the end of every request, answered or not: what it held may go.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        journal: Journal,
        faults: FaultPlan,
        finished: Callable[[Exchange], None] = _nothing_to_finish,
    ) -> None:
        self.simulator = simulator
        self._finished = finished
        self._journal = journal
        self._faults = faults
        self._released = asyncio.Event()

    def release(self) -> None:
        """End every stall, for the server to stop."""
        self._released.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        exchange = Exchange(
            method=request.method,
            path=request.url.path,
            query=parse_qs(request.url.query, keep_blank_values=True),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        if not self.simulator.is_exempt(exchange):
            drawn = self._faults.draw(method=exchange.method, path=exchange.path)
            exchange.faults.extend(drawn)
        call = self._journal.open(
            method=exchange.method,
            path=exchange.path,
            caller=self.simulator.caller(exchange),
            inputs=exchange.input_count,
            touches=self.simulator.touches(exchange),
        )
        call.faults.extend(fault.kind.value for fault in exchange.faults)
        connection = _Connection(scope, receive, send, released=self._released)
        try:
            await self._serve(exchange, call, connection)
        finally:
            self._journal.close(call, status=connection.status)
            self._finished(exchange)

    async def _serve(self, exchange: Exchange, call: Call, connection: _Connection) -> None:
        faults = exchange.faults
        for fault in faults:
            if fault.kind is FaultKind.LATENCY:
                await self._hold(self._faults.delay(fault), call, connection)
        for fault in faults:
            if fault.when == "before" and await self._break_off(fault, connection):
                if fault.lands_after is not None:
                    await self._land(exchange, call, seconds=fault.lands_after)
                return
        answer = self._handle(exchange, call)
        for fault in faults:
            if fault.when == "after" and await self._break_off(fault, connection):
                return
        spoiled = next((fault for fault in faults if fault.kind in ANSWER_FAULTS), None)
        await _send_spoiled(answer, spoiled, connection)

    def _handle(self, exchange: Exchange, call: Call) -> Answer:
        answer = self.simulator.handle(exchange)
        call.effects.extend(self.simulator.drain_effects())
        # A record that this request created has an id only now: later writers know it by that id.
        if call.touches:
            self._journal.touch(call, self.simulator.touches(exchange))
        return answer

    async def _land(self, exchange: Exchange, call: Call, *, seconds: float) -> None:
        """Handle a request whose client was told that it failed, or not at all when the server stops first."""
        self._journal.abandon(call)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._released.wait()
                return
        self._handle(exchange, call)

    async def _hold(self, seconds: float, call: Call, connection: _Connection) -> None:
        """Delay a request; one whose client leaves meanwhile is still handled when its time comes."""
        deadline = asyncio.get_running_loop().time() + seconds
        if await connection.gone_within(seconds):
            self._journal.abandon(call)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._released.wait()

    async def _break_off(self, fault: Fault, connection: _Connection) -> bool:
        """Play a fault that takes the place of the answer; say whether it did."""
        if fault.kind is FaultKind.STALL:
            await connection.stall(seconds=fault.seconds)
            return True
        if fault.kind is FaultKind.RESET:
            await connection.reset()
            return True
        if fault.kind is FaultKind.STATUS and fault.status is not None:
            answer = self.simulator.error_answer(fault.status, retry_after=fault.retry_after)
            await connection.send(answer)
            return True
        return False


async def _send_spoiled(answer: Answer, fault: Fault | None, connection: _Connection) -> None:
    kind = None if fault is None else fault.kind
    content, media_type = answer.content
    if kind is not None and kind in _RESULT_FAULTS:
        document = answer.document
        results = document.get("results") if isinstance(document, dict) else document
        # Salesforce's rows are the bare list, and their order is promised.
        if isinstance(results, list) and not (kind is FaultKind.SHUFFLED_RESULTS and document is results):
            kept = _RESULT_FAULTS[kind](results)
            spoiled = Answer(
                status=answer.status,
                document={**document, "results": kept} if isinstance(document, dict) else kept,
                headers=answer.headers,
            )
            await connection.send(spoiled)
            return
    if kind is FaultKind.TRUNCATED_BODY:
        await connection.send_bytes(answer.status, content[: len(content) // 2], media_type, answer.headers)
        return
    if kind is FaultKind.EMPTY_BODY:
        await connection.send_bytes(answer.status, b"", "", answer.headers)
        return
    if kind is FaultKind.OTHER_TYPE:
        await connection.send_bytes(answer.status, content, "text/plain;charset=utf-8", answer.headers)
        return
    if kind is FaultKind.NOT_JSON:
        page = b"<html><head><title>Just a moment...</title></head><body></body></html>"
        await connection.send_bytes(200, page, "text/html", {})
        return
    if kind is FaultKind.INCOMPLETE_BODY:
        await connection.send_half(answer.status, content, media_type, answer.headers)
        return
    if fault is not None and kind is FaultKind.SLOW_BODY:
        seconds = fault.seconds or 0.0
        await connection.send_slowly(answer.status, content, media_type, answer.headers, seconds=seconds)
        return
    await connection.send(answer)


_RESULT_FAULTS: Mapping[FaultKind, Callable[[list[Any]], list[Any]]] = {
    FaultKind.EMPTY_RESULTS: lambda _: [],
    FaultKind.MISSING_RESULTS: lambda results: results[:-1],
    FaultKind.REPEATED_RESULTS: lambda results: [*results[:1], *results],
    FaultKind.SHUFFLED_RESULTS: lambda results: results[::-1],
}
_PIECES = 8


class _Connection:
    """The client's end: answers it, keeps it waiting, or resets it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, released: asyncio.Event) -> None:
        self._receive = receive
        self._send = send
        self._released = released
        extension = (scope.get("extensions") or {}).get(_TRANSPORT)
        self._transport: asyncio.Transport | None = extension["transport"] if extension else None
        self.status: int | None = None

    async def send(self, answer: Answer) -> None:
        content, media_type = answer.content
        await self.send_bytes(answer.status, content, media_type, answer.headers)

    async def send_bytes(
        self, status: int, content: bytes, media_type: str, headers: Mapping[str, str]
    ) -> None:
        await self._send(_start(status, len(content), media_type, headers))
        await self._send({"type": "http.response.body", "body": content})
        self.status = status

    async def send_half(
        self, status: int, content: bytes, media_type: str, headers: Mapping[str, str]
    ) -> None:
        await self._send(_start(status, len(content), media_type, headers))
        await self._send(
            {"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True}
        )
        await self.reset(linger=False)

    async def send_slowly(
        self, status: int, content: bytes, media_type: str, headers: Mapping[str, str], *, seconds: float
    ) -> None:
        """Send the body in pieces over `seconds`, as long as the client listens."""
        await self._send(_start(status, len(content), media_type, headers))
        for piece in range(_PIECES):
            if await self.gone_within(seconds / _PIECES):
                return
            part = content[len(content) * piece // _PIECES : len(content) * (piece + 1) // _PIECES]
            await self._send({"type": "http.response.body", "body": part, "more_body": piece + 1 < _PIECES})
        self.status = status

    async def stall(self, *, seconds: float | None) -> None:
        """Wait until the client leaves, `seconds` passed, or the server stops; then the connection ends."""
        if not await self.gone_within(seconds):
            await self.reset()

    async def gone_within(self, seconds: float | None) -> bool:
        """Wait until the client leaves; False when `seconds` passed or the server stops first."""
        waits = [asyncio.ensure_future(self._gone()), asyncio.ensure_future(self._released.wait())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return waits[0].done()
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def reset(self, *, linger: bool = True) -> None:
        """Reset the connection; `linger` False lets what was written arrive first.

        Raises:
            ConnectionResetError: the client calls in-process, without a connection.

        """
        if self._transport is None:
            msg = "the simulator reset the connection"
            raise ConnectionResetError(msg)
        if linger:
            sock = self._transport.get_extra_info("socket")
            # Zero linger turns the close into an RST, as a crashed peer or a middlebox sends it. A client that was killed
            # meanwhile has none to be sent to.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        await self._gone()

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _start(status: int, length: int, media_type: str, headers: Mapping[str, str]) -> dict[str, Any]:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    if media_type:
        pairs.append((b"content-type", media_type.encode("latin-1")))
    if status != 204:
        pairs.append((b"content-length", str(length).encode("latin-1")))
    return {"type": "http.response.start", "status": status, "headers": pairs}
