"""SOQL conditions: what they are, and whether a record meets them.

https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_conditionexpression.htm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.sandbox.salesforce.catalog import Field, SObject
from connector.sandbox.salesforce.errors import RequestError
from connector.sandbox.salesforce.ids import normal
from connector.sandbox.salesforce.records import Record

Literal = str | bool | int | None
Test = Callable[[Record], bool]

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NO_TEXT = frozenset({"id", "reference", "boolean", "date", "datetime"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """`field` is (or is not) one of `values`, or like the only one. `order`: >= or < the only one, which is a time."""

    field: str
    values: Sequence[Literal]
    negated: bool = False
    like: bool = False
    order: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Conditions of which all, or any one, must hold."""

    parts: Sequence[Condition | Group]
    any: bool = False


def test_of(sobject: SObject, part: Condition | Group) -> Test:
    """The test of a record.

    Raises:
        RequestError: a field is not there for this user, or does not take the operator.

    """
    if isinstance(part, Group):
        tests = [test_of(sobject, inner) for inner in part.parts]
        if part.any:
            return lambda record: any(test(record) for test in tests)
        return lambda record: all(test(record) for test in tests)
    field = sobject.fields[field_name(sobject, part.field)]
    if part.order:
        return _in_order(field, part)
    return _like(field, str(part.values[0])) if part.like else _one_of(field, part)


def field_name(sobject: SObject, name: str) -> str:
    """A field's own name; case does not matter.

    Raises:
        RequestError: there is none of that name.

    """
    found = sobject.find(name)
    if found is None:
        raise RequestError(
            status=400,
            code="INVALID_FIELD",
            message=f"No such column '{name}' on entity '{sobject.name}'. If you are attempting to use a custom "
            "field, be sure to append the '__c' after the custom field name.",
        )
    return found.name


def _one_of(field: Field, condition: Condition) -> Test:
    def same(value: Literal) -> Literal:
        if not isinstance(value, str):
            return value
        if field.type in ("id", "reference"):
            return normal(value)
        return value if field.case_sensitive else value.lower()

    wanted = {same(item) for item in condition.values}
    return lambda record: (same(record.values.get(field.name)) in wanted) is not condition.negated


def _in_order(field: Field, condition: Condition) -> Test:
    """Times compare with a date-time literal, which stands without quotes (SOQL reference, date formats)."""
    text = condition.values[0]
    if field.type != "datetime" or not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
        raise RequestError(
            status=400,
            code="INVALID_FIELD",
            message=f"value of filter criterion for field '{field.name}' must be of type dateTime",
        )
    bound = datetime.fromisoformat(text)

    def test(record: Record) -> bool:
        value = record.values.get(field.name)
        if not isinstance(value, str):
            return False
        at = datetime.fromisoformat(value)
        return at >= bound if condition.order == ">=" else at < bound

    return test


def _like(field: Field, pattern: str) -> Test:
    """% stands for any letters, _ for one; a backslash makes either ordinary. Case does not matter."""
    if field.type in _NO_TEXT:
        raise RequestError(
            status=400,
            code="INVALID_QUERY_FILTER_OPERATOR",
            message=f"{field.name} does not support the LIKE operator",
        )
    parts = re.findall(r"\\.|%|_|[^\\%_]+", pattern, re.DOTALL)
    if "_" in parts:
        wild = {"%": ".*", "_": "."}
        text = "".join(wild.get(part) or re.escape(part.removeprefix("\\")) for part in parts)
        expression = re.compile(text, re.IGNORECASE | re.DOTALL)
        return lambda record: bool(expression.fullmatch(record.text(field.name)))
    pieces = [""]
    for part in parts:
        if part == "%":
            pieces.append("")
        else:
            pieces[-1] += part.removeprefix("\\").lower()
    first, middle, last = pieces[0], pieces[1:-1], pieces[-1]

    def test(record: Record) -> bool:
        value = record.text(field.name).lower()
        if not value or not value.startswith(first):
            return False
        if len(pieces) == 1:
            return value == first
        place = len(first)
        for piece in middle:  # the leftmost place of each piece leaves the most room for the next
            found = value.find(piece, place)
            if found < 0:
                return False
            place = found + len(piece)
        return value.endswith(last) and len(value) - len(last) >= place

    return test
