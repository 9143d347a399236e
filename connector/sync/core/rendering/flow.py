"""The answers of a WhatsApp Flow or an address form, as fields.

`response_json` is text that should be a JSON object; production has met lists, scalars and invalid JSON.
"""

from __future__ import annotations

import json
from typing import Any

from connector.sync.core.rendering.parts import Part
from connector.sync.core.rendering.wording import entries, joined, one_line, paragraph

_TECHNICAL = {"flow_token"}
"""Told under the line: it names the session, not an answer."""


def flow(answer: dict[str, Any]) -> Part:
    """The title, then an answer a line."""
    name = one_line(answer.get("name"), limit=80)
    title = one_line(answer.get("body"))
    kind = "Address form" if name == "address_message" else "Form"
    lines = [joined(f"{kind} answered", title if title.lower() != "sent" else "", by=": ")]
    details: list[str] = []
    fields = _parsed(answer.get("response_json"))
    if isinstance(fields, dict):
        lines.extend(entries({key: value for key, value in fields.items() if key not in _TECHNICAL}))
        details.extend(
            f"Flow token: {token}" for key in _TECHNICAL if (token := one_line(fields.get(key), limit=200))
        )
    elif isinstance(fields, list):
        lines.extend(entries(fields))
    elif fields is not None:
        lines.append(f"The answers are not in the form of fields: {paragraph(fields)}")
    else:
        lines.append("No answers were sent along")
    return Part(label="form answers", lines=lines, details=details)


def _parsed(sent: object) -> Any:
    """Fields, a list, the text as it is when it is no JSON, or None when there is nothing."""
    if not isinstance(sent, str):
        return sent or None
    try:
        return json.loads(sent) if sent.strip() else None
    except (ValueError, RecursionError):
        return sent
