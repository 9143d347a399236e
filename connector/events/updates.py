"""`whatsapp.updates`: one record a message, status or account update, verbatim, with what it belongs to."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connector.events.base import Model, UtcDatetime

UpdateKind = Literal["message", "status", "error", "echo", "history", "account", "unknown"]


class WhatsAppUpdate(Model):
    """One update of one webhook POST. `update` is what Meta sent, untouched: unknown keys and types included.

    `contact` is the entry of `contacts[]` that belongs to the update (None when Meta sent none); `context`
    holds every other key of `value`, so that nothing of the POST is dropped by the split.
    """

    event_id: str = Field(description="kind:number:wamid:recipient:hash, deterministic.")
    version: int = 1
    kind: UpdateKind
    field: str = Field(description="Meta's `changes[].field`.")
    waba_id: str
    entry_time: Any = Field(default=None, description="`entry[].time`, as sent; account fields only.")
    metadata: dict[str, Any] | None = Field(default=None, description="`value.metadata`, verbatim.")
    contact: Any = Field(default=None, description="The `value.contacts[]` entry of this update, verbatim.")
    context: dict[str, Any] = Field(default_factory=dict, description="The other keys of `value`, verbatim.")
    update: Any = Field(description="The update itself, verbatim.")
    received_at: UtcDatetime
    post_id: str = Field(description="Hash of the POST's body: which updates came together.")
