"""May a value's schema change like this while records of the old one lie on the log and both releases run?

Two questions decide (docs/events.md). The next release reads a log that is up to a year old: whatever was written
must still be accepted, and mean the same. And for the minutes of a rolling upgrade the last release reads what the
next one writes: what it would refuse may be *accepted* by a release, but must not be *written* before the one after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_CONSTRAINTS = ("format", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")
_PROSE = ("title", "description", "examples")

Schema = Mapping[str, Any]


class Verdict(StrEnum):
    """What a change asks for."""

    BREAKING = "breaking"
    """Never within a version."""
    READERS_FIRST = "readers first"
    """Allowed: released in the readers one release before anybody writes it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference that matters. What is not a `Change` may be made at any time."""

    verdict: Verdict
    where: str
    says: str


def schema_changes(old: Schema, new: Schema) -> Sequence[Change]:
    """Return how `new` differs from `old`, both as pydantic renders them, the worst first."""
    walk = _Walk(old=old.get("$defs", {}), new=new.get("$defs", {}))
    found = set(walk.compare(old, new, ""))
    return sorted(found, key=lambda change: (change.verdict, change.where, change.says))


class _Walk:
    """Walks two schemas side by side; each pair of definitions once, so that recursion ends."""

    def __init__(self, *, old: Schema, new: Schema) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str, str]] = set()

    def compare(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        names = (str(old.get("$ref", "")), str(new.get("$ref", "")), where)
        if names[0] and names[1]:
            if names in self._seen:
                return
            self._seen.add(names)
        before = {_signature(item): item for item in _alternatives(old, self._old)}
        after = {_signature(item): item for item in _alternatives(new, self._new)}
        if "anything" in after and "anything" not in before:
            yield _readers_first(where, "anything may be written where a reader expects one type")
            return
        for signature, item in before.items():
            if signature in after:
                yield from self._one(
                    item, after[signature], f"{where}({signature})" if len(before) > 1 else where
                )
            else:
                yield _breaking(where, f"{signature} is no longer read")
        for signature in after.keys() - before.keys():
            yield _readers_first(where, f"{signature} is new: the last release refuses it")

    def _one(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        yield from _values(old, new, where)
        for name in _CONSTRAINTS:
            if old.get(name) == new.get(name):
                continue
            if name in new:
                yield _breaking(where, f"{name} is {new[name]}, and was {old.get(name, 'free')}")
            else:
                yield _readers_first(where, f"{name} is no longer {old[name]}")
        for name in ("items", "additionalProperties"):
            if isinstance(old.get(name), Mapping) and isinstance(new.get(name), Mapping):
                yield from self.compare(old[name], new[name], f"{where}[]")
        if "properties" in old or "properties" in new:
            yield from self._properties(old, new, where)

    def _properties(self, old: Schema, new: Schema, where: str) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        for name in before.keys() - after.keys():
            yield _breaking(f"{where}.{name}", "is gone")
        for name in sorted(needed_after - needed_before):
            yield _breaking(f"{where}.{name}", "is required, and records without it lie on the log")
        for name in sorted((needed_before - needed_after) & after.keys()):
            yield _readers_first(f"{where}.{name}", "may be absent, and the last release requires it")
        for name in before.keys() & after.keys():
            path = f"{where}.{name}"
            # A property without a default has none to change; "type" is the tag of its model.
            if name not in needed_before | needed_after and before[name].get("default") != after[name].get(
                "default"
            ):
                yield _breaking(path, "its default is another: records without it mean something else")
            yield from self.compare(before[name], after[name], path)


def _values(old: Schema, new: Schema, where: str) -> Iterator[Change]:
    before, after = _allowed(old), _allowed(new)
    if before is None and after is not None:
        yield _breaking(where, "only some values are read")
    elif before is not None and after is None:
        yield _readers_first(where, "any value may be written")
    elif before is not None and after is not None:
        for value in sorted(before - after):
            yield _breaking(where, f"{value} is no longer read")
        for value in sorted(after - before):
            yield _readers_first(where, f"{value} is new: the last release refuses it")


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {str(schema["const"])}
    return {str(value) for value in schema["enum"]} if "enum" in schema else None


def _alternatives(schema: Schema, definitions: Schema) -> Iterator[Schema]:
    """What a value may be: the members of a union, flat, references followed."""
    if "$ref" in schema:
        yield from _alternatives(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
        return
    union = schema.get("oneOf", schema.get("anyOf"))
    if union is None:
        yield schema
        return
    for item in union:
        yield from _alternatives(item, definitions)


def _signature(schema: Schema) -> str:
    """Tells the members of a union apart: events by their tag, everything else by its JSON type."""
    tag = schema.get("properties", {}).get("type", {}).get("const")
    if tag is not None:
        return f"event {tag}"
    if "type" in schema:
        return str(schema["type"])
    plain = {name for name in schema if name not in (*_PROSE, "default", "$defs", "$id", "$schema")}
    return "anything" if not plain else "value"


def _breaking(where: str, says: str) -> Change:
    return Change(verdict=Verdict.BREAKING, where=where.lstrip("."), says=says)


def _readers_first(where: str, says: str) -> Change:
    return Change(verdict=Verdict.READERS_FIRST, where=where.lstrip("."), says=says)
