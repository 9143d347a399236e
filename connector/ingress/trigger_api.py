"""`POST /triggers/templates`, `POST /triggers/consent`, `GET /triggers/{trigger_id}`: the door for flows and scripts.

Form and caller are checked here; what a request means is judged by the outbound role and read by GET. A 202 says that
the broker has every record of the request; anything else that the caller may send it again under the same key, with
the same ids as answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.errors import ConnectorError
from connector.events import ConsentGiven, TemplateRef
from connector.events.triggers import TriggerSource
from connector.ingress.answers import Refusal
from connector.ingress.reception import Reception, Taken, utc_now
from connector.ingress.trigger_clients import TriggerClients, require_scope
from connector.ingress.trigger_fates import TriggerFates
from connector.ingress.trigger_records import (
    encode_trigger,
    request_hash_of,
    send_id_of,
    send_requested,
    trigger_id_of,
)
from connector.ingress.trigger_requests import ConsentReport, TemplateTrigger, read_body
from connector.settings import TriggerSettings
from connector.telemetry.metrics import INGRESS_DOORS

IDEMPOTENCY_HEADER = "idempotency-key"
SOURCE: TriggerSource = "api"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TYPES = ("application/json",)
_CLOCKS_APART = timedelta(seconds=60)
_COME_BACK = 2.0


class TriggerApi:
    """The three endpoints. `fates`: where what became of a trigger is read; None: not in this process."""

    def __init__(
        self,
        *,
        triggers: TriggerSettings,
        reception: Reception,
        fates: TriggerFates | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._clients = TriggerClients(triggers.clients, now=now)
        self._reception = reception
        self._fates = fates
        self._now = now

    def routes(self) -> list[Route]:
        """What the application serves."""
        return [
            Route("/triggers/templates", self.send, methods=["POST"]),
            Route("/triggers/consent", self.consent, methods=["POST"]),
            Route("/triggers/{trigger_id}", self.fate, methods=["GET"]),
        ]

    async def send(self, request: Request) -> Response:
        """One template to up to 1,000 people."""
        return await self._receive(request, door="triggers", read=self._sends)

    async def consent(self, request: Request) -> Response:
        """What people allowed or refused, with its evidence."""
        return await self._receive(request, door="consent", read=self._acts)

    async def fate(self, request: Request) -> Response:
        """What became of a request of the same caller."""
        try:
            found = await self._fate(request)
        except Refusal as refusal:
            INGRESS_DOORS.labels("fates", refusal.outcome).inc()
            return refusal.response()
        INGRESS_DOORS.labels("fates", "found").inc()
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    async def _receive(
        self,
        request: Request,
        *,
        door: str,
        read: Callable[[Mapping[str, str], bytes], Taken],
    ) -> Response:
        headers = request.headers

        def check() -> None:
            self._clients.check(headers)
            if not _KEY.fullmatch(headers.get(IDEMPOTENCY_HEADER, "")):
                raise Refusal(
                    "no_idempotency_key",
                    status=400,
                    error="The header Idempotency-Key is missing, or not 1 to 255 visible ASCII characters.",
                    advice="give every request a key of its own, and a repeated one the same key again",
                )

        return await self._reception.receive(
            request, door=door, types=_TYPES, check=check, read=lambda body: read(headers, body)
        )

    def _sends(self, headers: Mapping[str, str], body: bytes) -> Taken:
        client = self._clients.identify(headers, body)
        require_scope(client, "send")
        key, received_at = headers[IDEMPOTENCY_HEADER], self._now()
        wanted, document = read_body(TemplateTrigger, body, idempotency_key=key)
        request_hash = request_hash_of(document)
        records = [
            encode_trigger(
                send_requested(
                    source=SOURCE,
                    client=client.name,
                    key=key,
                    place=place,
                    of=len(wanted.recipients),
                    request_hash=request_hash,
                    received_at=received_at,
                    template=TemplateRef(name=wanted.template.name, language=wanted.template.language),
                    to=recipient.to.recipient(),
                    parameters=recipient.parameters,
                    from_number=wanted.sender,
                    purpose=wanted.purpose,
                    expires_at=wanted.expires_at,
                    reference=recipient.reference,
                )
            )
            for place, recipient in enumerate(wanted.recipients)
        ]
        trigger_id = trigger_id_of(source=SOURCE, client=client.name, key=key)
        queued = [
            {"send_id": send_id_of(trigger_id, place), "status": "queued"} for place in range(len(records))
        ]
        answer = JSONResponse(
            {"trigger_id": trigger_id, "recipients": queued},
            status_code=202,
            headers={"Location": f"/triggers/{trigger_id}"},
        )
        return Taken(records=records, answer=answer)

    def _acts(self, headers: Mapping[str, str], body: bytes) -> Taken:
        client = self._clients.identify(headers, body)
        require_scope(client, "consent")
        key, received_at = headers[IDEMPOTENCY_HEADER], self._now()
        report, document = read_body(ConsentReport, body, idempotency_key=key)
        for place, act in enumerate(report.acts):
            if act.at > received_at + _CLOCKS_APART:
                raise Refusal(
                    "invalid",
                    status=422,
                    error=f"The request is not valid: acts[{place}].at is in the future.",
                    advice="give the time at which the person acted; nothing of the request was kept",
                    problems=[{"path": f"acts[{place}].at", "problem": "is in the future"}],
                )
        trigger_id = trigger_id_of(source=SOURCE, client=client.name, key=key)
        content = request_hash_of(document)[:16]
        events = [
            ConsentGiven(
                event_id=f"consent.given:{send_id_of(trigger_id, place)}:{content}",
                source=SOURCE,
                client=client.name,
                received_at=received_at,
                to=act.to.recipient(),
                purpose=act.purpose,
                state=act.state,
                at=act.at,
                by_person=act.by_person,
                evidence=act.evidence,
            )
            for place, act in enumerate(report.acts)
        ]
        answer = JSONResponse(
            {"acts": [{"event_id": event.event_id, "status": "queued"} for event in events]}, status_code=202
        )
        return Taken(records=[encode_trigger(event) for event in events], answer=answer)

    async def _fate(self, request: Request) -> Mapping[str, Any]:
        client = self._clients.identify(request.headers, b"")
        require_scope(client, "send")
        trigger_id = request.path_params["trigger_id"]
        if self._fates is None:
            raise Refusal(
                "not_here",
                status=503,
                error="This ingress cannot look up what became of a trigger.",
                advice="set CONNECTOR_DATABASE__URL for the ingress, and run the outbound role",
            )
        try:
            found = await self._fates.fate_of(trigger_id, client=client.name)
        except ConnectorError as error:
            raise Refusal(
                "away",
                status=503,
                error="The trigger cannot be looked up at the moment; it is not touched by that.",
                advice="ask again in a minute",
                retry_after=15.0,
            ) from error
        if found is None:
            raise Refusal(
                "unknown_trigger",
                status=404,
                error=f"No trigger {trigger_id[:80]} of this client has been admitted.",
                advice="one that was just answered 202 is admitted within seconds: ask again; else compare the id",
                retry_after=_COME_BACK,
            )
        return found
