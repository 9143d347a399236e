"""The published JSON Schemas, one file a topic, rendered from the models."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from connector.events import AccountEvent, ConversationEvent, DeadLetter, WhatsAppUpdate

_VALUES: dict[str, Any] = {
    "whatsapp.updates": WhatsAppUpdate,
    "whatsapp.history": WhatsAppUpdate,
    "conversation.events": ConversationEvent,
    "account.events": AccountEvent,
    "dead.letters": DeadLetter,
}


def rendered_schemas() -> dict[str, str]:
    """File name → content, deterministic."""
    rendered = {}
    for topic, value in _VALUES.items():
        schema = TypeAdapter(value).json_schema(mode="serialization")
        document = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:whatsapp-crm-connector:{topic}:1",
            **schema,
        }
        rendered[f"{topic}.json"] = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return rendered
