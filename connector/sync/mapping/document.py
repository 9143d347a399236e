"""YAML as nodes that know their line, so that whatever is wrong can be shown where it stands.

Plain YAML only: no tags of one's own, no anchors; a key that stands twice is refused, where YAML would let the
last one win without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from connector.crm.properties import PropertyValue

_MOST_CHARACTERS = 200_000
_MOST_LEVELS = 20
_TAG = "tag:yaml.org,2002:"


class Problems:
    """What is wrong with a file, by line."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, reason: str) -> None:
        """Note one. `line`: from 1."""
        self._found.append((line, reason))

    def __str__(self) -> str:
        return "; ".join(f"line {line}: {reason}" for line, reason in sorted(self._found))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A key and its value. `line`: of the key."""

    name: str
    line: int
    value: yaml.Node


def read_document(text: str, problems: Problems) -> yaml.Node | None:
    """The root of a file; None when it is empty or no YAML, which is noted."""
    if len(text) > _MOST_CHARACTERS:
        problems.add(1, f"the file is longer than {_MOST_CHARACTERS:,} characters")
        return None
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                problems.add(line, "anchors and aliases (& and *) are not taken here")
                return None
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_LEVELS:
                problems.add(line, "this is nested too deeply")
                return None
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        problems.add(mark.line + 1 if mark else 1, f"this is no YAML: {reason}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        problems.add(line, f"this is no YAML: the character #x{int(error.character):04x} is not allowed")
    else:
        if root is None:
            problems.add(1, "the file says nothing")
        return root
    return None


def line_of(node: yaml.Node) -> int:
    """Where it begins, from 1."""
    return int(node.start_mark.line) + 1


def entries(node: yaml.Node, problems: Problems, *, what: str) -> list[Entry]:
    """Keys and values in their order. What is no mapping, or has a key twice, is noted."""
    if not isinstance(node, yaml.MappingNode):
        problems.add(line_of(node), f"{what} has to be a mapping, key: value")
        return []
    found: dict[str, Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not key.value:
            problems.add(line_of(key), f"a key of {what} has to be a name")
        elif key.value in found:
            first = found[key.value].line
            problems.add(line_of(key), f"{key.value} stands there twice, also in line {first}")
        else:
            found[key.value] = Entry(name=key.value, line=line_of(key), value=value)
    return list(found.values())


def words(node: yaml.Node, problems: Problems, *, what: str) -> str | None:
    """A text as it is written; None when it is none, which is noted."""
    if isinstance(node, yaml.ScalarNode) and node.value.strip():
        return str(node.value)
    problems.add(line_of(node), f"{what} has to be a text")
    return None


def items(node: yaml.Node, problems: Problems, *, what: str) -> list[yaml.Node]:
    """The items of a list; one that is no list is noted."""
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    problems.add(line_of(node), f"{what} has to be a list")
    return []


def constant(node: yaml.Node, problems: Problems, *, what: str) -> PropertyValue:
    """A text, number, true or false; None when it is none, which is noted.

    YAML reads 2026-01-01, 12:30, no and on as something else than what stands there: they take quotes.
    """
    kind = node.tag.removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode):
        value: str = node.value
        if kind == "str" and value.strip():
            return value
        if kind == "bool" and value in ("true", "false"):
            return value == "true"
        if kind in ("int", "float"):
            try:
                number = int(value) if kind == "int" else float(value)
            except ValueError:
                pass
            else:
                if abs(number) < 1e15:  # also refuses infinity and NaN
                    return number
        if value.strip():
            reason = f"{what}: {value} can be read in several ways; write it in quotes if it is a text"
            problems.add(line_of(node), reason)
            return None
    problems.add(line_of(node), f"{what} has to be a text, a number, true or false")
    return None
