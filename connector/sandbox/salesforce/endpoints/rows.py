"""`sobjects`: one record a call, by id or by external id, and describe.

https://developer.salesforce.com/docs/platform/api-rest/guide/resources-sobject-retrieve.html.
"""

from __future__ import annotations

from typing import Any

from connector.sandbox.gateway import Answer
from connector.sandbox.salesforce.endpoints.collections import external_id
from connector.sandbox.salesforce.errors import RowError, not_found
from connector.sandbox.salesforce.records import Record
from connector.sandbox.salesforce.routing import Asked, route
from connector.sandbox.salesforce.values import Values, read_values, refuse_unknown


def describe(asked: Asked) -> Answer:
    """GET sobjects/{object}/describe."""
    return Answer(status=200, document=asked.org.table(asked.params["object"]).sobject.describe())


def create(asked: Asked) -> Answer:
    """POST sobjects/{object}."""
    record = asked.org.insert(asked.params["object"], _values(asked), asked.transaction)
    return Answer(status=201, document={"id": record.id, "success": True, "errors": []})


def read(asked: Asked) -> Answer:
    """GET sobjects/{object}/{id}."""
    return Answer(status=200, document=_live(asked).as_json(asked.version))


def change(asked: Asked) -> Answer:
    """PATCH sobjects/{object}/{id}."""
    asked.org.update(asked.params["object"], asked.params["id"], _values(asked), asked.transaction)
    return Answer(status=204)


def remove(asked: Asked) -> Answer:
    """DELETE sobjects/{object}/{id}."""
    asked.org.delete(asked.params["object"], asked.params["id"], asked.transaction)
    return Answer(status=204)


def read_by_key(asked: Asked) -> Answer:
    """GET sobjects/{object}/{field}/{value}."""
    return Answer(status=200, document=_by_key(asked).as_json(asked.version))


def upsert(asked: Asked) -> Answer:
    """PATCH sobjects/{object}/{field}/{value}[?updateOnly=true]."""
    table = asked.org.table(asked.params["object"])
    name = external_id(table, asked.params["field"])
    values = _values(asked)
    if name in values:
        raise RowError(
            code="INVALID_FIELD",
            message=f"The {name} field should not be specified in the sobject data.",
            fields=[name],
        )
    record, created = asked.org.upsert(
        table.sobject.name,
        name,
        {**values, name: asked.params["value"]},
        asked.transaction,
        update_only=asked.first("updateOnly") == "true",
    )
    document = {"id": record.id, "success": True, "errors": [], "created": created}
    return Answer(status=201 if created else 200, document=document)


def remove_by_key(asked: Asked) -> Answer:
    """DELETE sobjects/{object}/{field}/{value}."""
    asked.org.delete(asked.params["object"], _by_key(asked).id, asked.transaction)
    return Answer(status=204)


def limits(asked: Asked) -> Answer:
    """GET limits: what is left of the day."""
    used = asked.params.get("used", "0")
    most = asked.org.config.daily_limit
    document: dict[str, Any] = {"DailyApiRequests": {"Max": most, "Remaining": max(0, most - int(used))}}
    return Answer(status=200, document=document)


def _values(asked: Asked) -> Values:
    sobject = asked.org.table(asked.params["object"]).sobject
    values, unknown = read_values(sobject, asked.body())
    refuse_unknown(sobject, unknown)
    return values


def _live(asked: Asked) -> Record:
    record = asked.org.table(asked.params["object"]).get(asked.params["id"])
    if record is None or record.deleted:
        raise not_found("Provided external ID field does not exist or is not accessible: id")
    return record


def _by_key(asked: Asked) -> Record:
    table = asked.org.table(asked.params["object"])
    record = table.find(external_id(table, asked.params["field"]), asked.params["value"])
    if record is None:
        raise not_found()
    return record


_OBJECT = r"sobjects/(?P<object>\w+)"
_ID = rf"{_OBJECT}/(?P<id>[A-Za-z0-9]{{15}}(?:[A-Za-z0-9]{{3}})?)"
_KEY = rf"{_OBJECT}/(?P<field>\w+)/(?P<value>[^/]+)"

ROUTES = (
    route("GET", r"limits/?", limits),
    route("GET", rf"{_OBJECT}/describe/?", describe),
    route("POST", rf"{_OBJECT}/?", create),
    route("GET", _ID, read),
    route("PATCH", _ID, change),
    route("DELETE", _ID, remove),
    route("GET", _KEY, read_by_key),
    route("PATCH", _KEY, upsert),
    route("DELETE", _KEY, remove_by_key),
)
