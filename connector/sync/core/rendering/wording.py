"""Times, sizes, ids and foreign values in words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

_LINE = 300
_SHORT_ID = 10
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def moment(milliseconds: int) -> str:
    """E.g. `3 Mar 2026, 12:04 UTC`: the same on every machine, whatever its locale."""
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"


def one_line(value: object, *, limit: int = _LINE) -> str:
    """A foreign scalar on one line, cut visibly; "" for what is none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        return ""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def paragraph(value: object, *, limit: int = 2_000) -> str:
    """A foreign text, its line breaks kept, cut visibly."""
    text = value.strip() if isinstance(value, str) else one_line(value, limit=limit)
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit} characters cut]"


def joined(*parts: str, by: str = " · ") -> str:
    """Those that say something."""
    return by.join(part for part in parts if part)


def sentence(text: str) -> str:
    """With a capital letter in front, and the rest, a name for example, as it is."""
    return text[:1].upper() + text[1:]


def short_id(wamid: str) -> str:
    """The end of a message id: the part that differs between the messages of one chat."""
    bare = wamid.rstrip("=")
    return wamid if len(bare) <= _SHORT_ID + 2 else f"…{bare[-_SHORT_ID:]}"


def file_size(size: object) -> str:
    """Bytes in words; "" when unknown."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return ""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit != "MB" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def titled(name: str) -> str:
    """A key in words: `delivery_date` → `Delivery date`."""
    return sentence(one_line(name.replace("_", " "), limit=80))


def entries(value: Any, *, most: int = 40) -> list[str]:
    """Any JSON as indented `Key: value` lines, at most `most`; the rest is counted."""
    lines: list[str] = []
    for line in _walk(value, depth=0):
        if len(lines) == most:
            lines.append("… and more, not shown")
            break
        lines.append(line)
    return lines


def _walk(value: Any, *, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if depth > 6:
        yield f"{indent}…"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _entry(f"{indent}{titled(str(key))}:", item, depth=depth)
    elif isinstance(value, list):
        for item in value:
            yield from _entry(f"{indent}-", item, depth=depth)
    else:
        yield f"{indent}{one_line(value)}"


def _entry(label: str, value: Any, *, depth: int) -> Iterator[str]:
    if isinstance(value, list) and value and all(not isinstance(item, dict | list) for item in value):
        yield f"{label} {one_line(', '.join(one_line(item) for item in value))}"
    elif isinstance(value, dict | list) and value:
        yield label
        yield from _walk(value, depth=depth + 1)
    elif value is None or value in ("", [], {}):
        yield f"{label} (empty)"
    else:
        yield f"{label} {one_line(value)}"


def sorted_keys(value: Any) -> Any:
    """The same JSON, the keys of every object sorted: the database keeps no order, and a line must not jump."""
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value
