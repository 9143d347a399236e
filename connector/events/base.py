"""What every canonical event shares: who, when, from where, in which version.

An event id is deterministic: the same WhatsApp update always becomes the same id, so a redelivery, a replay
or a second replica produces an event that every stage recognises as already seen.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(_utc)]


class Model(BaseModel):
    """Frozen, and tolerant of fields a newer version added (N and N−1 run side by side)."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float")


class Person(Model):
    """Who the event is about, as this event showed them. Absent and empty mean the same: not shown."""

    contact_id: UUID | None = Field(
        default=None,
        description="Our id; None on a status whose person we never met. Redirects are not applied.",
    )
    bsuid: str | None = Field(default=None, description="Business-scoped user id, whole and opaque.")
    wa_id: str | None = Field(default=None, description="The phone exactly as WhatsApp wrote it, no '+'.")
    phone: str | None = Field(default=None, description="E.164 of wa_id, when it is a valid number.")
    username: str | None = Field(
        default=None, description="WhatsApp username, without '@'. Changes; never a key."
    )
    name: str | None = Field(default=None, description="Profile name: text the person chose, untrusted.")


class Origin(Model):
    """Where the record that this event was made from lies, for trace and replay."""

    topic: str
    partition: int
    offset: int
    received_at: UtcDatetime = Field(description="When the ingress took the webhook.")


class Event(Model):
    """One fact on `conversation.events`. `event_id` is the dedupe key, `version` that of the schema."""

    event_id: str
    version: int = 1
    waba_id: str = Field(description="WhatsApp Business Account.")
    phone_number_id: str = Field(default="", description="The business number's id.")
    business_phone: str = Field(default="", description="The business number as displayed.")
    at: UtcDatetime = Field(description="Meta's time of the fact, not ours.")
    person: Person
    origin: Origin


def content_hash(content: Any) -> str:
    """64 bits of SHA-256 over canonical JSON: equal content gives equal text, whatever the key order."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def make_event_id(*, kind: str, number: str, subject: str, recipient: str, content: Any) -> str:
    """Deterministic id of a fact: kind, business number, wamid (or other subject), recipient, content."""
    return f"{kind}:{number}:{subject}:{recipient}:{content_hash(content)}"
