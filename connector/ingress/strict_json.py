"""JSON from outside, read strictly: what two readers could understand differently is refused, not guessed."""

from __future__ import annotations

import json
import math
from typing import Any

_DEEPEST = 16
"""Levels of arrays and objects; no request of ours needs more than six."""


class UnreadableJson(ValueError):
    """The bytes are not JSON as RFC 8259 has it, or hold what the state cannot keep. The text says where."""


def read_json(body: bytes) -> Any:
    """The document, as `parse_json` and `check_storable` want it. Raises `UnreadableJson`."""
    document = parse_json(body)
    check_storable(document)
    return document


def parse_json(body: bytes) -> Any:
    """The document. Numbers are finite and names are unique.

    Raises:
        UnreadableJson: a byte order mark, another encoding than UTF-8, NaN or Infinity, a name twice in one object.

    """
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError as error:
        raise UnreadableJson(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise UnreadableJson(f"it is nested deeper than {_DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise UnreadableJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnreadableJson:
        raise
    except ValueError:  # an integer of more digits than Python converts
        raise UnreadableJson("a number has too many digits") from None


def check_storable(document: Any) -> None:
    """Raise `UnreadableJson` for more than 16 levels, and for texts with U+0000 or half a surrogate pair."""
    waiting = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, (dict, list)):
            if depth > _DEEPEST:
                raise UnreadableJson(f"it is nested deeper than {_DEEPEST} levels")
            if isinstance(value, dict):
                waiting += [(name, depth) for name in value]
                value = value.values()
            waiting += [(item, depth + 1) for item in value]


def canonical(document: Any) -> bytes:
    """The same bytes for the same content, whatever the order of names and the spaces."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _no_constant(name: str) -> Any:
    raise UnreadableJson(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnreadableJson(f"{text[:20]} is larger than any number here may be")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableJson(f"{twice[:50]!r} is there twice in one object")
    return found


def _check_text(text: str) -> None:
    # PostgreSQL keeps neither in a text or jsonb value.
    if "\0" in text:
        raise UnreadableJson("a string has the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnreadableJson("a string has half of a surrogate pair") from None
