"""`POST /hubspot/workflow-actions/send-template`: a HubSpot workflow sends a template and waits for its outcome.

https://developers.hubspot.com/docs/api-reference/latest/automation/workflow-actions/custom-action-guide
BLOCK makes the workflow wait until the outbound role completes the callback, or until it expires. A mistake in the
action's fields lets the workflow go on at once, down the branch of `blocked`; HubSpot repeats for 3 days whatever is
answered 5xx, so that is for a broker that is away only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connector.errors import Rejected
from connector.events import WorkflowCallback
from connector.events.triggers import TriggerSource
from connector.ingress import trigger_fields as fields
from connector.ingress.dead_letters import dead_letter
from connector.ingress.hubspot_door import HubSpotDoor
from connector.ingress.reception import Reception, Taken, utc_now
from connector.ingress.splitting import post_id_of
from connector.ingress.strict_json import UnreadableJson, read_json
from connector.ingress.trigger_records import encode_trigger, request_hash_of, send_requested
from connector.ingress.typed_sends import typed_recipient, typed_send

PATH = "/hubspot/workflow-actions/send-template"
SOURCE: TriggerSource = "hubspot_workflow"
INPUT_FIELDS = {name: name for name in ("template", "language", "from", "parameters", "purpose")}
OUTPUT_FIELDS = ("outcome", "reason", "message_id")
RECORD_PROPERTIES = ("whatsapp_bsuid", "whatsapp_phone", "mobilephone", "phone")
"""What the action's definition has HubSpot send along: by these a contact is found that WhatsApp does not know yet."""
WAIT = timedelta(hours=25)
"""A send is given up after 24 hours, and its outcome told within the one after."""

_CONTACT = ("contact", "0-1")
_LONGEST_ID = 255


class HubSpotAction:
    """The endpoint. `region`: country of typed phones that have no country code, "" for none."""

    def __init__(
        self,
        *,
        door: HubSpotDoor,
        reception: Reception,
        region: str = "",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._door = door
        self._reception = reception
        self._region = region
        self._now = now

    async def endpoint(self, request: Request) -> Response:
        """One execution of the action."""
        answer = await self._reception.receive(
            request,
            door="hubspot_action",
            types=("application/json",),
            check=lambda: self._door.check(request, takes_v2=True),
            read=lambda body: self._read(request, body),
        )
        # HTTP's Retry-After is in seconds, HubSpot's workflows read milliseconds (its docs on webhooks in workflows).
        if "Retry-After" in answer.headers:
            answer.headers["Retry-After"] = str(1000 * int(answer.headers["Retry-After"]))
        return answer

    def _read(self, request: Request, body: bytes) -> Taken:
        self._door.verify(request, body)
        received_at = self._now()
        try:
            execution = _execution(body)
            wanted = typed_send(_texts(execution["inputFields"]), names=INPUT_FIELDS)
        except Rejected as rejection:
            record = dead_letter(body, rejection, subject=post_id_of(body), received_at=received_at)
            return Taken(records=[record], answer=_go_on(rejection.message), outcome="not_understood")
        contact, portal_id = execution["object"], str(execution["origin"].get("portalId", ""))[:_LONGEST_ID]
        callback_id, properties = execution["callbackId"], _texts(contact.get("properties"))
        event = send_requested(
            source=SOURCE,
            client=portal_id,
            key=callback_id,
            request_hash=request_hash_of([str(contact["objectId"]), execution["inputFields"]]),
            received_at=received_at,
            template=wanted.template,
            to=typed_recipient(
                bsuid=properties.get("whatsapp_bsuid", ""),
                phone=properties.get("whatsapp_phone", ""),
                typed_phones=[properties.get(name, "") for name in ("mobilephone", "phone")],
                region=self._region,
                hubspot_id=str(contact["objectId"]),
            ),
            parameters=wanted.parameters,
            from_number=wanted.from_number,
            purpose=wanted.purpose,
            problem=wanted.problem,
            callback=None
            if wanted.problem
            else WorkflowCallback(
                callback_id=callback_id, portal_id=portal_id, expires_at=received_at + WAIT
            ),
        )
        if wanted.problem:
            return Taken(
                records=[encode_trigger(event)], answer=_go_on(wanted.problem), outcome="wrong_fields"
            )
        return Taken(records=[encode_trigger(event)], answer=_wait())


def _execution(body: bytes) -> Mapping[str, Any]:
    """HubSpot's request, with all that names it. Raises `Rejected`."""
    try:
        document = read_json(body)
    except UnreadableJson as error:
        raise _not_understood(
            f"The workflow action's request is not JSON that can be kept: {error}."
        ) from None
    if not isinstance(document, dict):
        raise _not_understood("The workflow action's request is not a JSON object.")
    callback_id = document.get("callbackId")
    if not isinstance(callback_id, str) or not 0 < len(callback_id) <= _LONGEST_ID:
        raise _not_understood(
            "The workflow action's request has no callbackId, so its outcome could not be told."
        )
    for name in ("object", "origin", "inputFields"):
        if not isinstance(document.get(name, {}), dict):
            raise _not_understood(f"The workflow action's request has no object {name}.")
    contact = document.get("object", {})
    if str(contact.get("objectType", "")).lower() not in _CONTACT:
        raise _not_understood(
            f"The workflow is about {str(contact.get('objectType'))[:40]!r} records; templates are sent to contacts."
        )
    try:
        fields.hubspot_id(str(contact.get("objectId", "")))
    except ValueError:
        raise _not_understood("The workflow action's request names no contact record.") from None
    return {**document, "origin": document.get("origin", {}), "inputFields": document.get("inputFields", {})}


def _texts(values: Any) -> dict[str, str]:
    """HubSpot writes some numbers as numbers, and what is not set as null."""
    if not isinstance(values, dict):
        return {}
    return {name: str(value) for name, value in values.items() if isinstance(value, str | int | float)}


def _wait() -> JSONResponse:
    hours = int(WAIT.total_seconds() // 3600)
    return JSONResponse(
        {"outputFields": {"hs_execution_state": "BLOCK", "hs_expiration_duration": f"PT{hours}H"}}
    )


def _go_on(reason: str) -> JSONResponse:
    """The workflow goes on and can branch on the outcome; no completion follows."""
    return JSONResponse(
        {
            "outputFields": {
                "hs_execution_state": "FAIL_CONTINUE",
                "outcome": "blocked",
                "reason": reason,
                "message_id": "",
            }
        }
    )


def _not_understood(sentence: str) -> Rejected:
    return Rejected(
        sentence,
        cause="not_a_workflow_action",
        advice="compare the app's action with docs/crm/hubspot; nothing was sent, and the workflow went on",
    )
