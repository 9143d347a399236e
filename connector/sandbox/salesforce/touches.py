"""Which people a request writes, which rows it locks, and which keys it would make.

For the journal, a Task is a write of the person it hangs on: two such requests in flight at once are an offence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connector.sandbox.gateway import Exchange
from connector.sandbox.salesforce.ids import normal
from connector.sandbox.salesforce.org import Org
from connector.sandbox.salesforce.records import Record, Table

_WRITES = re.compile(
    r"/services/data/v[\d.]+/(?:"
    r"composite/sobjects(?:/(?P<object>\w+)/(?P<field>\w+))?"
    r"|sobjects/(?P<single>\w+)(?:/(?P<id>[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)|/(?P<name>\w+)/(?P<value>[^/]+))?"
    r")/?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record that a request writes: what it says, and what is there. `key`: its external id, (field, value)."""

    table: Table
    document: Mapping[str, Any]
    record: Record | None
    key: tuple[str, str] | None

    @property
    def is_person(self) -> bool:
        """Whether it is a Contact or a Lead."""
        return self.table.sobject.name in ("Contact", "Lead")


def rows_written(org: Org, exchange: Exchange) -> list[Row]:
    """The rows of a writing request; none of a reading or malformed one."""
    match = _WRITES.fullmatch(exchange.path)
    if match is None or exchange.method == "GET":
        return []
    return list(_rows(org, exchange, match))


def people_written(rows: list[Row]) -> set[str]:
    """The record ids of the people written, themselves or through a task; one not there yet is `field=value`."""
    people: set[str] = set()
    for row in rows:
        if row.is_person:
            people |= {f"{row.key[0]}={row.key[1]}"} if row.key else set()
            people |= {row.record.id} if row.record else set()
        elif row.table.sobject.name == "Task":
            parents = [row.document.get("WhoId"), row.record.values.get("WhoId") if row.record else None]
            people |= {normal(parent) for parent in parents if isinstance(parent, str)}
    return people


def locks_wanted(org: Org, rows: list[Row], *, deletes: bool) -> set[str]:
    """The rows that the request locks."""
    wanted: set[str] = set()
    for row in rows:
        wanted |= org.locks_of(row.table.sobject.name, row.record, row.document, deletes=deletes)
    return wanted


def keys_made(rows: list[Row]) -> set[tuple[str, str, str]]:
    """(object, field, value) of the external ids that nobody holds yet."""
    return {(row.table.sobject.name, *row.key) for row in rows if row.key and row.record is None}


def _rows(org: Org, exchange: Exchange, match: re.Match[str]) -> Iterator[Row]:
    if match["single"]:
        table = org.tables.get(match["single"])
        if table is not None:
            bodies = _documents(exchange, single=True)
            own_key = (match["name"], match["value"]) if match["name"] else None
            yield _row(table, bodies[0] if bodies else {}, record_id=match["id"], key=own_key)
        return
    if exchange.method == "DELETE":
        for record_id in ",".join(exchange.query.get("ids", [])).split(","):
            found = next((table for table in org.tables.values() if table.get(record_id)), None)
            if found is not None:
                yield _row(found, {}, record_id=record_id, key=None)
        return
    for document in _documents(exchange, single=False):
        attributes = document.get("attributes")
        kind = attributes.get("type") if isinstance(attributes, dict) else None
        table = org.tables.get(match["object"] or str(kind))
        if table is None:
            continue
        own_id = document.get("id", document.get("Id"))
        value = document.get(match["field"]) if match["field"] else None
        key = (match["field"], value) if isinstance(value, str) else None
        yield _row(table, document, record_id=own_id if isinstance(own_id, str) else None, key=key)


def _row(
    table: Table, document: Mapping[str, Any], *, record_id: str | None, key: tuple[str, str] | None
) -> Row:
    record = table.get(record_id) if record_id else None
    field = table.sobject.find(key[0]) if key else None
    if key is not None and field is not None and field.unique:
        key = (field.name, key[1])
        record = table.find(*key)
    elif key is not None:
        key = None
    return Row(table=table, document=document, record=record, key=key)


def _documents(exchange: Exchange, *, single: bool) -> list[dict[str, Any]]:
    try:
        document = exchange.document if exchange.body else {}
    except ValueError:
        return []
    if not isinstance(document, dict):
        return []
    if single:
        return [document]
    records = document.get("records")
    return [item for item in records if isinstance(item, dict)] if isinstance(records, list) else []
