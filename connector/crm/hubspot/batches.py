"""What all batch endpoints share: one trace id an input, results joined by key, a poison item isolated.

* Results come in any order and e-mails lower-cased: join by key or trace id, never by index.
* A unique `objectWriteTraceId` an input makes a bad item spare the others; without effect (or on a portal that
  refuses the whole batch all the same) the item is found by halves: seven calls among a hundred, and one for the rest.
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

    async def send(batch: Sequence[BatchInput]) -> dict[str, WriteResult] | HubSpotRefusal:
        body = {"inputs": [{**item.body, "objectWriteTraceId": item.key} for item in batch]}
        try:
            _, answer = await client.call("POST", path, body, writes=True)
        except HubSpotRefusal as refusal:
            if not refusal.is_about_content:
                # No input is at fault: the path is retired, or something in between answers for HubSpot.
                raise as_connector_error(refusal) from refusal
            if raise_conflict and refusal.is_conflict:
                raise
            return refusal
        return read_answer(answer, batch, key_of=key_of)

    async def send_in_halves(batch: Sequence[BatchInput]) -> dict[str, WriteResult]:
        outcome = await send(batch)
        if not isinstance(outcome, HubSpotRefusal):
            return outcome
        if len(batch) == 1:
            return {batch[0].key: outcome.result()}
        # Too large together says nothing about an item: each is blamed only for what it did alone.
        return await (in_halves(batch, send_in_halves) if outcome.is_size else _isolate(batch, outcome, send))

    return await send_in_halves(inputs)


async def _isolate(
    inputs: Sequence[BatchInput],
    refusal: HubSpotRefusal,
    send: Callable[[Sequence[BatchInput]], Awaitable[dict[str, WriteResult] | HubSpotRefusal]],
) -> dict[str, WriteResult]:
    """Find the items for which these inputs were refused together, and write the others.

    Of a refused batch whose one half passed, the other half is at fault and is not tried as a whole; when it is one
    item, the refusal is its own. What was written is told also when a later call fails: forgotten, its creates would
    be made again.
    """
    results: dict[str, WriteResult] = {}
    refused: Sequence[BatchInput] = inputs
    while refused:
        suspects, untried = list(refused), list[BatchInput]()
        while len(suspects) > 1:
            middle = len(suspects) // 2
            outcome = await _try(suspects[:middle], send, results, inputs)
            if outcome is None:
                return results
            if isinstance(outcome, HubSpotRefusal):
                refusal = outcome
                suspects, untried = suspects[:middle], [*suspects[middle:], *untried]
            else:
                results |= outcome
                suspects = suspects[middle:]
        results[suspects[0].key] = refusal.result()
        refused = []
        if untried:
            outcome = await _try(untried, send, results, inputs)
            if outcome is None:
                return results
            if isinstance(outcome, HubSpotRefusal):
                refusal, refused = outcome, untried
            else:
                results |= outcome
    return results


async def _try(
    batch: Sequence[BatchInput],
    send: Callable[[Sequence[BatchInput]], Awaitable[dict[str, WriteResult] | HubSpotRefusal]],
    results: dict[str, WriteResult],
    inputs: Sequence[BatchInput],
) -> dict[str, WriteResult] | HubSpotRefusal | None:
    """Send a part. When that fails after others were settled, settle it and what was not sent, and give up: None."""
    try:
        return await send(batch)
    except ConnectorError as error:
        if not results:
            raise
        sent = {item.key for item in batch}
        later = Later(reason=error.message, retry_after=_retry_after(error))
        for item in inputs:
            if item.key not in results:
                results[item.key] = _not_settled(error) if item.key in sent else later
        return None


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
        return Unknown(reason=error.message, under_way=error.under_way)
    return Later(reason=error.message, retry_after=_retry_after(error))


def _retry_after(error: ConnectorError) -> float | None:
    return error.retry_after if isinstance(error, Transient) else None


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
        results[key] = Unknown(
            reason="HubSpot's answer names fewer results than it was given items.",
            passed_over=True,
            under_way=False,
        )
    return results


def property_key(name: str) -> KeyOf:
    """Join by a property's value."""

    def key_of(result: Mapping[str, Any]) -> str | None:
        value = (result.get("properties") or {}).get(name)
        return value if isinstance(value, str) else None

    return key_of
