"""A mapping file → `SyncMapping`, or a `SettingsError` that names every wrong line and what is valid there."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from connector.errors import SettingsError
from connector.sync.core.mapping import SyncMapping
from connector.sync.mapping.activity_part import activity_part
from connector.sync.mapping.contact_part import contact_part
from connector.sync.mapping.document import Problems, entries, line_of, read_document, words

BUILT_IN = "built-in"
VERSION = "1"
_PARTS = ("version", "contact", "activity")


def default_text() -> str:
    """The built-in mapping as people read it."""
    return files("connector.sync.mapping").joinpath("default.yaml").read_text("utf-8")


@cache
def built_in() -> SyncMapping:
    """The mapping without a file."""
    return _read(default_text(), source=BUILT_IN, over=None)


def load_mapping(path: Path | None) -> SyncMapping:
    """Read a file and lay it over the built-in mapping; None: the built-in one.

    Raises:
        SettingsError: it cannot be read, or something in it is wrong: every line, with what is valid.

    """
    if path is None:
        return built_in()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(
            f"The mapping {path} cannot be read: {error.strerror}. Nothing was written.",
            advice="correct CONNECTOR_SYNC__MAPPING; without it the built-in mapping is used",
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _refused(str(path), f"line {line}: this is not UTF-8") from None
    return _read(text, source=str(path), over=built_in())


def _read(text: str, *, source: str, over: SyncMapping | None) -> SyncMapping:
    problems = Problems()
    root = read_document(text, problems)
    parts = _parts(root, problems) if root is not None else {}
    contacts = contact_part(
        parts.get("contact"), problems, over=over.contacts if over else {}, built_in=over is None
    )
    layout = activity_part(parts.get("activity"), problems, over=over.layout if over else None)
    if problems:
        raise _refused(source, str(problems))
    if layout is None:
        raise _refused(source, "line 1: it has no part activity")
    return SyncMapping(source=source, contacts=contacts, layout=layout)


def _parts(root: yaml.Node, problems: Problems) -> dict[str, yaml.Node]:
    found = {entry.name: entry for entry in entries(root, problems, what="the mapping")}
    for name, entry in found.items():
        if name not in _PARTS:
            problems.add(entry.line, f"the mapping has no part {name}; valid: {', '.join(_PARTS)}")
    if "version" not in found:
        problems.add(line_of(root), f"version: {VERSION} is missing")
    elif (version := words(found["version"].value, problems, what="version")) not in (VERSION, None):
        problems.add(
            found["version"].line, f"version {version} is not known to this connector; valid: {VERSION}"
        )
    return {name: entry.value for name, entry in found.items()}


def _refused(source: str, reasons: str) -> SettingsError:
    return SettingsError(
        f"The mapping {source} is refused: {reasons}. Nothing was written.",
        advice=f"correct these lines, then: connector mapping test {source} PAYLOAD (docs/mapping.md says what is valid)",
    )
