"""Messages on the timeline: completed Tasks, upserted by the message id, so that none is ever made twice.

A Task that is created completed locks none of its parents; every update locks its person and their Account.
So changes are few (the writer folds statuses first), and WhoId is said only when a message moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    FindResult,
    Gone,
    Homeless,
    WriteResult,
)
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contacts import living
from connector.crm.salesforce.failures import Kind, RowFailure, refused, row_result
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select_in
from connector.crm.salesforce.rows import RowOutcome, update_rows, upsert_rows
from connector.crm.salesforce.schema import (
    DESCRIPTION_LIMIT,
    DIRECTION,
    MESSAGE_ID,
    MESSAGE_ID_LIMIT,
    SENT_AT,
    STATUS,
    SUBJECT_LIMIT,
)
from connector.crm.salesforce.texts import clean, cut, date_time

COMPLETED = "Completed"
_TASK = "Task"


def message_key(wamid: str) -> str:
    """The external id of a message: its wamid, or a hash of one that does not fit."""
    if len(wamid) <= MESSAGE_ID_LIMIT and wamid == clean(wamid).strip():
        return wamid
    return "sha256:" + hashlib.sha256(wamid.encode("utf-8", "replace")).hexdigest()


def task_values(item: Activity) -> dict[str, Any]:
    """What a Task should say, apart from whom it hangs on."""
    return {
        "Subject": cut(clean(item.subject), SUBJECT_LIMIT),
        "Description": cut(clean(item.body), DESCRIPTION_LIMIT),
        "Status": COMPLETED,
        "ActivityDate": item.at.astimezone(UTC).date().isoformat(),
        STATUS: item.status,
        DIRECTION: item.direction,
        SENT_AT: date_time(item.at),
    }


async def log_activities(client: SalesforceClient, items: Sequence[Activity]) -> list[WriteResult]:
    """Upsert Tasks; one that was there already is `Written(created=False)`."""
    rows = [
        {MESSAGE_ID: message_key(item.wamid), "WhoId": item.contact_record_id, **task_values(item)}
        for item in items
    ]
    outcomes = await upsert_rows(client, _TASK, MESSAGE_ID, rows)
    doubtful = [
        item.contact_record_id
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, RowFailure) and outcome.kind is Kind.HIDDEN
    ]
    alive = await living(client, doubtful) if doubtful else set()
    results: list[WriteResult] = []
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, RowFailure) and outcome.kind is Kind.HIDDEN:
            # The code does not tell whether the person is gone or something else is out of reach.
            known = item.contact_record_id in alive
            results.append(refused(outcome) if known else Gone(reason=outcome.message))
        else:
            results.append(_result(outcome))
    return results


async def update_activities(client: SalesforceClient, items: Sequence[ActivityChange]) -> list[WriteResult]:
    """Update Tasks by record id, and hang those that moved on their new person."""
    rows = []
    for item in items:
        row = {"id": item.record_id, **task_values(item.activity)}
        if item.moved_from:
            row["WhoId"] = item.activity.contact_record_id
        rows.append(row)
    outcomes = await update_rows(client, _TASK, rows)
    absent = [
        item.record_id
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, RowFailure) and _is_absence(outcome)
    ]
    alive = await _tasks_there(client, absent) if absent else set()
    results: list[WriteResult] = []
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, RowFailure) and _is_absence(outcome):
            if item.record_id not in alive:
                results.append(Gone(reason=outcome.message))
            elif item.moved_from:
                # The Task is there, so its new person is not: the next write of that person tells.
                results.append(Homeless(reason=outcome.message))
            else:
                results.append(refused(outcome))
        else:
            results.append(_result(outcome))
    return results


async def find_activities(client: SalesforceClient, items: Sequence[ActivityQuery]) -> list[FindResult]:
    """Record ids of upserts whose answer was lost, None where there is none."""
    soql = f"SELECT Id, {MESSAGE_ID} FROM {_TASK} WHERE {MESSAGE_ID} IN {{}}"  # noqa: S608 - ours
    rows = await select_in(client, soql, [message_key(item.wamid) for item in items])
    found = {row[MESSAGE_ID]: str(row["Id"]) for row in rows}
    return [found.get(message_key(item.wamid)) for item in items]


def _result(outcome: RowOutcome) -> WriteResult:
    return row_result(outcome, keys=(MESSAGE_ID,)) if isinstance(outcome, RowFailure) else outcome


def _is_absence(failure: RowFailure) -> bool:
    return failure.kind in (Kind.GONE, Kind.HIDDEN)


async def _tasks_there(client: SalesforceClient, record_ids: Sequence[str]) -> set[str]:
    rows = await select_in(client, f"SELECT Id FROM {_TASK} WHERE Id IN {{}}", record_ids)  # noqa: S608 - ours
    found = {bare(row["Id"]) for row in rows}
    return {record_id for record_id in record_ids if bare(record_id) in found}
