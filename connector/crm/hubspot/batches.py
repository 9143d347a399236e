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
from connector.crm.hubspot.failures import HubSpotRefusal, item_failure
from connector.crm.port import Unknown, WriteResult, Written


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchInput:
    """One input: the body HubSpot gets, and the key by which its result is known again."""

    key: str
    body: Mapping[str, Any]


KeyOf = Callable[[Mapping[str, Any]], str | None]
"""The key of a result, read from its properties; None when it cannot be told."""


async def write_batch(
    client: HubSpotClient, path: str, inputs: Sequence[BatchInput], *, key_of: KeyOf
) -> dict[str, WriteResult]:
    """Write inputs of distinct keys; one result a key. Whole-call failures are raised."""
    if not inputs:
        return {}
    body = {"inputs": [{**item.body, "objectWriteTraceId": item.key} for item in inputs]}
    try:
        _, answer = await client.call("POST", path, body, writes=True)
    except HubSpotRefusal as refusal:
        if refusal.is_conflict:
            raise
        if len(inputs) == 1:
            return {inputs[0].key: refusal.refused()}
        return await in_halves(inputs, lambda half: write_batch(client, path, half, key_of=key_of))
    return read_answer(answer, inputs, key_of=key_of)


async def in_halves(
    inputs: Sequence[BatchInput], write: Callable[[Sequence[BatchInput]], Awaitable[dict[str, WriteResult]]]
) -> dict[str, WriteResult]:
    """Write the two halves of a refused batch one after the other."""
    middle = len(inputs) // 2
    results = await write(inputs[:middle])
    return {**results, **await write(inputs[middle:])}


def read_answer(
    answer: Mapping[str, Any], inputs: Sequence[BatchInput], *, key_of: KeyOf
) -> dict[str, WriteResult]:
    """Join a batch answer with its inputs."""
    keys = {item.key for item in inputs}
    results: dict[str, WriteResult] = {}
    for result in answer.get("results") or ():
        key = result.get("objectWriteTraceId") or key_of(result)
        if key in keys and result.get("id"):
            results[key] = Written(record_id=str(result["id"]), created=bool(result.get("new")))
    correlation = str(answer.get("correlationId", ""))
    nameless: list[Mapping[str, Any]] = []
    for error in answer.get("errors") or ():
        context = error.get("context") or {}
        named = [
            key for key in (*context.get("objectWriteTraceId", ()), *context.get("ids", ())) if key in keys
        ]
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
