"""Salesforce's error answers: a list of {message, errorCode} for a call, {statusCode, message, fields} for a row.

https://developer.salesforce.com/docs/platform/api-rest/guide/errorcodes.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, eq=False)  # not frozen: Python writes tracebacks on exceptions
class RequestError(Exception):
    """The whole request is refused and nothing was done."""

    status: int
    code: str
    message: str

    def document(self) -> list[dict[str, Any]]:
        """The answer's body."""
        return [{"message": self.message, "errorCode": self.code}]


@dataclass(kw_only=True, eq=False)
class RowError(Exception):
    """One record is refused."""

    code: str
    message: str
    fields: Sequence[str] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    status: int = 400
    """HTTP status where the record is the whole request."""

    def as_row(self) -> dict[str, Any]:
        """The error within a row of a Collections answer."""
        return {
            "statusCode": self.code,
            "message": self.message,
            "fields": list(self.fields),
            **self.extra,
        }

    def document(self) -> list[dict[str, Any]]:
        """The body where the record is the whole request."""
        return [
            {
                "message": self.message,
                "errorCode": self.code,
                "fields": list(self.fields),
                **self.extra,
            }
        ]


def malformed(message: str) -> RequestError:
    """The body is not what the endpoint takes."""
    return RequestError(status=400, code="JSON_PARSER_ERROR", message=message)


def not_found(message: str = "The requested resource does not exist") -> RequestError:
    """No such resource."""
    return RequestError(status=404, code="NOT_FOUND", message=message)


def unknown_column(name: str, sobject: str) -> RequestError:
    """A field that does not exist, or that the user may not see."""
    return RequestError(
        status=400, code="INVALID_FIELD", message=f"No such column '{name}' on sobject of type {sobject}"
    )


def locked() -> RowError:
    """Another transaction holds the record or one of its parents."""
    return RowError(
        code="UNABLE_TO_LOCK_ROW", message="unable to obtain exclusive access to this record or 1 records"
    )


def deleted() -> RowError:
    """The record is in the recycle bin."""
    return RowError(code="ENTITY_IS_DELETED", message="entity is deleted", status=404)


def converted() -> RowError:
    """A converted Lead takes no changes and no tasks."""
    return RowError(code="CANNOT_UPDATE_CONVERTED_LEAD", message="cannot reference converted lead")


def bad_reference(name: str = "") -> RowError:
    """An id that leads nowhere."""
    return RowError(
        code="INVALID_CROSS_REFERENCE_KEY",
        message="invalid cross reference id",
        fields=[name] if name else [],
        status=404,
    )
