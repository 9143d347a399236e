"""What people and Meta do on the simulated WhatsApp when they are asked to over HTTP.

| request | effect |
|--|--|
| `POST /_sandbox/whatsapp/events` `{kind?, from, text?, about?, phone_number_id?}` | one update of a kind in `kinds.py` |
| `POST /_sandbox/whatsapp/conversations` `{seed, people, messages, outbound?}` | a stream of conversations |
| `POST /_sandbox/whatsapp/templates[?announce=no]` a template | Meta's review, or an edit: its status and category are announced when they change, unless that webhook is to be lost |
| `POST /_sandbox/whatsapp/refusals` `{code, when?, to?, template?, phone_number_id?, times?, probability?}` | messages meet this error: as the answer, or as a failed status (`when`: answer, status) |
| `DELETE /_sandbox/whatsapp/refusals` | no more of them |
| `GET /_sandbox/whatsapp/deliveries` | every update: times posted, answers, when acknowledged |

`from` is `{wa_id?, bsuid?, name?, username?}`, `kind` is `inbound.text` unless said otherwise.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from random import Random
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.sandbox.whatsapp import payloads
from connector.sandbox.whatsapp.business import Business
from connector.sandbox.whatsapp.conversations import conversations
from connector.sandbox.whatsapp.kinds import KINDS, Occasion
from connector.sandbox.whatsapp.payloads import Person, Update
from connector.sandbox.whatsapp.people import introduced
from connector.sandbox.whatsapp.refusals import Refusal
from connector.sandbox.whatsapp.sender import WebhookSender
from connector.sandbox.whatsapp.templates import Template


class Delivers(Protocol):
    """Takes updates to the webhook. `base_url`: the simulator's own, as the asker calls it."""

    def __call__(self, updates: Sequence[Update], *, base_url: str) -> None: ...


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _From(_Model):
    wa_id: Annotated[str, Field(pattern=r"^[0-9]{5,15}$")] | None = None
    bsuid: str | None = None
    name: str | None = None
    username: str | None = None


class _Event(_Model):
    kind: str = "inbound.text"
    sender: _From = Field(alias="from")
    text: str | None = None
    about: str | None = None
    phone_number_id: str | None = None

    @field_validator("kind")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"no such kind; there are {', '.join(KINDS)}")
        return value


class _Stream(_Model):
    seed: int = 0
    people: Annotated[int, Field(ge=1, le=90_000)]
    messages: Annotated[int, Field(ge=1, le=1_000_000)]
    outbound: Annotated[int, Field(ge=0)] = 0


class Acts:
    """The requests of the table. `business` is asked for anew each time: a reset replaces it."""

    def __init__(
        self,
        *,
        business: Callable[[], Business],
        sender: WebhookSender | None,
        deliver: Delivers,
        under_way: Callable[[], int],
    ) -> None:
        self._business = business
        self._sender = sender
        self._deliver = deliver
        self._under_way = under_way
        self._random = Random(time.time_ns())
        self._serial = itertools.count(1)
        self.routes = [
            Route("/_sandbox/whatsapp/events", self._event, methods=["POST"]),
            Route("/_sandbox/whatsapp/conversations", self._conversations, methods=["POST"]),
            Route("/_sandbox/whatsapp/templates", self._template, methods=["POST"]),
            Route("/_sandbox/whatsapp/refusals", self._refuse, methods=["POST", "DELETE"]),
            Route("/_sandbox/whatsapp/deliveries", self._deliveries),
        ]

    async def _event(self, request: Request) -> Response:
        wanted = _Event.model_validate_json(await request.body())
        business = self._business()
        numbers = business.config.numbers
        number = business.number(wanted.phone_number_id or numbers[0].id)
        if number is None:
            return _problem(f"there is no business number {wanted.phone_number_id}", status=400)
        occasion = Occasion(
            person=introduced(Person(**wanted.sender.model_dump())),
            number=number.business,
            at=int(business.now()),
            random=self._random,
            text=wanted.text,
            about=wanted.about,
        )
        update = KINDS[wanted.kind].build(occasion)
        return self._accepted(request, [update], {"wamid": update.wamid})

    async def _conversations(self, request: Request) -> Response:
        wanted = _Stream.model_validate_json(await request.body())
        number = self._business().config.numbers[0].business
        stream = conversations(**wanted.model_dump(), number=number)
        return self._accepted(
            request, stream.updates, {"expected": [asdict(person) for person in stream.people]}
        )

    async def _template(self, request: Request) -> Response:
        """Put a template; what changed goes to every account that has it, when there is somebody to tell."""
        announce = request.query_params.get("announce", "yes")
        if announce not in ("yes", "no"):
            return _problem(f"announce is yes or no, not {announce[:20]!r}", status=400)
        wanted = Template.model_validate_json(await request.body())
        business = self._business()
        before = business.put_template(wanted)
        told = [
            payloads.account(number.business, at=int(business.now()), field=field, value=value)
            for number in {item.waba_id: item for item in business.config.numbers}.values()
            if wanted.waba_id in (None, number.waba_id)
            for field, value in _news(before, wanted)
        ]
        if self._sender is None or announce == "no" or not told:
            return JSONResponse({"announced": 0}, status_code=202)
        return self._accepted(request, told, {"announced": len(told)})

    async def _refuse(self, request: Request) -> Response:
        refusals = self._business().refusals
        if request.method == "DELETE":
            refusals.clear()
            return JSONResponse({})
        refusals.add(Refusal.model_validate_json(await request.body()))
        return JSONResponse({}, status_code=201)

    async def _deliveries(self, _request: Request) -> Response:
        if self._sender is None:
            return _problem(_NOWHERE, status=409)
        return JSONResponse({**self._sender.journal.as_json(), "under_way": self._under_way()})

    def _accepted(self, request: Request, updates: Sequence[Update], answer: object) -> Response:
        if self._sender is None:
            return _problem(_NOWHERE, status=409)
        self._deliver(updates, base_url=str(request.base_url))
        return JSONResponse(answer, status_code=202)


def _news(before: Template | None, after: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """What Meta announces: another status, another category (…/webhooks/reference/template_category_update)."""
    named = {
        "message_template_id": int(after.id),
        "message_template_name": after.name,
        "message_template_language": after.language.replace("_", "-"),
    }
    if before is None or before.status != after.status:
        yield (
            "message_template_status_update",
            {"event": after.status, **named, "reason": after.rejected_reason},
        )
    if before is not None and before.category != after.category:
        yield (
            "template_category_update",
            {**named, "previous_category": before.category, "new_category": after.category},
        )


_NOWHERE = "there is no webhook to deliver to: start the sandbox with --webhook-url"


def _problem(text: str, *, status: int) -> Response:
    return JSONResponse({"problems": [text]}, status_code=status)


async def not_valid(_request: Request, error: Exception) -> Response:
    """Answer 400 with what is wrong with a request."""
    assert isinstance(error, ValidationError)
    problems = json.loads(error.json(include_url=False, include_context=False))
    return JSONResponse({"problems": problems}, status_code=400)
