"""People: Contact or Lead by our key. Names are said once, deleted and converted records are followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from connector.crm.port import ContactUpsert, Gone, Later, Refused, Unknown, WriteResult, Written
from connector.crm.properties import PropertyValue
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import Kind, RowFailure, row_result
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select_in
from connector.crm.salesforce.rows import RowOutcome, update_rows, upsert_rows
from connector.crm.salesforce.schema import CONTACT_KEY, TEXT_LIMIT, TEXT_LIMITS
from connector.crm.salesforce.successors import (
    Successor,
    object_of,
    successors_of_keys,
    successors_of_records,
)
from connector.crm.salesforce.texts import clean, cut, date_time

Row = dict[str, Any]

LENGTHS: Mapping[str, int] = {name.lower(): length for name, length in TEXT_LIMITS.items()}
"""What a new org says."""

_CONVERTED = "CANNOT_UPDATE_CONVERTED_LEAD"


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """Which object people are. `company`: said of a Lead, which needs one.

    `lengths`: field, in lower case → most characters, as the org says.
    """

    sobject: str
    company: str
    lengths: Mapping[str, int] = field(default_factory=lambda: LENGTHS)


def person_values(item: ContactUpsert, people: People) -> Row:
    """What a person's record should say: what the mapping makes of its facts, and our key."""
    return {**_row(item.said, people), CONTACT_KEY: item.key}


def first_values(item: ContactUpsert, people: People) -> Row:
    """What is said when the record is made and never again: people correct it afterwards."""
    row = _row(item.once, people)
    if people.sobject == "Lead":
        row.setdefault("Company", cut(people.company, TEXT_LIMITS["Company"]))
    # A name of letters that Salesforce does not take would leave the person without one.
    return row if row.get("LastName") else {**row, "LastName": item.key}


def _row(values: Mapping[str, PropertyValue], people: People) -> Row:
    return {
        name: _value(value, people.lengths.get(name.lower(), TEXT_LIMIT)) for name, value in values.items()
    }


def _value(value: PropertyValue, length: int) -> PropertyValue:
    """A value as JSON carries it; None clears the field."""
    if isinstance(value, str):
        return cut(clean(value).strip(), length) or None
    if isinstance(value, datetime):
        return date_time(value)
    return value.isoformat() if isinstance(value, date) else value


async def upsert_contacts(
    client: SalesforceClient, items: Sequence[ContactUpsert], people: People
) -> list[WriteResult]:
    """Update the records that are known, by id, and upsert the rest by our key."""
    outcomes: dict[str, RowOutcome] = {}
    by_id = [(item, item.record_id) for item in items if item.record_id is not None]
    outcomes |= await _update(client, by_id, people)
    # Our key is on another record: that one is the person's, made by a write whose answer was lost.
    elsewhere = [item for item, _ in by_id if _is_keyed_elsewhere(outcomes[item.key])]
    by_key = [*(item for item in items if item.record_id is None), *elsewhere]
    unseen = [item.key for item in by_key if item.is_new]
    there = await _records_there(client, people.sobject, unseen)
    named = {key for key in unseen if key not in there}
    rows = [
        person_values(item, people) | (first_values(item, people) if item.key in named else {})
        for item in by_key
    ]
    written = await upsert_rows(client, people.sobject, CONTACT_KEY, rows)
    outcomes |= {item.key: outcome for item, outcome in zip(by_key, written, strict=True)}
    results: dict[str, WriteResult] = {}
    left: dict[str, RowFailure] = {}
    for item in items:
        outcome = outcomes[item.key]
        if isinstance(outcome, RowFailure) and _has_left(outcome, item):
            left[item.key] = outcome
        elif isinstance(outcome, RowFailure):
            results[item.key] = _result(outcome, keys=(CONTACT_KEY,) if item.record_id is None else ())
        else:
            results[item.key] = outcome
    results |= await _follow(client, [item for item in items if item.key in left], left, people)
    return [results[item.key] for item in items]


async def find_contact(client: SalesforceClient, sobject: str, key: str) -> str | None:
    """The record with our key, or the one that it went to."""
    there = await _records_there(client, sobject, [key])
    if key in there and await living(client, [there[key]]):
        return there[key]
    successor = (await successors_of_keys(client, sobject, [key])).get(key)
    return successor.record_id if successor is not None and successor.key in ("", key) else None


