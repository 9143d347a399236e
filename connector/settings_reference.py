"""docs/configuration.md, rendered from the settings: every variable with its default, unit and meaning."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from connector.settings import Settings

_HEAD = """# Configuration

<!-- Written by `make schemas` from connector/settings.py; change it there. -->

Settings are environment variables. Lists are JSON. Secrets (and any other setting) may instead be files: one file a
variable, named like it in either case, in the folder that `CONNECTOR_SECRETS_DIR` names; the environment wins. A wrong
value is refused at start with the variable's name, where it came from and what is valid.
"""


def rendered_configuration() -> str:
    """The page, deterministic."""
    parts = [_HEAD]
    rest: list[tuple[str, FieldInfo]] = []
    for name, field in Settings.model_fields.items():
        group = field.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            title = (group.__doc__ or name).strip().splitlines()[0]
            parts.append(
                f"\n## {name}\n\n{title}\n\n{_table(f'CONNECTOR_{name.upper()}__', group.model_fields.items())}"
            )
        else:
            rest.append((name, field))
    if rest:
        parts.append(f"\n## other\n\n{_table('CONNECTOR_', rest)}")
    return "".join(parts)


def _table(prefix: str, fields: Any) -> str:
    lines = ["| variable | default | meaning |", "|--|--|--|"]
    for name, field in fields:
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        lines.append(f"| `{prefix}{name.upper()}` | {_default(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value in ("", None):
        return ""
    shown = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"`{shown}`"
