"""What all batch endpoints share: one trace id an input, results joined by key, a poison item isolated.

* Results come in any order and e-mails lower-cased: join by key or trace id, never by index.
* A unique `objectWriteTraceId` an input makes a bad item spare the others; without effect (or on a portal that
  refuses the whole batch all the same) the batch is halved until the item stands alone.
* A 2xx with fewer results than inputs is an error: what is missing and not refused is unknown.
  https://developers.hubspot.com/docs/guides/api/crm/understanding-the-crm (multi-status errors)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import (
    HubSpotRefusal,
    absent_property,
    as_connector_error,
    item_failure,
)
from connector.crm.port import Later, Unknown, WriteResult, Written
from connector.errors import ConnectorError, Transient, Uncertain


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchInput:
    """One input: the body HubSpot gets, and the key by which its result is known again."""

    key: str
    body: Mapping[str, Any]


KeyOf = Callable[[Mapping[str, Any]], str | None]
"""The key of a result, read from its properties; None when it cannot be told."""


async def write_batch(
    client: HubSpotClient,
    path: str,
    inputs: Sequence[BatchInput],
    *,
    key_of: KeyOf,
    raise_conflict: bool = False,
) -> dict[str, WriteResult]:
    """Write inputs of distinct keys; one result a key. Failures before anything was written are raised.

    With `raise_conflict` a batch that is refused because a unique value is taken is the caller's to take apart
    (`HubSpotRefusal`); parts of it may have been written then.
    """
    if not inputs:
        return {}
    body = {"inputs": [{**item.body, "objectWriteTraceId": item.key} for item in inputs]}
    try:
        _, answer = await client.call("POST", path, body, writes=True)
    except HubSpotRefusal as refusal:
        if not refusal.is_about_content:
            # No input is at fault: the path is retired, or something in between answers for HubSpot.
            raise as_connector_error(refusal) from refusal
        if raise_conflict and refusal.is_conflict:
            raise
        if len(inputs) == 1:
            return {inputs[0].key: refusal.refused()}
        return await in_halves(
            inputs,
            lambda half: write_batch(client, path, half, key_of=key_of, raise_conflict=raise_conflict),
        )
    return read_answer(answer, inputs, key_of=key_of)


async def in_halves(
    inputs: Sequence[BatchInput], write: Callable[[Sequence[BatchInput]], Awaitable[dict[str, WriteResult]]]
) -> dict[str, WriteResult]:
    """Write the two halves of a refused batch one after the other.

    What the first half became is told also when the second fails: forgotten, its creates would be made again.
    """
    middle = len(inputs) // 2
    results = await write(inputs[:middle])
    try:
        return {**results, **await write(inputs[middle:])}
    except ConnectorError as error:
        return {**results, **{item.key: _not_settled(error) for item in inputs[middle:]}}


def _not_settled(error: ConnectorError) -> WriteResult:
    if isinstance(error, Uncertain):
        return Unknown(reason=error.message)
    return Later(
        reason=error.message, retry_after=error.retry_after if isinstance(error, Transient) else None
    )


def read_answer(
    answer: Mapping[str, Any], inputs: Sequence[BatchInput], *, key_of: KeyOf
) -> dict[str, WriteResult]:
    """Join a batch answer with its inputs."""
    keys = {item.key for item in inputs}
    by_id = {str(item.body["id"]): item.key for item in inputs if "id" in item.body}
    results: dict[str, WriteResult] = {}
    for result in answer.get("results") or ():
        key = result.get("objectWriteTraceId") or key_of(result) or by_id.get(str(result.get("id")))
        if key in keys and result.get("id"):
            results[key] = Written(record_id=str(result["id"]), created=bool(result.get("new")))
    correlation = str(answer.get("correlationId", ""))
    nameless: list[Mapping[str, Any]] = []
    errors = answer.get("errors") or ()
    if not answer.get("results"):
        for error in errors:
            if (absent := absent_property(str(error.get("message", "")))) is not None:
                raise absent
    for error in errors:
        context = error.get("context") or {}
        names = (*context.get("objectWriteTraceId", ()), *context.get("ids", ()))
        named = [by_id.get(name, name) for name in names if name in keys or name in by_id]
        if not named:
            nameless.append(error)
        for key in named:
            results.setdefault(key, item_failure(error, correlation_id=correlation))
    missing = [key for key in keys if key not in results]
    if missing and len(nameless) == len(missing):
        # As many refusals as items without a result: they are refused, whichever is whose.
        for key, error in zip(sorted(missing), nameless, strict=True):
            results[key] = item_failure(error, correlation_id=correlation)
    for key in keys - results.keys():
        results[key] = Unknown(reason="HubSpot's answer names fewer results than it was given items.")
    return results


def property_key(name: str) -> KeyOf:
    """Join by a property's value."""

    def key_of(result: Mapping[str, Any]) -> str | None:
        value = (result.get("properties") or {}).get(name)
        return value if isinstance(value, str) else None

    return key_of
