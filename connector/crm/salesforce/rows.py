"""Collections: up to 200 records in one call, one result each in the order of the request.

https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections.html.
Without allOrNone a bad record spares the others, so only failed ones are tried again. What Salesforce cannot
even parse refuses the whole call: it is halved until the record stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.port import Unknown, Written
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import (
    Kind,
    RowFailure,
    SalesforceRefusal,
    refuse_all,
    row_failure,
)

LIMIT = 200

RowOutcome = Written | Unknown | RowFailure


async def upsert_rows(
    client: SalesforceClient, sobject: str, key: str, rows: Sequence[Mapping[str, Any]]
) -> list[RowOutcome]:
    """Upsert records of distinct external ids, which stand in the records.

    Raises:
        Terminal: not the records are at fault but the org's set-up: none of them passes.

    """
    return await _write(client, f"composite/sobjects/{sobject}/{key}", sobject, rows)


async def update_rows(
    client: SalesforceClient, sobject: str, rows: Sequence[Mapping[str, Any]]
) -> list[RowOutcome]:
    """Update records by their `id`."""
    return await _write(client, "composite/sobjects", sobject, rows)


async def _write(
    client: SalesforceClient, path: str, sobject: str, rows: Sequence[Mapping[str, Any]]
) -> list[RowOutcome]:
    if not rows:
        return []
    body = {
        "allOrNone": False,
        "records": [{"attributes": {"type": sobject}, **row} for row in rows],
    }
    try:
        answer = await client.call("PATCH", path, body, writes=True)
    except SalesforceRefusal as refusal:
        if len(rows) == 1:
            return [RowFailure(code=refusal.code, message=refusal.message)]
        middle = len(rows) // 2
        first = await _write(client, path, sobject, rows[:middle])
        return [*first, *await _write(client, path, sobject, rows[middle:])]
    if not isinstance(answer, list) or len(answer) != len(rows):
        # Results are told apart by their place alone: with one missing, no place is certain.
        named = len(answer) if isinstance(answer, list) else 0
        reason = f"Salesforce answered {named} results for {len(rows)} records."
        return [Unknown(reason=reason, passed_over=True, under_way=False)] * len(rows)
    outcomes = [_outcome(result) for result in answer]
    if all(isinstance(item, RowFailure) and item.kind in (Kind.SETUP, Kind.STOPPED) for item in outcomes):
        failure = outcomes[0]
        assert isinstance(failure, RowFailure)
        raise refuse_all(failure)
    return outcomes


def _outcome(result: Any) -> RowOutcome:
    if isinstance(result, dict):
        if result.get("success") and result.get("id"):
            return Written(record_id=str(result["id"]), created=bool(result.get("created")))
        failure = row_failure(result.get("errors"))
        if failure is not None:
            return failure
    return Unknown(
        reason="Salesforce's result names neither a record nor an error.", passed_over=True, under_way=False
    )
