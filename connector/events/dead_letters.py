"""`dead.letters`: what a stage could not understand or apply, with everything needed to put it back."""

from __future__ import annotations

from typing import Literal

from pydantic import Base64Bytes, Field

from connector.events.base import Model, UtcDatetime


class DeadLetter(Model):
    """Belongs to one stage and is redriven to that stage only. `original` is the exact bytes."""

    type: Literal["dead_letter"] = "dead_letter"
    event_id: str
    version: int = 1
    stage: str = Field(description="ingress | route | sync-hubspot | …")
    cause: str = Field(description="Stable, countable name, e.g. not_json, unreadable_update, crm_rejected.")
    reason: str = Field(description="One sentence for a person.")
    advice: str = ""
    at: UtcDatetime
    topic: str = Field(default="", description="Where the record lay; empty when it never was on a topic.")
    partition: int = -1
    offset: int = -1
    key: Base64Bytes | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    original: Base64Bytes = Field(description="The original bytes, base64 in JSON.")