async def living(client: SalesforceClient, record_ids: Sequence[str]) -> set[str]:
    """Those records of people that are there, that we may see, and that take tasks."""
    found: set[str] = set()
    for sobject in sorted({object_of(record_id) for record_id in record_ids}):
        unconverted = " AND IsConverted = false" if sobject == "Lead" else ""
        soql = f"SELECT Id FROM {sobject} WHERE Id IN {{}}{unconverted}"  # noqa: S608 - ours
        wanted = [record_id for record_id in record_ids if object_of(record_id) == sobject]
        found |= {bare(row["Id"]) for row in await select_in(client, soql, wanted)}
    return {record_id for record_id in record_ids if bare(record_id) in found}


async def _records_there(client: SalesforceClient, sobject: str, keys: Sequence[str]) -> dict[str, str]:
    """Key → record. Who is not known to us may still be there: an answer was lost, or our tables are rebuilt.

    Only what is said depends on it; the upsert by key alone keeps people from being doubled.
    """
    soql = f"SELECT Id, {CONTACT_KEY} FROM {sobject} WHERE {CONTACT_KEY} IN {{}}"  # noqa: S608 - ours
    return {row[CONTACT_KEY]: row["Id"] for row in await select_in(client, soql, keys)}


def _is_keyed_elsewhere(outcome: RowOutcome) -> bool:
    return (
        isinstance(outcome, RowFailure)
        and outcome.code == "DUPLICATE_VALUE"
        and CONTACT_KEY in (*outcome.fields, *outcome.message.split())
    )


def _has_left(failure: RowFailure, item: ContactUpsert) -> bool:
    """The record that we knew is not there any more. An upsert by key would have to make one, without a name."""
    if item.record_id is not None:
        return failure.kind in (Kind.GONE, Kind.HIDDEN)
    if failure.code == "REQUIRED_FIELD_MISSING":
        return "LastName" in failure.fields
    return failure.code == _CONVERTED


async def _follow(
    client: SalesforceClient,
    items: Sequence[ContactUpsert],
    failures: Mapping[str, RowFailure],
    people: People,
) -> dict[str, WriteResult]:
    """Write people to the records that theirs went to; who has none is `Gone` and is made anew."""
    if not items:
        return {}
    by_key = [item.key for item in items if item.record_id is None]
    found = await successors_of_keys(client, people.sobject, by_key)
    by_id = {item.record_id: item.key for item in items if item.record_id is not None}
    moved = await successors_of_records(client, list(by_id))
    found |= {by_id[record_id]: successor for record_id, successor in moved.items()}
    results: dict[str, WriteResult] = {}
    ours: list[tuple[ContactUpsert, str]] = []
    for item in items:
        successor: Successor | None = found.get(item.key)
        if successor is None and failures[item.key].code == _CONVERTED:
            # The Lead holds the key for ever, so no new one can be made, and somebody deleted the Contact.
            results[item.key] = Refused(
                cause="salesforce_converted_contact_deleted",
                reason="The person's Lead was converted and its Contact is not in the org any more.",
                advice="undelete the Contact, or delete the converted Lead",
            )
        elif successor is None:
            results[item.key] = Gone(reason="The person's record was deleted.")
        elif successor.key in ("", item.key) or item.record_id is not None:
            ours.append((item, successor.record_id))
        else:
            # Two people of ours were merged by hand: the record goes on saying what the other one says.
            results[item.key] = Written(record_id=successor.record_id)
    for key, outcome in (await _update(client, ours, people)).items():
        results[key] = _result(outcome) if isinstance(outcome, RowFailure) else outcome
    return results


def _result(failure: RowFailure, *, keys: Sequence[str] = ()) -> WriteResult:
    """`Gone` is said of a person only after looking for where the record went; until then it is tried again."""
    result = row_result(failure, keys=keys)
    return Later(reason=result.reason) if isinstance(result, Gone) else result


async def _update(
    client: SalesforceClient, items: Sequence[tuple[ContactUpsert, str]], people: People
) -> dict[str, Written | Unknown | RowFailure]:
    outcomes: dict[str, RowOutcome] = {}
    for sobject in sorted({object_of(record_id) for _, record_id in items}):
        chosen = [(item, record_id) for item, record_id in items if object_of(record_id) == sobject]
        rows: list[Mapping[str, Any]] = [
            {"id": record_id, **person_values(item, people)} for item, record_id in chosen
        ]
        written = await update_rows(client, sobject, rows)
        outcomes |= {item.key: outcome for (item, _), outcome in zip(chosen, written, strict=True)}
    return outcomes
