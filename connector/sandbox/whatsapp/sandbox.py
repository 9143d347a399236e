"""WhatsApp's side as a server: asked over HTTP, it delivers webhooks and shows what became of them.

| request | effect |
|--|--|
| `POST /_sandbox/whatsapp/messages` `{from: {name, wa_id, bsuid, username}, text, reply_to?}` | one text message |
| `POST /_sandbox/whatsapp/conversations` `{seed, people, messages, outbound?}` | a stream of conversations |
| `GET /_sandbox/whatsapp/deliveries` | every update: times posted, answers, when acknowledged |
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.conversations import conversations
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
    """Deliveries on request, through one sender."""

    def __init__(self, sender: WebhookSender, *, number: BusinessNumber | None = None) -> None:
        self.sender = sender
        self._number = number or BusinessNumber()
        self._random = Random(time.time_ns())
        self._serial = itertools.count(1)
        self._running: set[asyncio.Task[None]] = set()
        self.app = Starlette(
            routes=[
                Route("/_sandbox/whatsapp/messages", self._message, methods=["POST"]),
                Route("/_sandbox/whatsapp/conversations", self._conversations, methods=["POST"]),
                Route("/_sandbox/whatsapp/deliveries", self._deliveries),
            ],
            exception_handlers={ValidationError: _not_valid},
        )

    async def aclose(self) -> None:
        """Stop delivering and close the connections."""
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
        self._deliver(stream.updates)
        return JSONResponse({"expected": [asdict(person) for person in stream.people]}, status_code=202)

    async def _deliveries(self, _request: Request) -> Response:
        return JSONResponse({**self.sender.journal.as_json(), "under_way": len(self._running)})

    def _deliver(self, updates: Iterable[Update]) -> None:
        task = asyncio.create_task(self.sender.deliver(updates))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _not_valid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    problems = json.loads(error.json(include_url=False, include_context=False))
    return JSONResponse({"problems": problems}, status_code=400)
