"""Completing workflow actions that wait: what became of the send goes into the action's output fields.

developers.hubspot.com/docs/api-reference/latest/automation/workflow-actions/custom-action-guide: up to 100 in a call. A
callback that nobody waits for (any more) is refused, and its whole batch with it: then they are told one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal

MOST_CALLBACKS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What one workflow is told. `outcome`: sent | blocked | failed | unknown."""

    callback_id: str
    outcome: str
    reason: str
    message_id: str


async def complete(client: HubSpotClient, completions: Sequence[Completion]) -> list[bool]:
    """Tell them, `MOST_CALLBACKS` at most, each once; for each whether somebody was waiting for it.

    Raises as the client does; then some of them may have been told, and telling them again does no harm.
    """
    base = f"/automation/actions/callbacks/{client.version}"
    if len(completions) > 1:
        inputs = [{"callbackId": item.callback_id, **_outputs(item)} for item in completions]
        try:
            await client.call("POST", f"{base}/complete", {"inputs": inputs}, writes=True)
        except HubSpotRefusal:
            pass
        else:
            return [True] * len(completions)
    told: list[bool] = []
    for item in completions:
        try:
            await client.call(
                "POST", f"{base}/{quote(item.callback_id, safe='')}/complete", _outputs(item), writes=True
            )
        except HubSpotRefusal:
            told.append(False)
        else:
            told.append(True)
    return told


def _outputs(item: Completion) -> dict[str, Any]:
    fields = {"outcome": item.outcome, "reason": item.reason, "message_id": item.message_id}
    return {
        "outputFields": {
            "hs_execution_state": "SUCCESS",
            **{name: text for name, text in fields.items() if text},
        },
        "typedOutputs": {},
    }
