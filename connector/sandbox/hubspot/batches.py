"""What the batch endpoints share: reading inputs, all-or-nothing against partial success, answers.

developers.hubspot.com/docs/guides/api/crm/understanding-the-crm and the batch endpoints' reference
(objectWriteTraceId, "multi-status errors"); which failures spare the rest is observed on live portals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.sandbox.hubspot.errors import HubSpotError, Problem, refuse

OBJECT_LIMIT = 100
"""Inputs of an object batch (documented)."""
HISTORY_LIMIT = 50
"""Inputs of a batch read with propertiesWithHistory (observed: HubSpot's message names the number)."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One record of a batch request."""

    place: int
    id: str | None = None
    id_property: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    associations: Sequence[Mapping[str, Any]] = ()
    trace_id: str | None = None


@dataclass(kw_only=True)
class Outcome:
    """What a batch did: `errors` non-empty means that it failed in part."""

    results: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    success_status: int = 200


def read_inputs(document: Any, *, limit: int = OBJECT_LIMIT) -> list[Input]:
    """Return a request's inputs.

    Raises:
        HubSpotError: 400, the body is not a batch, is empty, or is too large.

    """
    raw = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(raw, list) or not raw:
        raise refuse("Invalid input JSON on line 1, column 1: Some required fields were not set: [inputs]")
    if len(raw) > limit:
        raise refuse(
            f"The maximum number of inputs supported in a batch request is {limit}. "
            "Please reduce the number of items and try again."
        )
    return [_read_input(place, item) for place, item in enumerate(raw)]


def _read_input(place: int, item: Any) -> Input:
    if not isinstance(item, dict):
        raise refuse(f"Invalid input JSON: input {place} is not an object.")
    properties = item.get("properties", {})
    if not isinstance(properties, dict):
        raise refuse(f"Invalid input JSON: `properties` of input {place} is not an object.")
    record_id = item.get("id")
    if record_id is not None and not isinstance(record_id, str):
        raise refuse(f"Invalid input JSON: `id` of input {place} is not a string.")
    return Input(
        place=place,
        id=record_id,
        id_property=item.get("idProperty"),
        properties=properties,
        associations=item.get("associations") or (),
        trace_id=item.get("objectWriteTraceId"),
    )


def require_ids(inputs: Iterable[Input]) -> None:
    """Check that every input has an id.

    Raises:
        HubSpotError: 400, one has none.

    """
    if any(not item.id for item in inputs):
        raise refuse("Invalid input JSON on line 1: Some required fields were not set: [id]")


def refuse_repeated_ids(inputs: Iterable[Input], *, fold_case: bool) -> None:
    """Check that no id is named twice; trace ids do not help (observed on live portals).

    Raises:
        HubSpotError: 400 for the whole batch, naming the repeated ids.

    """
    seen: set[str] = set()
    repeated: list[str] = []
    for item in inputs:
        key = (item.id or "").lower() if fold_case else item.id or ""
        if key in seen and key not in repeated:
            repeated.append(key)
        seen.add(key)
    if repeated:
        listed = ", ".join(repeated)
        raise refuse(
            f"Duplicate IDs found in batch input: [{listed}]. IDs must be unique",
            ids=repeated,
        )


def allows_partial_success(inputs: Sequence[Input], *, id_property: str | None = None) -> bool:
    """Whether bad records of this batch spare the good ones.

    They do when every input carries an objectWriteTraceId of its own (documented for batch create,
    observed for upsert), and never for upserts with idProperty=email (documented).
    """
    traces = [item.trace_id for item in inputs]
    return id_property != "email" and all(traces) and len(set(traces)) == len(traces)


def settle(
    inputs: Sequence[Input], problems: Mapping[int, Problem], *, id_property: str | None = None
) -> list[dict[str, Any]]:
    """Return the batch answer's errors for the refused inputs.

    Raises:
        HubSpotError: the batch has no partial success: the first problem refuses all of it.

    """
    if not problems:
        return []
    if not allows_partial_success(inputs, id_property=id_property):
        raise HubSpotError(problems[min(problems)])
    return [problems[place].item(trace_id=inputs[place].trace_id) for place in sorted(problems)]
