"""The part of foreign JSON that a timeline can use: the same shape, within bounds, what was cut said so.

A shared contact may carry photos, and an unknown type anything at all; the row of a message must not.
"""

from __future__ import annotations

from typing import Any

TOTAL = 12_000
"""Characters of keys and texts in all."""
_TEXT = 8_000
_ITEMS = 200
_DEPTH = 12


def excerpt(content: dict[str, Any]) -> dict[str, Any]:
    """Deterministic, whatever the order of the keys; keys are walked sorted, lists in their order."""
    return _Bounds(TOTAL).object(content, depth=_DEPTH)


class _Bounds:
    def __init__(self, left: int) -> None:
        self._left = left

    def object(self, value: dict[str, Any], *, depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for number, key in enumerate(sorted(value)):
            if self._left <= 0 or number == _ITEMS:
                kept["…"] = f"{len(value) - number} more"
                break
            kept[self._text(key, limit=200)] = self._value(value[key], depth=depth - 1)
        return kept

    def _value(self, value: Any, *, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value, limit=_TEXT)
        if isinstance(value, dict):
            return self.object(value, depth=depth) if depth > 0 else "…"
        if isinstance(value, list):
            return self._list(value, depth=depth) if depth > 0 else "…"
        self._left -= 4
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**18:
            return self._text(_digits(value), limit=_TEXT)
        return value

    def _list(self, value: list[Any], *, depth: int) -> list[Any]:
        kept: list[Any] = []
        for number, item in enumerate(value):
            if self._left <= 0 or number == _ITEMS:
                kept.append(f"… {len(value) - number} more")
                break
            kept.append(self._value(item, depth=depth - 1))
        return kept

    def _text(self, value: str, *, limit: int) -> str:
        limit = max(0, min(limit, self._left))
        self._left -= min(len(value), limit) + 2
        return value if len(value) <= limit else f"{value[:limit]}… [{len(value) - limit} characters cut]"


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # more than 4,300 digits
        return f"a number of {number.bit_length()} bits"
