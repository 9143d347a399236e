"""`/automation/actions/callbacks/{version}`: an app completes the workflow actions that wait for it."""

from __future__ import annotations

from typing import Any

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.errors import refuse
from connector.sandbox.hubspot.routing import Asked, route

_CALLBACKS = r"/automation/actions/callbacks/(?P<version>[^/]+)"
_MOST = 100


def _complete(asked: Asked) -> Answer:
    asked.portal.executions.complete(asked.params["id"], asked.exchange.document)
    return Answer(status=204)


def _complete_batch(asked: Asked) -> Answer:
    """All or none: what the documentation leaves open is read the stricter way."""
    inputs: Any = asked.exchange.document.get("inputs")
    if not isinstance(inputs, list) or not 1 <= len(inputs) <= _MOST:
        raise refuse(f"inputs must have 1 to {_MOST} entries.")
    executions = asked.portal.executions
    ids = [str(item.get("callbackId", "")) if isinstance(item, dict) else "" for item in inputs]
    if len(set(ids)) < len(ids):
        raise refuse("a callbackId is there twice.")
    for callback_id, item in zip(ids, inputs, strict=True):
        executions.check_completion(callback_id, item)
    for callback_id, item in zip(ids, inputs, strict=True):
        executions.complete(callback_id, item)
    return Answer(status=204)


ROUTES = (
    route("POST", f"{_CALLBACKS}/complete", _complete_batch, "automation"),
    route("POST", rf"{_CALLBACKS}/(?P<id>[^/]+)/complete", _complete, "automation"),
)
