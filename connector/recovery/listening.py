"""Records as they pass, for people's eyes: what they are, about whom, masked unless somebody asks for the plain text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.streams.codec import HEADER_EVENT_ID, HEADER_ORIGIN, HEADER_SCHEMA
from connector.streams.redriven import how_redriven

_PERSONAL = frozenset(
    {
        "phone", "wa_id", "bsuid", "name", "username", "from", "to", "user_id", "from_user_id", "to_user_id", "recipient_id",
        "recipient_user_id", "text", "body", "caption", "value", "parameters", "original", "key", "evidence", "contact",
        "contacts", "update", "profile", "display_name", "address", "latitude", "longitude", "emails", "url", "link",
        "rendered", "content", "context", "from_number", "hubspot_id", "salesforce_id", "headers",
    }
)  # fmt: skip
"""Fields that hold who somebody is or what they said. What is new is masked by its parent, if that is here."""

_TOLD = (
    "direction", "kind", "field", "status", "change", "purpose", "state", "paused", "scope", "stage", "cause", "reason",
    "command", "phase", "who", "loser_id", "attempt", "wamid", "send_id", "record_id",
)  # fmt: skip
"""Fields that say in short what a record is about, in this order. None is personal."""
_RECIPIENT = re.compile(r"(?<![^:])(\+?\d{7,}|[A-Z]{2}\.[^:]+)(?![^:])")
_LONGEST = 120
_KEPT = 2  # characters at the end of a masked text, to tell two of one conversation apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """One record. `document`: its value as JSON, masked; None when it is not JSON."""

    at: datetime
    topic: str
    partition: int
    offset: int
    type: str
    event_id: str
    origin: str
    key: str
    redriven: bool
    document: Any

    def told(self) -> str:
        """What is in it, in short."""
        return " ".join(_told(self.document)) if self.document is not None else "not JSON"


def heard(
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
    headers: Mapping[str, bytes],
    plain: bool,
) -> Heard:
    """The record as it is shown. `topic`: without the prefix; `timestamp`: milliseconds; `plain`: nothing is masked."""
    schema = headers.get(HEADER_SCHEMA, b"").decode("utf-8", "replace")
    try:
        document = json.loads(value or b"")
    except (ValueError, RecursionError):
        document = None
    event_id = headers.get(HEADER_EVENT_ID, b"").decode("utf-8", "replace")
    name = (key or b"").decode("utf-8", "replace")
    return Heard(
        at=datetime.fromtimestamp(timestamp / 1000, UTC),
        topic=topic,
        partition=partition,
        offset=offset,
        type=schema.rpartition("/")[2],
        event_id=event_id if plain else masked_id(event_id),
        origin=headers.get(HEADER_ORIGIN, b"").decode("utf-8", "replace"),
        key=name if plain else masked_key(name),
        redriven=how_redriven(headers) is not None,
        document=document if plain else masked(document),
    )


def masked(value: Any) -> Any:
    """The same document without who somebody is and what they said: names of fields, ids of ours and times stay."""
    if isinstance(value, dict):
        return {name: _masked(name, item) for name, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def _masked(name: str, value: Any) -> Any:
    if name == "template":
        return value  # its name and language
    if name == "event_id":
        return masked_id(str(value))
    return _hidden(value) if name in _PERSONAL else masked(value)


def masked_id(event_id: str) -> str:
    """An event's id without the phone or BSUID of the recipient that is part of it."""
    return _RECIPIENT.sub(lambda found: _stars(found[0]), event_id)


def _hidden(value: Any) -> Any:
    """Every scalar masked, its place kept."""
    if isinstance(value, dict):
        return {name: _hidden(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    return _stars(str(value)) if value not in (None, "", True, False) else value


def masked_key(key: str) -> str:
    """A key is a contact id or an account as it is; a phone or a BSUID is masked."""
    is_uuid = len(key) == 36 and key.count("-") == 4
    return key if is_uuid or key.startswith(("wamid.", "switch:")) else _stars(key)


def _stars(text: str) -> str:
    return "***" + text[-_KEPT:] if len(text) > 3 * _KEPT else "***"


def _told(document: Any) -> Iterator[str]:
    if not isinstance(document, dict):
        return
    template = document.get("template")
    if isinstance(template, dict):
        yield f"template={template.get('name')}"
    for name in _TOLD:
        value = document.get(name)
        if value not in (None, "") and not isinstance(value, dict | list):
            text = " ".join(str(value).split())
            yield f"{name}={text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'}"
