"""JSON Patch (RFC 6902, paths by RFC 6901): the transformations that a fix may make. Pure; nothing is evaluated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from connector.errors import Rejected

_NEEDS = {
    "add": {"value"},
    "remove": set[str](),
    "replace": {"value"},
    "test": {"value"},
    "move": {"from"},
    "copy": {"from"},
}


def checked_patch(document: Any) -> list[dict[str, Any]]:
    """The operations of a patch document. Raises `Rejected` that says which of them is wrong."""
    if not isinstance(document, list) or not document:
        raise _wrong("a patch is a list of operations")
    for number, step in enumerate(document, 1):
        if not isinstance(step, dict) or step.get("op") not in _NEEDS:
            raise _wrong(f"operation {number} has no op of {', '.join(_NEEDS)}")
        missing = ({"path"} | _NEEDS[step["op"]]) - step.keys()
        if missing:
            raise _wrong(f"operation {number} ({step['op']}) lacks {', '.join(sorted(missing))}")
        for name in ("path", "from"):
            if name in step:
                _parts(step[name])
    return document


def patched(document: Any, patch: Sequence[dict[str, Any]]) -> Any:
    """The document after all operations; the given one is left alone. Raises `Rejected` (cause `patch_failed`)."""
    result = copy.deepcopy(document)
    for step in patch:
        result = _apply(result, step)
    return result


def _apply(document: Any, step: dict[str, Any]) -> Any:
    op, path = step["op"], _parts(step["path"])
    if op == "test":
        if not _same(_get(document, path), step["value"]):
            raise _failed(f"test: {step['path']} is not {step['value']!r}")
        return document
    if op == "add":
        return _add(document, path, copy.deepcopy(step["value"]))
    if op == "replace":
        return _replace(document, path, copy.deepcopy(step["value"]))
    if op == "remove":
        return _remove(document, path)
    source = _parts(step["from"])
    value = copy.deepcopy(_get(document, source))
    if op == "move":
        if path[: len(source)] == source and path != source:
            raise _failed(f"move: {step['path']} lies within {step['from']}")
        document = _remove(document, source)
    return _add(document, path, value)


def _parts(pointer: Any) -> list[str]:
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise _wrong(f"{pointer!r} is no JSON pointer: it begins with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _get(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list):
            document = document[_index(part, below=len(document))]
        else:
            raise _failed(f"there is no {'/' + '/'.join(path)}")
    return document


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, below=len(parent) + 1), value)
    else:
        raise _failed(f"there is nothing at {'/' + '/'.join(path[:-1])} to add to")
    return document


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    _get(document, path)
    parent, last = _get(document, path[:-1]), path[-1]
    parent[last if isinstance(parent, dict) else int(last)] = value
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    if not path:
        raise _failed("remove: the whole document cannot be removed")
    _get(document, path)
    parent, last = _get(document, path[:-1]), path[-1]
    del parent[last if isinstance(parent, dict) else int(last)]
    return document


def _index(part: str, *, below: int) -> int:
    if (
        not (part.isascii() and part.isdecimal())
        or (part != "0" and part.startswith("0"))
        or int(part) >= below
    ):
        raise _failed(f"{part!r} is no index of a list of {below}")
    return int(part)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _wrong(what: str) -> Rejected:
    return Rejected(
        f"The patch is not valid: {what}. Nothing was changed.",
        cause="wrong_patch",
        advice='give a JSON Patch (RFC 6902), e.g. [{"op": "replace", "path": "/waba_id", "value": "102"}]',
    )


def _failed(what: str) -> Rejected:
    return Rejected(
        f"The patch does not fit: {what}.", cause="patch_failed", advice="look at the letter's original"
    )
