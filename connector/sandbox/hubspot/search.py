"""Search: behind the writes by some seconds, and narrow.

developers.hubspot.com/docs/api-reference/search/guide: at most 5 groups of 6 filters, 18 in all; 200
results a page; 10,000 in all; a body of 3,000 characters; IN values of strings in lower case; times in milliseconds
since 1970; phones by
hs_searchable_calculated_* without country code; new records take "a few moments" to appear.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from connector.sandbox.hubspot.catalog import PHONE_SEARCH
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import refuse
from connector.sandbox.hubspot.properties import PropertyCatalog
from connector.sandbox.hubspot.records import Record, national_number

MAX_BODY = 3_000
MAX_PAGE = 200
MAX_RESULTS = 10_000
MAX_GROUPS, MAX_GROUP_FILTERS, MAX_FILTERS = 5, 6, 18

_QUERIED = ("email", "firstname", "lastname", "phone", "mobilephone", "company")
"""Properties that the free `query` looks into (documented for contacts)."""

_Snapshot = dict[str, Any]


class SearchIndex:
    """What search knows about one object type: the state of `config.search_lag` seconds ago."""

    def __init__(
        self, catalog: PropertyCatalog, *, config: HubSpotConfig, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._config = config
        self._clock = clock
        self._pending: deque[tuple[float, str, _Snapshot | None]] = deque()
        self._indexed: dict[str, _Snapshot] = {}

    def record_changed(self, record: Record) -> None:
        """Note a write; it is found after the lag."""
        self._catch_up()
        snapshot = None if record.archived else {**record.as_json(), "values": dict(record.values)}
        self._pending.append((self._clock() + self._config.search_lag, record.id, snapshot))

    def search(self, document: Any, *, body_length: int) -> dict[str, Any]:
        """Return a page of matching records.

        Raises:
            HubSpotError: 400, a limit is passed or a filter is malformed.

        """
        if body_length > MAX_BODY:
            raise refuse(f"The request body is too long: at most {MAX_BODY} characters are allowed.")
        if not isinstance(document, dict):
            raise refuse("Invalid input JSON on line 1, column 1: the body is not an object.")
        try:
            limit, start = int(document.get("limit", 10)), int(document.get("after") or 0)
        except (TypeError, ValueError):
            raise refuse("Invalid input JSON: `limit` and `after` must be numbers.") from None
        if not 1 <= limit <= MAX_PAGE:
            raise refuse(f"limit must be between 1 and {MAX_PAGE}, not {limit}")
        if start + limit > MAX_RESULTS:
            raise refuse(f"Paging past {MAX_RESULTS} results is not supported.")
        groups = [group.get("filters") or [] for group in document.get("filterGroups") or []]
        self._check(groups)
        tests = [[_test(item) for item in filters] for filters in groups]
        self._catch_up()
        query = str(document.get("query") or "")
        found = [
            snapshot
            for snapshot in self._indexed.values()
            if (not tests or any(all(test(snapshot["values"]) for test in group) for group in tests))
            and _mentions(snapshot, query)
        ]
        _sort(found, document.get("sorts") or [])
        end = start + limit
        wanted = document.get("properties") or []
        page: dict[str, Any] = {
            "total": len(found),
            "results": [_shown(snapshot, wanted) for snapshot in found[start:end]],
        }
        if end < len(found):
            page["paging"] = {"next": {"after": str(end)}}
        return page

    def _catch_up(self) -> None:
        now = self._clock()
        while self._pending and self._pending[0][0] <= now:
            _, record_id, snapshot = self._pending.popleft()
            if snapshot is None:
                self._indexed.pop(record_id, None)
            else:
                self._indexed[record_id] = snapshot

    def _check(self, groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        if len(groups) > MAX_GROUPS:
            raise refuse(f"At most {MAX_GROUPS} filter groups are allowed.")
        if any(len(filters) > MAX_GROUP_FILTERS for filters in groups) or (
            sum(map(len, groups)) > MAX_FILTERS
        ):
            raise refuse(f"At most {MAX_GROUP_FILTERS} filters a group and {MAX_FILTERS} in all are allowed.")
        for item in (item for filters in groups for item in filters):
            self._check_filter(item)

    def _check_filter(self, item: Mapping[str, Any]) -> None:
        name, operator = item.get("propertyName"), item.get("operator")
        definition = self._catalog.properties.get(str(name))
        if definition is None:
            raise refuse(f"There was a problem with the request: property {name} does not exist.")
        if operator not in _OPERATORS:
            raise refuse(f"Invalid input JSON: operator {operator} is not known.")
        if operator in ("IN", "NOT_IN"):
            values = item.get("values")
            if not isinstance(values, list) or not values:
                raise refuse(f"Filter on {name} with operator {operator} needs `values`.")
            if definition.type == "string" and any(value != value.lower() for value in values):
                raise refuse(f"Values of {name} for operator {operator} must be in lower case.")
        elif operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
            if "value" in item or "values" in item:
                raise refuse(f"Filter on {name} with operator {operator} must not have a value.")
        elif not isinstance(item.get("value"), str):
            raise refuse(f"Filter on {name} with operator {operator} needs `value`.")
        elif definition.type == "datetime" and not item["value"].isdigit():
            raise refuse(f"Filter on {name} with operator {operator} needs milliseconds since 1970.")


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).timestamp() * 1000, ""
    except ValueError:
        return 0.0, value.lower()


def _contains(value: str | None, item: Mapping[str, Any]) -> bool:
    token = str(item["value"]).lower()
    text = (value or "").lower()
    if "*" in token:
        return token.strip("*") in text
    return token in text.split()


_Test = Callable[[str | None, Mapping[str, Any]], bool]
_OPERATORS: dict[str, _Test] = {
    "EQ": lambda value, item: value is not None and value.lower() == item["value"].lower(),
    "NEQ": lambda value, item: value is not None and value.lower() != item["value"].lower(),
    "LT": lambda value, item: value is not None and _order(value) < _order(item["value"]),
    "LTE": lambda value, item: value is not None and _order(value) <= _order(item["value"]),
    "GT": lambda value, item: value is not None and _order(value) > _order(item["value"]),
    "GTE": lambda value, item: value is not None and _order(value) >= _order(item["value"]),
    "BETWEEN": lambda value, item: (
        value is not None and _order(item["value"]) <= _order(value) <= _order(str(item.get("highValue", "")))
    ),
    "IN": lambda value, item: value is not None and value.lower() in item["values"],
    "NOT_IN": lambda value, item: value is not None and value.lower() not in item["values"],
    "HAS_PROPERTY": lambda value, _item: value is not None,
    "NOT_HAS_PROPERTY": lambda value, _item: value is None,
    "CONTAINS_TOKEN": _contains,
    "NOT_CONTAINS_TOKEN": lambda value, item: not _contains(value, item),
}


def _test(item: Mapping[str, Any]) -> Callable[[Mapping[str, str]], bool]:
    name, operator = item["propertyName"], _OPERATORS[item["operator"]]
    if "values" in item:
        item = {**item, "values": frozenset(map(str.lower, item["values"]))}
    return lambda values: operator(values.get(name), item)


def _mentions(snapshot: _Snapshot, query: str) -> bool:
    if not query:
        return True
    values = snapshot["values"]
    digits = national_number(query)
    if digits and any(values.get(calculated) == digits for calculated in PHONE_SEARCH):
        return True
    return any(query.lower() in values.get(name, "").lower() for name in _QUERIED)


def _sort(found: list[_Snapshot], sorts: Sequence[Mapping[str, Any]]) -> None:
    if not sorts:
        found.sort(key=lambda snapshot: int(snapshot["id"]))
        return
    if len(sorts) > 1:
        raise refuse("Only one sort is allowed.")
    name, descending = sorts[0].get("propertyName"), sorts[0].get("direction") == "DESCENDING"
    found.sort(key=lambda snapshot: _order(snapshot["values"].get(name, "")), reverse=descending)


def _shown(snapshot: _Snapshot, wanted: Sequence[str]) -> dict[str, Any]:
    values = snapshot["values"]
    names = sorted({*snapshot["properties"], *wanted})
    shown = {name: value for name, value in snapshot.items() if name != "values"}
    return {**shown, "properties": {name: values.get(name) for name in names}}
