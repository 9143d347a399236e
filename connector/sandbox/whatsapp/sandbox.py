"""WhatsApp's side as a server: asked over HTTP, it delivers webhooks, shows what became of them, and has the files.

| request | effect |
|--|--|
| `POST /_sandbox/whatsapp/messages` `{from: {name, wa_id, bsuid, username}, text, reply_to?}` | one text message |
| `POST /_sandbox/whatsapp/conversations` `{seed, people, messages, outbound?}` | a stream of conversations |
| `GET /_sandbox/whatsapp/deliveries` | every update: times posted, answers, when acknowledged |
| `GET /{version}/{media id}`, `GET /whatsapp_business/attachments/` | files of the messages sent, see media.py |
| `/_sandbox/faults`, `/_sandbox/journal` | faults and calls of the files, as for every simulator |
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from random import Random
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connector.sandbox.control import control_routes
from connector.sandbox.faults import FaultPlan
from connector.sandbox.gateway import Gateway
from connector.sandbox.journal import Journal
from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.conversations import conversations
from connector.sandbox.whatsapp.media import GraphMedia
from connector.sandbox.whatsapp.payloads import BusinessNumber, Person, Update
from connector.sandbox.whatsapp.sender import WebhookSender


class _From(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    wa_id: str | None = None
    bsuid: str | None = None
    username: str | None = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    sender: _From = Field(alias="from")
    text: str
    reply_to: str | None = None


class _Stream(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    people: Annotated[int, Field(ge=1, le=90_000)]
    messages: Annotated[int, Field(ge=1, le=1_000_000)]
    outbound: Annotated[int, Field(ge=0)] = 0


class WhatsAppSandbox:
    """Deliveries on request, through one sender. `clock` gives Unix seconds; the files' lives follow it."""

    def __init__(
        self,
        sender: WebhookSender,
        *,
        number: BusinessNumber | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sender = sender
        self.media = GraphMedia(clock=clock)
        self.journal = Journal(clock=clock)
        self.faults = FaultPlan()
        self._gateway = Gateway(self.media, journal=self.journal, faults=self.faults)
        self._number = number or BusinessNumber()
        self._random = Random(time.time_ns())
        self._serial = itertools.count(1)
        self._running: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[
                Route("/_sandbox/whatsapp/messages", self._message, methods=["POST"]),
                Route("/_sandbox/whatsapp/conversations", self._conversations, methods=["POST"]),
                Route("/_sandbox/whatsapp/deliveries", self._deliveries),
                *control_routes(
                    journal=self.journal,
                    faults=self.faults,
                    reset=self._reset,
                    state=self._state,
                    state_path="/_sandbox/whatsapp/state",
                ),
                Route("/{path:path}", _Everything(self._gateway)),
            ],
            exception_handlers={ValidationError: _not_valid},
        )

    async def aclose(self) -> None:
        """Stop delivering, end stalls, and close the connections."""
        self._gateway.release()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.sender.aclose()

    async def _message(self, request: Request) -> Response:
        wanted = _Message.model_validate_json(await request.body())
        person = Person(**wanted.sender.model_dump())
        message_id = payloads.wamid(person.wa_id or f"{next(self._serial):011d}", self._random)
        update = payloads.text(
            person,
            self._number,
            message_id=message_id,
            at=int(time.time()),
            body=wanted.text,
            reply_to=wanted.reply_to,
        )
        self._deliver([update])
        return JSONResponse({"wamid": message_id}, status_code=202)

    async def _conversations(self, request: Request) -> Response:
        wanted = _Stream.model_validate_json(await request.body())
        stream = conversations(**wanted.model_dump(), number=self._number)
        base_url = str(request.base_url)
        self._deliver([self.media.published(update, base_url=base_url) for update in stream.updates])
        return JSONResponse({"expected": [asdict(person) for person in stream.people]}, status_code=202)

    async def _deliveries(self, _request: Request) -> Response:
        return JSONResponse({**self.sender.journal.as_json(), "under_way": len(self._running)})

    def _state(self) -> dict[str, Any]:
        files = self.media.files.values()
        return {"files": [{"id": file.id, "size": file.size, "downloads": file.downloads} for file in files]}

    def _reset(self, _changes: dict[str, Any]) -> None:
        self.media.clear()
        self.journal.clear()
        self.faults.clear()

    def _deliver(self, updates: Iterable[Update]) -> None:
        task = asyncio.create_task(self.sender.deliver(updates))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


class _Everything:
    """An ASGI application, so that Starlette passes every method and leaves the answer alone."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._gateway(scope, receive, send)


async def _not_valid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    problems = json.loads(error.json(include_url=False, include_context=False))
    return JSONResponse({"problems": problems}, status_code=400)
