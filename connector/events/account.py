"""`account.events`: what Meta says about the business's own account, numbers and templates."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from connector.events.base import Model, Origin, UtcDatetime


class AccountEvent(Model):
    """One account-level update, kept as sent. Issue-specific readings are made where they are needed."""

    type: Literal["account"] = "account"
    event_id: str
    version: int = 1
    waba_id: str
    field: str = Field(description="Meta's webhook field, e.g. message_template_status_update.")
    at: UtcDatetime
    content: dict[str, Any]
    origin: Origin
