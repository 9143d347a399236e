"""Executions of a custom workflow action: who waits for what, and down which branch the workflow went. No HTTP.

developers.hubspot.com/docs/api-reference/latest/automation/workflow-actions/custom-action-guide: 2xx without a state
succeeds, 4xx fails, 429 and 5xx are repeated for up to three days; BLOCK waits for a completion until
hs_expiration_duration (a week by default) is over, then the workflow goes on without one. Stricter than documented:
what an action does not declare it may not return, and who completes what does not wait gets 404.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

from connector.sandbox.hubspot.errors import HubSpotError, not_found, refuse

OUTPUTS: Mapping[str, frozenset[str] | None] = {
    "outcome": frozenset({"sent", "blocked", "failed", "unknown"}),
    "reason": None,
    "message_id": None,
}
"""The output fields of the action's definition (docs/crm/hubspot), and the values of the enumeration among them."""

_STATES = frozenset({"SUCCESS", "FAIL_CONTINUE", "BLOCK", "ASYNC"})
_FINAL = frozenset({"SUCCESS", "FAIL_CONTINUE"})
_RESERVED = frozenset({"hs_execution_state", "hs_expiration_duration"})
_WEEK = 7 * 86_400.0
_DURATION = re.compile(
    r"P(?=.)(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?=.)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+)S)?)?"
)
_SECONDS = {"w": _WEEK, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(slots=True, kw_only=True)
class Execution:
    """One contact in one action of a workflow."""

    callback_id: str
    contact_id: str
    workflow_id: int
    input_fields: Mapping[str, Any]
    started_at: float
    """Unix seconds."""
    state: str = "running"
    """running (no answer yet), waiting (BLOCK), succeeded, failed_continue, failed, expired."""
    outputs: dict[str, str] = field(default_factory=dict)
    finished_by: str = ""
    """answer, callback, expiry, or what was wrong with the answer."""
    expires_at: float | None = None
    answers: list[int | None] = field(default_factory=list)
    """Status of every request; None where there was no answer."""
    retry_after: list[str | None] = field(default_factory=list)
    """The Retry-After of each answer, as it was written."""
    completions: int = 0

    @property
    def branch(self) -> str:
        """Where a workflow that branches on `outcome` went; "" while it has not gone on."""
        if self.state in ("running", "waiting"):
            return ""
        return self.outputs.get("outcome", "none")

    def as_json(self) -> dict[str, Any]:
        """As the control side shows it."""
        return {**asdict(self), "branch": self.branch}


class Executions:
    """All executions of a portal. `clock` gives Unix seconds."""

    def __init__(self, *, portal_id: int, clock: Callable[[], float]) -> None:
        self._portal_id = portal_id
        self._clock = clock
        self._numbers = count(1)
        self._all: dict[str, Execution] = {}

    def begin(self, *, contact_id: str, input_fields: Mapping[str, Any], workflow_id: int) -> Execution:
        """A contact reached the action."""
        number = next(self._numbers)
        execution = Execution(
            callback_id=f"ap-{self._portal_id}-{workflow_id}-{number}-0",
            contact_id=contact_id,
            workflow_id=workflow_id,
            input_fields=dict(input_fields),
            started_at=self._clock(),
        )
        self._all[execution.callback_id] = execution
        return execution

    def listed(self) -> Sequence[Execution]:
        """All, in order of their beginning; those whose time is over have expired."""
        self._expire()
        return list(self._all.values())

    def get(self, callback_id: str) -> Execution | None:
        """One, or None."""
        self._expire()
        return self._all.get(callback_id)

    def answered(self, execution: Execution, *, status: int | None, body: bytes) -> bool:
        """Take the connector's answer; whether the request has to be repeated."""
        execution.answers.append(status)
        if execution.state != "running":
            return False
        if status is None or status == 429 or status >= 500:
            return True
        if not 200 <= status < 300:
            execution.state, execution.finished_by = "failed", f"answered {status}"
            return False
        try:
            outputs = _outputs(json.loads(body or b"{}"), states=_STATES)
            state = outputs.pop("hs_execution_state", "SUCCESS")
            wait = _seconds(outputs.pop("hs_expiration_duration", None))
        except (ValueError, HubSpotError) as error:
            execution.state, execution.finished_by = "failed", f"invalid answer: {error}"
            return False
        if state in _FINAL:
            self._finish(execution, state, outputs, by="answer")
        else:
            execution.state, execution.expires_at = "waiting", self._clock() + wait
        return False

    def given_up(self, execution: Execution) -> None:
        """No answer within three days."""
        if execution.state == "running":
            execution.state, execution.finished_by = "failed", "no answer for three days"

    def complete(self, callback_id: str, document: Mapping[str, Any]) -> None:
        """The connector tells the outcome.

        Raises:
            HubSpotError: 404, nobody waits for it (any more); 400, its fields are not the action's.

        """
        execution = self.check_completion(callback_id, document)
        outputs = _outputs(document, states=_FINAL)
        state = outputs.pop("hs_execution_state")
        execution.completions += 1
        self._finish(execution, state, outputs, by="callback")

    def check_completion(self, callback_id: str, document: Mapping[str, Any]) -> Execution:
        """The execution that waits for this; raises as `complete` does, and changes nothing."""
        outputs = _outputs(document, states=_FINAL)
        if "hs_execution_state" not in outputs:
            raise refuse("outputFields.hs_execution_state is required to complete a callback.")
        if "typedOutputs" not in document:
            # The 2026-09 specification lists it among the required fields of a completion.
            raise refuse("typedOutputs is required.")
        execution = self.get(callback_id)
        if execution is None or execution.state != "waiting":
            raise not_found("callback not found", callbackId=[callback_id])
        return execution

    def _finish(self, execution: Execution, state: str, outputs: dict[str, str], *, by: str) -> None:
        execution.state = "succeeded" if state == "SUCCESS" else "failed_continue"
        execution.outputs, execution.finished_by = outputs, by

    def _expire(self) -> None:
        now = self._clock()
        for execution in self._all.values():
            if (
                execution.state == "waiting"
                and execution.expires_at is not None
                and execution.expires_at <= now
            ):
                execution.state, execution.finished_by = "expired", "expiry"


def _outputs(document: Any, *, states: frozenset[str]) -> dict[str, str]:
    fields = document.get("outputFields", {}) if isinstance(document, dict) else None
    if not isinstance(fields, dict):
        raise refuse("outputFields must be an object.")
    for name, value in fields.items():
        if not isinstance(value, str):
            raise refuse(f"outputFields.{name} must be a string.")
        if name not in _RESERVED and name not in OUTPUTS:
            raise refuse(f"outputFields.{name} is not an output field of this action.")
        allowed = states if name == "hs_execution_state" else OUTPUTS.get(name)
        if allowed is not None and value not in allowed:
            raise refuse(f"outputFields.{name} must be one of {', '.join(sorted(allowed))}.")
    return dict(fields)


def _seconds(duration: str | None) -> float:
    if duration is None:
        return _WEEK
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"hs_expiration_duration {duration!r} is no ISO 8601 duration")
    return sum(_SECONDS[unit] * int(number) for unit, number in match.groupdict().items() if number)
