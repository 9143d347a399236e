"""The Salesforce simulator, complete: org, journal, faults and its ASGI application."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from connector.sandbox.control import control_routes, refuse_others
from connector.sandbox.courier import Courier
from connector.sandbox.faults import FaultPlan
from connector.sandbox.gateway import Exchange, Gateway
from connector.sandbox.journal import Journal
from connector.sandbox.salesforce.app import SalesforceApp
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.outbound import OutboundMessages

LIMITS = frozenset({"daily_limit", "concurrent_limit", "long_request"})


class SalesforceSandbox:
    """A simulated Salesforce. Tests may use `org`, `app_side`, `journal` and `faults` directly, in-process.

    Beside the control routes of every simulator: `POST /_sandbox/salesforce/convert-lead {"id"}`,
    `POST /_sandbox/salesforce/merge {"object", "master", "loser"}`, `POST /_sandbox/salesforce/expire-sessions`.
    With a `courier` the flow of docs/crm/salesforce is active: a record whose WA_Send_Requested_At__c is set sends its
    outbound message; `GET /_sandbox/salesforce/outbound-messages` shows them. `clock` gives Unix seconds; token life and limits follow it.
    """

    def __init__(
        self,
        config: SalesforceConfig | None = None,
        *,
        courier: Courier | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self.journal = Journal(clock=clock)
        self.faults = FaultPlan()
        self.app_side = SalesforceApp(Org(config or SalesforceConfig(), clock=clock), clock=clock)
        self._gateway = Gateway(
            self.app_side,
            journal=self.journal,
            faults=self.faults,
            finished=self._finished,
        )
        self.outbound: OutboundMessages | None = None
        if courier is not None:
            self.outbound = OutboundMessages(
                courier,
                config=lambda: self.org.config,
                record=lambda sobject, record_id: self.org.table(sobject).get(record_id),
            )
            self.org.on_saved = self.outbound.saved
        routes = control_routes(
            journal=self.journal,
            faults=self.faults,
            reset=self.reset,
            state=self.state,
            state_path="/_sandbox/salesforce/state",
            change_limits=self.change_limits,
        )
        acts = [
            Route(f"/_sandbox/salesforce/{name}", act, methods=["POST"])
            for name, act in (
                ("convert-lead", self._convert_lead),
                ("merge", self._merge),
                ("expire-sessions", self._expire_sessions),
            )
        ]
        acts.append(Route("/_sandbox/salesforce/outbound-messages", self._outbound_messages))
        self.app = Starlette(routes=[*routes, *acts, Route("/{path:path}", _Everything(self))])

    @property
    def org(self) -> Org:
        """The simulated org."""
        return self.app_side.org

    def reset(self, changes: dict[str, Any] | None = None) -> None:
        """Start over with an empty org; `changes` are fields of SalesforceConfig that change for good.

        Raises:
            pydantic.ValidationError: a field is unknown or its value not valid; nothing was changed.

        """
        config = SalesforceConfig.model_validate({**self.org.config.model_dump(), **(changes or {})})
        self.app_side = SalesforceApp(Org(config, clock=self._clock), clock=self._clock)
        if self.outbound is not None:
            self.outbound.clear()
            self.org.on_saved = self.outbound.saved
        self.journal.clear()
        self.faults.clear(seed=config.seed)
        self._gateway.simulator = self.app_side

    def change_limits(self, changes: dict[str, Any]) -> None:
        """Change limits and keep everything else. `changes` are fields of SalesforceConfig.

        Raises:
            pydantic.ValidationError: a field is unknown or its value not valid; nothing was changed.
            ValueError: a field is no limit.

        """
        refuse_others(changes, LIMITS)
        config = SalesforceConfig.model_validate({**self.org.config.model_dump(), **changes})
        self.org.config = config
        self.app_side.limits.change(config)

    def state(self) -> dict[str, Any]:
        """Return every record, as `Org.state` does."""
        return self.org.state()

    def release(self) -> None:
        """End every stall, for the server to stop."""
        self._gateway.release()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of the API."""
        await self._gateway(scope, receive, send)
        if self.outbound is not None:
            self.outbound.flush()

    def _finished(self, exchange: Exchange) -> None:
        self.app_side.finished(exchange)  # whichever it is by now: a reset replaces it

    async def _outbound_messages(self, _request: Request) -> Response:
        if self.outbound is None:
            problem = "there is no connector to call: start the sandbox with --webhook-url"
            return JSONResponse({"problems": [problem]}, status_code=409)
        return JSONResponse({"messages": [message.as_json() for message in self.outbound.messages]})

    async def _convert_lead(self, request: Request) -> Response:
        document = json.loads(await request.body())
        return _acted(lambda: {"contact_id": self.org.convert_lead(document["id"]).id})

    async def _merge(self, request: Request) -> Response:
        document = json.loads(await request.body())
        return _acted(
            lambda: {
                "id": self.org.merge(
                    document["object"], master=document["master"], loser=document["loser"]
                ).id
            }
        )

    async def _expire_sessions(self, _request: Request) -> Response:
        self.app_side.tokens.expire_all()
        return Response(status_code=204)


def _acted(act: Callable[[], dict[str, str]]) -> Response:
    try:
        return JSONResponse(act())
    except (KeyError, ValueError) as error:
        return JSONResponse({"problems": [str(error)]}, status_code=400)


class _Everything:
    """An ASGI application, so that Starlette passes every method and leaves the answer alone."""

    def __init__(self, sandbox: SalesforceSandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sandbox.serve(scope, receive, send)
