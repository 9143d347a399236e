"""Foreign JSON as the shape that is expected, or as an empty one: reading never raises."""

from __future__ import annotations

from typing import Any

from connector.whatsapp.text import TEXT_LIMIT, shortened, storable


def as_object(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The list; a lone value counts as a list of one, absence as an empty list."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def as_text(value: object, *, limit: int = TEXT_LIMIT) -> str:
    """Text for people: strings and numbers, storable and cut visibly at `limit` characters; else ""."""
    if isinstance(value, str):
        return shortened(storable(value), limit=limit)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return ""


def as_int(value: object) -> int | None:
    """An integer that may have come as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) <= 18:
        try:
            return int(value)
        except ValueError:
            return None
    return None
