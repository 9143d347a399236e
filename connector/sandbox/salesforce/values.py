"""A record's values: read from JSON by the field's type, and checked against its limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connector.sandbox.salesforce.catalog import Field, SObject
from connector.sandbox.salesforce.errors import RequestError, RowError, malformed, unknown_column

Values = dict[str, str | bool | None]

_TEXTS = frozenset({"string", "textarea", "phone", "email", "combobox", "picklist", "reference", "id"})
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?(Z|[+-]\d\d:?\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def read_values(sobject: SObject, document: Mapping[str, Any]) -> tuple[Values, list[str]]:
    """The values of a record as the API takes it, and the names that are no field of the object.

    Raises:
        RequestError: a value is not of its field's type.

    """
    values: Values = {}
    unknown = []
    for name, value in document.items():
        if name == "attributes":
            continue
        field = sobject.find(name)
        if field is None:
            unknown.append(name)
        else:
            values[field.name] = _read(field, value)
    return values, unknown


def _read(field: Field, value: Any) -> str | bool | None:
    if value is None or value == "":
        return None
    if field.type == "boolean":
        if not isinstance(value, bool):
            raise _cannot_read("boolean", value)
        return value
    if not isinstance(value, str):
        raise _cannot_read("string" if field.type in _TEXTS else field.type, value)
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise malformed("Unexpected character: a surrogate without its other half")
    if field.type == "datetime":
        return _date_time(value)
    if field.type == "date":
        if not _DATE.fullmatch(value):
            raise _cannot_read("date", value)
        try:
            datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise _cannot_read("date", value) from None
        return value
    return value.strip() or None if field.type != "textarea" else value


def _date_time(value: str) -> str:
    if not _DATE_TIME.fullmatch(value):
        raise _cannot_read("datetime", value)
    try:
        return wire_time(datetime.fromisoformat(value))
    except ValueError:
        raise _cannot_read("datetime", value) from None


def wire_time(value: datetime) -> str:
    """A time as the API shows it: UTC, milliseconds, +0000."""
    value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}+0000"


def _cannot_read(kind: str, value: Any) -> RequestError:
    source = "VALUE_STRING" if isinstance(value, str) else "VALUE_NUMBER_INT"
    return malformed(
        f"Cannot deserialize instance of {kind} from {source} value {value} or request may be missing a "
        "required field at [line:1, column:2]"
    )


def refuse_unknown(sobject: SObject, names: list[str]) -> None:
    """Raise when a name is no field of the object."""
    if names:
        raise unknown_column(names[0], sobject.name)


def check_writable(sobject: SObject, values: Values, *, creates: bool) -> None:
    """Raise `RowError` when a field may not be written by this user, or its value is too long."""
    blocked = [
        name
        for name in values
        if not (sobject.fields[name].createable if creates else sobject.fields[name].updateable)
    ]
    if blocked:
        raise RowError(
            code="INVALID_FIELD_FOR_INSERT_UPDATE",
            message=f"Unable to create/update fields: {', '.join(blocked)}. Please check the security settings "
            "of this field and verify that it is read/write for your profile or permission set.",
            fields=blocked,
        )
    for name, value in values.items():
        field = sobject.fields[name]
        if field.length and isinstance(value, str) and len(value) > field.length:
            raise RowError(
                code="STRING_TOO_LONG",
                message=f"{field.label or name}: data value too large: {value[:100]} (max length={field.length})",
                fields=[name],
            )


def check_required(sobject: SObject, values: Mapping[str, Any], extra: frozenset[str]) -> None:
    """Raise `RowError` when a required field has no value."""
    missing = [
        field.name
        for field in sobject.fields.values()
        if (field.required or f"{sobject.name}.{field.name}" in extra) and not values.get(field.name)
    ]
    if missing:
        raise RowError(
            code="REQUIRED_FIELD_MISSING",
            message=f"Required fields are missing: [{', '.join(missing)}]",
            fields=missing,
        )
