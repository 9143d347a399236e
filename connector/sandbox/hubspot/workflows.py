"""A workflow that runs the connector's action: it signs, posts, repeats, and waits for the completion."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from connector.sandbox.courier import Courier, Reply
from connector.sandbox.hubspot.executions import Execution
from connector.sandbox.hubspot.portal import Portal
from connector.sandbox.hubspot.signing import v2_headers, v3_headers
from connector.sandbox.retries import RetrySchedule

ACTION_PATH = "/hubspot/workflow-actions/send-template"
WORKFLOW_ID = 192_814_114
RECORD_PROPERTIES = ("whatsapp_bsuid", "whatsapp_phone", "mobilephone", "phone")
"""The definition's objectRequestOptions (docs/crm/hubspot)."""

# "up to three days, starting one minute after failure", gaps of at most eight hours (webhooks in workflows, KB).
_RETRIES = RetrySchedule(first=60.0, factor=2.0, longest=8 * 3600.0, give_up=3 * 86_400.0)


class Workflows:
    """Runs the action for contacts. `portal` is asked for anew each time: a reset replaces it."""

    def __init__(self, courier: Courier, *, portal: Callable[[], Portal], clock: Callable[[], float]) -> None:
        self._courier = courier
        self._portal = portal
        self._clock = clock

    def enrol(self, contact_id: str, input_fields: Mapping[str, Any]) -> Execution:
        """Let a contact reach the action.

        Raises:
            KeyError: there is no such contact.

        """
        portal = self._portal()
        record = portal.contacts.get(contact_id)
        if record is None:
            raise KeyError(f"there is no contact {contact_id}")
        execution = portal.executions.begin(
            contact_id=record.id, input_fields=input_fields, workflow_id=WORKFLOW_ID
        )
        body = {
            "callbackId": execution.callback_id,
            "origin": {
                "portalId": portal.config.portal_id,
                "userId": None,
                "actionDefinitionId": 10_860_211,
                "actionDefinitionVersion": 1,
                "actionExecutionIndexIdentifier": {"enrollmentId": 1, "actionExecutionIndex": 0},
                "extensionDefinitionVersionId": 1,
                "extensionDefinitionId": 10_860_211,
            },
            "context": {"source": "WORKFLOWS", "workflowId": WORKFLOW_ID, "actionId": 1},
            "object": {
                "objectId": int(record.id),
                "properties": {name: record.values.get(name) for name in RECORD_PROPERTIES},
                "objectType": "CONTACT",
            },
            "inputFields": dict(input_fields),
            "fields": {
                name: {"type": "STATIC_VALUE", "value": value} for name, value in input_fields.items()
            },
        }
        self._courier.spawn(self._run(execution, json.dumps(body).encode(), portal))
        return execution

    async def settled(self) -> None:
        """Return when no request, and no webhook, is under way."""
        await self._courier.settled()

    async def _run(self, execution: Execution, body: bytes, portal: Portal) -> None:
        for wait in _RETRIES.faster(self._courier.speed).waits():
            reply = await self._post(execution, body, portal)
            if not portal.executions.answered(execution, status=reply.status, body=reply.body):
                return
            await asyncio.sleep(_asked_to_wait(reply, speed=self._courier.speed) or wait)
        reply = await self._post(execution, body, portal)
        if portal.executions.answered(execution, status=reply.status, body=reply.body):
            portal.executions.given_up(execution)

    async def _post(self, execution: Execution, body: bytes, portal: Portal) -> Reply:
        uri, secret = self._courier.public_url + ACTION_PATH, portal.config.client_secret
        signature = (
            v2_headers(body, uri=uri, secret=secret)
            if portal.config.action_signature == "v2"
            else v3_headers(body, uri=uri, secret=secret, at=self._clock())
        )
        headers = {"Content-Type": "application/json", **signature}
        reply = await self._courier.post(ACTION_PATH, body, headers)
        execution.retry_after.append(reply.retry_after)
        return reply


def _asked_to_wait(reply: Reply, *, speed: float) -> float | None:
    """Real seconds. "Retry-After … in milliseconds" (webhooks in workflows): who writes seconds is called at once."""
    text = reply.retry_after or ""
    return int(text) / 1000 / speed if text.isascii() and text.isdecimal() else None
