"""What became of a message that the business sent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from connector.events.base import Event, Model


class StatusError(Model):
    """Meta's reason. `code` is what to decide by; texts vary."""

    code: int | None = None
    title: str = ""
    message: str = ""
    details: str = ""


class StatusChange(Event):
    """One status of one outbound message. They arrive in any order, twice, and before their message."""

    type: Literal["status"] = "status"
    wamid: str
    status: str = Field(description="sent | delivered | read | played | failed, or a word Meta adds later.")
    errors: list[StatusError] = Field(default_factory=list)
    callback_data: str = Field(default="", description="Our opaque correlation id, echoed by Meta.")
    pricing_category: str = ""
    pricing_type: str = ""
