"""`composite/sobjects`: up to 200 records in one call, one result each, in the order of the request.

https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-sobjects-collections.html.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from connector.sandbox.gateway import Answer
from connector.sandbox.salesforce.errors import RequestError, RowError, malformed
from connector.sandbox.salesforce.records import Table
from connector.sandbox.salesforce.routing import Asked, route
from connector.sandbox.salesforce.values import Values, read_values, refuse_unknown

LIMIT = 200

Write = Callable[[str, Mapping[str, Any], Values], tuple[str, bool]]
"""(object, raw record, values) → (record id, created)."""


def upsert(asked: Asked) -> Answer:
    """PATCH composite/sobjects/{object}/{external id field}: one type a request."""
    table = asked.org.table(asked.params["object"])
    name = external_id(table, unquote(asked.params["field"]))
    records = _records(asked)
    for record in records:
        _refuse_id(record)
        if _type(record).lower() != table.sobject.name.lower():
            raise RequestError(
                status=400,
                code="INVALID_TYPE",
                message=f"The type of every record must be {table.sobject.name}",
            )

    def key(record: Mapping[str, Any]) -> str:
        value = str(_get(record, name))
        return value if table.sobject.fields[name].case_sensitive else value.lower()

    repeated = Counter(key(record) for record in records)

    def write(sobject: str, record: Mapping[str, Any], values: Values) -> tuple[str, bool]:
        if repeated[key(record)] > 1:
            raise RowError(
                code="DUPLICATE_VALUE",
                message=f"Duplicate external id specified: {_get(record, name)}",
                fields=[name],
            )
        written, created = asked.org.upsert(sobject, name, values, asked.transaction)
        return written.id, created

    return _run(asked, records, write, tells_created=True)


def create(asked: Asked) -> Answer:
    """POST composite/sobjects: types may be mixed."""
    records = _records(asked)
    for record in records:
        _refuse_id(record)

    def write(sobject: str, _record: Mapping[str, Any], values: Values) -> tuple[str, bool]:
        return asked.org.insert(sobject, values, asked.transaction).id, True

    return _run(asked, records, write)


def update(asked: Asked) -> Answer:
    """PATCH composite/sobjects: by record id, types may be mixed."""
    records = _records(asked)

    def write(sobject: str, record: Mapping[str, Any], values: Values) -> tuple[str, bool]:
        target = _get(record, "id")
        if not isinstance(target, str):
            raise RowError(code="MISSING_ARGUMENT", message="Id not specified in an update call")
        values.pop("Id", None)
        return asked.org.update(sobject, target, values, asked.transaction).id, False

    return _run(asked, records, write)


def delete(asked: Asked) -> Answer:
    """DELETE composite/sobjects?ids=…: by record id, types may be mixed."""
    ids = [item for item in (asked.first("ids") or "").split(",") if item]
    if not ids or len(ids) > LIMIT:
        raise malformed(f"1 to {LIMIT} ids are allowed in a request")
    prefixes = {table.sobject.prefix: name for name, table in asked.org.tables.items()}
    results = []
    for target in ids:
        try:
            if target[:3] not in prefixes:
                raise RowError(code="MALFORMED_ID", message=f"malformed id {target}", fields=["Id"])
            asked.org.delete(prefixes[target[:3]], target, asked.transaction)
            results.append({"id": target, "success": True, "errors": []})
        except RowError as error:
            results.append({"success": False, "errors": [error.as_row()]})
    all_or_none = (asked.first("allOrNone") or "false") == "true"
    return _finish(asked, results, all_or_none=all_or_none)


def external_id(table: Table, name: str) -> str:
    """The external id field that a path names.

    Raises:
        RequestError: there is none of that name.

    """
    field = table.sobject.find(name)
    if field is None or not field.external_id:
        raise RequestError(
            status=404,
            code="NOT_FOUND",
            message=f"Provided external ID field does not exist or is not accessible: {name}",
        )
    return field.name


def _run(
    asked: Asked, records: Sequence[Mapping[str, Any]], write: Write, *, tells_created: bool = False
) -> Answer:
    read = []
    for record in records:
        table = asked.org.table(_type(record))
        values, unknown = read_values(table.sobject, record)
        if asked.org.config.unknown_field == "request":
            refuse_unknown(table.sobject, unknown)
        read.append((table.sobject.name, record, values, unknown))
    results = []
    for sobject, record, values, unknown in read:
        try:
            if unknown:
                raise RowError(
                    code="INVALID_FIELD",
                    message=f"No such column '{unknown[0]}' on sobject of type {sobject}",
                    fields=[unknown[0]],
                )
            written, created = write(sobject, record, values)
            result: dict[str, Any] = {"id": written, "success": True, "errors": []}
            results.append({**result, "created": created} if tells_created else result)
        except RowError as error:
            results.append({"success": False, "errors": [error.as_row()]})
    body = asked.body()
    return _finish(asked, results, all_or_none=body.get("allOrNone") is True)


def _finish(asked: Asked, results: list[dict[str, Any]], *, all_or_none: bool) -> Answer:
    if all_or_none and not all(result["success"] for result in results):
        asked.transaction.roll_back()
        rolled_back = RowError(
            code="ALL_OR_NONE_OPERATION_ROLLED_BACK",
            message="Record rolled back because not all records were valid and the request was using "
            "AllOrNone header",
        ).as_row()
        results = [
            {"success": False, "errors": [rolled_back]} if result["success"] else result for result in results
        ]
    return Answer(status=200, document=results)


def _records(asked: Asked) -> Sequence[Mapping[str, Any]]:
    body = asked.body()
    records = body.get("records")
    if not isinstance(records, list) or not records or not all(isinstance(item, dict) for item in records):
        raise malformed("records: a list of objects is required")
    if len(records) > LIMIT:
        raise RequestError(
            status=400,
            code="EXCEEDED_MAX_SIZE_REQUEST",
            message=f"Maximum number of records allowed in a request is {LIMIT}",
        )
    return records


def _type(record: Mapping[str, Any]) -> str:
    attributes = record.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if not isinstance(name, str):
        raise RequestError(
            status=400, code="INVALID_INPUT", message="The value of attributes.type is required"
        )
    return name


def _refuse_id(record: Mapping[str, Any]) -> None:
    if _get(record, "id") is not None:
        raise RequestError(
            status=400, code="INVALID_FIELD", message="cannot specify Id in an insert or upsert call"
        )


def _get(record: Mapping[str, Any], name: str) -> Any:
    return next((value for key, value in record.items() if key.lower() == name.lower()), None)


ROUTES = (
    route("POST", r"composite/sobjects/?", create),
    route("PATCH", r"composite/sobjects/?", update),
    route("DELETE", r"composite/sobjects/?", delete),
    route("PATCH", r"composite/sobjects/(?P<object>\w+)/(?P<field>\w+)/?", upsert),
)
