"""What a person does in HubSpot that reaches the connector, on request.

| request | effect |
|--|--|
| `POST /_sandbox/hubspot/workflows` `{"contacts": ["901"], "inputs": {"template": "order_update"}}` | they reach the workflow's action; answers the callback ids |
| `GET /_sandbox/hubspot/workflows/{callback id}` | how far the execution is, its outputs, and the branch it took |
| `GET /_sandbox/hubspot/webhooks` | events delivered, lost and under way |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector.sandbox.courier import Courier
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.webhooks import WebhookFeed
from connector.sandbox.hubspot.workflows import Workflows

_NOWHERE = "there is no connector to call: start the sandbox with --webhook-url"


class _Enrolment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    contacts: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    inputs: dict[str, str | None]


class HubSpotActs:
    """The requests of the table. Without a courier the first and the last are 409."""

    def __init__(
        self,
        *,
        portal: Callable[[], Portal],
        courier: Courier | None,
        workflows: Workflows | None,
        feed: WebhookFeed | None,
    ) -> None:
        self._portal = portal
        self._courier = courier
        self._workflows = workflows
        self._feed = feed
        self.routes = [
            Route("/_sandbox/hubspot/workflows", self._enrol, methods=["POST"]),
            Route("/_sandbox/hubspot/workflows/{callback_id}", self._execution),
            Route("/_sandbox/hubspot/webhooks", self._webhooks),
        ]

    async def _enrol(self, request: Request) -> Response:
        if self._workflows is None:
            return _problem(_NOWHERE, status=409)
        try:
            wanted = _Enrolment.model_validate_json(await request.body())
        except ValidationError as error:
            return _problem(*(f"{item['loc']}: {item['msg']}" for item in error.errors()), status=400)
        missing = [
            record_id for record_id in wanted.contacts if self._portal().contacts.get(record_id) is None
        ]
        if missing:
            return _problem(f"there is no contact {', '.join(missing[:5])}", status=404)
        begun = [self._workflows.enrol(record_id, wanted.inputs) for record_id in wanted.contacts]
        return JSONResponse({"callback_ids": [item.callback_id for item in begun]}, status_code=202)

    async def _execution(self, request: Request) -> Response:
        execution = self._portal().executions.get(request.path_params["callback_id"])
        if execution is None:
            return _problem("there is no such execution", status=404)
        return JSONResponse(execution.as_json())

    async def _webhooks(self, _request: Request) -> Response:
        if self._feed is None or self._courier is None:
            return _problem(_NOWHERE, status=409)
        document: dict[str, Any] = {
            "delivered": list(self._feed.delivered),
            "lost": self._feed.lost,
            "under_way": self._courier.under_way,
        }
        return JSONResponse(document)


def _problem(*texts: str, status: int) -> Response:
    return JSONResponse({"problems": list(texts)}, status_code=status)
